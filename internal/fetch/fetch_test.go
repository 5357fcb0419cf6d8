package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/fetch"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/media"
	"github.com/wapro/hub/internal/testkit"
)

// rows is the store: what was kept, and what it says.
type rows struct {
	mu    sync.Mutex
	kept  []gateway.Message
	bulks map[string]gateway.Media
	fail  error
}

func (*rows) KeepBlob(context.Context, string, int64) error { return nil }

func (r *rows) KeepFetched(_ context.Context, _ gateway.Fence, m *gateway.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.kept = append(r.kept, *m)
	if m.BulkID != "" {
		r.bulks[m.BulkID] = *m.Media
	}
	return nil
}

func (r *rows) FetchedFor(_ context.Context, bulk string) (*gateway.Media, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.bulks[bulk]; ok {
		return &m, nil
	}
	return nil, nil
}

func newFetcher(t *testing.T, private bool, inflight int64) (*fetch.Fetcher, *rows) {
	t.Helper()
	store := &rows{bulks: map[string]gateway.Media{}}
	files, err := media.Open(t.TempDir(), inflight, store)
	if err != nil {
		t.Fatal(err)
	}
	f := fetch.New(store, files, egress.New(private))
	t.Cleanup(f.Close)
	return f, store
}

// serve answers every request so, and counts them.
func serve(t *testing.T, answer http.HandlerFunc) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// fetched is Fetch, asked again until it has ended.
func fetched(ctx context.Context, f *fetch.Fetcher, fence gateway.Fence, m *gateway.Message) error {
	for {
		err := f.Fetch(ctx, fence, m)
		if failed, ok := errors.AsType[*gateway.SendError](err); !ok || failed.Cause != gateway.CauseFetching {
			return err
		}
	}
}

func message(url, mimetype string) *gateway.Message {
	return &gateway.Message{ID: "m", TenantKey: 1, Type: gateway.TypeDocument, Content: &gateway.Content{File: &gateway.RemoteFile{URL: url, MimeType: mimetype}}}
}

func TestAFileIsFetchedAsWhatItIs(t *testing.T) {
	t.Parallel()
	picture := testkit.JPEG(t)
	for name, c := range map[string]struct {
		declared, answered, path string
		want                     gateway.MessageType
		mimetype, filename       string
	}{
		"declared":                    {"image/jpeg", "image/jpeg", "/a/photo.jpg?token=x", gateway.TypeImage, "image/jpeg", "photo.jpg"},
		"the server says nothing":     {"", "application/octet-stream", "/download", gateway.TypeImage, "image/jpeg", ""},
		"the server is wrong":         {"", "video/mp4", "/x.mp4", gateway.TypeImage, "image/jpeg", "x.mp4"},
		"declared, the server wrong":  {"image/jpeg", "text/html", "/", gateway.TypeImage, "image/jpeg", ""},
		"declared to be no image":     {"application/octet-stream", "image/jpeg", "/.jpg", gateway.TypeDocument, "application/octet-stream", ""},
		"a name that is none":         {"", "image/jpeg", "/%0a.jpg", gateway.TypeImage, "image/jpeg", ""},
		"the server knows it exactly": {"", "image/jpeg; charset=binary", "/x.jpg", gateway.TypeImage, "image/jpeg", "x.jpg"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, asked := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Cookie") != "" {
					t.Errorf("asked with %v", r.Header)
				}
				w.Header().Set("Content-Type", c.answered)
				_, _ = w.Write(picture)
			})
			f, store := newFetcher(t, true, 1<<30)
			m := message(url+c.path, c.declared)
			if err := fetched(t.Context(), f, gateway.Fence{TenantKey: 1}, m); err != nil {
				t.Fatal(err)
			}
			if m.Media == nil || m.Type != c.want || m.Media.MimeType != c.mimetype || m.Media.Filename != c.filename || m.Media.Size != int64(len(picture)) {
				t.Fatalf("fetched %+v as %s", m.Media, m.Type)
			}
			if len(store.kept) != 1 || *store.kept[0].Media != *m.Media || m.ToFetch() != nil || asked.Load() != 1 {
				t.Errorf("kept %+v after %d requests", store.kept, asked.Load())
			}
		})
	}
}

func TestABulkFetchesItsFileOnce(t *testing.T) {
	t.Parallel()
	url, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the same for all") })
	f, store := newFetcher(t, true, 1<<30)
	for range 5 {
		m := message(url, "text/plain")
		m.BulkID = "b"
		if err := fetched(t.Context(), f, gateway.Fence{TenantKey: 1}, m); err != nil || m.Media == nil {
			t.Fatalf("%v, %v", m.Media, err)
		}
	}
	if asked.Load() != 1 || len(store.kept) != 5 {
		t.Errorf("%d requests, %d kept", asked.Load(), len(store.kept))
	}
}

// What cannot be mended by another try says so with a code; the rest has the status, 0 without an answer.
func TestAFetchThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int
		code   gateway.Code // CodeInternal: none
	}{
		"not there":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, 404, gateway.CodeInternal},
		"too many":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, 429, gateway.CodeInternal},
		"broken":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, 502, gateway.CodeInternal},
		"a redirect":    {http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound).ServeHTTP, 302, gateway.CodeInternal},
		"hung up":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, gateway.CodeInternal},
		"empty":         {func(http.ResponseWriter, *http.Request) {}, 200, gateway.CodeInvalidMedia},
		"an error page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html><body>Sign in") }, 200, gateway.CodeMediaMismatch},
		"said too long": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
			w.WriteHeader(http.StatusOK)
		}, 200, gateway.CodeMediaTooLarge},
		"broke off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(bytes.Repeat([]byte{0xff}, 100))
		}, 200, gateway.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, c.answer)
			f, store := newFetcher(t, true, 1<<30)
			m := message(url+"/secret-token", "image/png")
			err := fetched(t.Context(), f, gateway.Fence{TenantKey: 1}, m)
			failed, ok := errors.AsType[*gateway.SendError](err)
			if !ok || failed.Cause != gateway.CauseFetch || failed.Server != c.status || failed.OnWire || gateway.CodeOf(failed.Err) != c.code {
				t.Errorf("got %+v", err)
			}
			if m.Media != nil || len(store.kept) != 0 || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("given %+v, kept %d, %v", m.Media, len(store.kept), err)
			}
		})
	}
}

// A file without end is cut off at the limit, whatever its length was said to be. The room's own budget stands in for the 64 MiB here.
func TestAFileWithoutEndIsCutOff(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	f, _ := newFetcher(t, true, 1<<20)
	err := fetched(t.Context(), f, gateway.Fence{TenantKey: 1}, message(url, ""))
	if failed, ok := errors.AsType[*gateway.SendError](err); !ok || gateway.CodeOf(failed.Err) != gateway.CodeMediaBusy {
		t.Errorf("got %v", err)
	}
}

func TestPrivateAddressesAreNotFetchedFrom(t *testing.T) {
	t.Parallel()
	url, asked := serve(t, func(http.ResponseWriter, *http.Request) {})
	f, _ := newFetcher(t, false, 1<<30)
	for _, raw := range []string{url, "http://169.254.169.254/latest/meta-data/", "http://[::ffff:127.0.0.1]/", "http://2130706433/", "file:///etc/passwd", "http://localhost:3003/debug/pprof"} {
		err := fetched(t.Context(), f, gateway.Fence{TenantKey: 1}, message(raw, ""))
		failed, ok := errors.AsType[*gateway.SendError](err)
		if !ok || failed.Cause != gateway.CauseFetch || gateway.CodeOf(failed.Err) != gateway.CodeMediaURLRefused {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests arrived", asked.Load())
	}
}

func TestAFetchWithoutTheLeaseIsNotKept(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "text") })
	f, store := newFetcher(t, true, 1<<30)
	for fail, cause := range map[error]gateway.SendCause{gateway.ErrFenced: gateway.CauseFenced, errors.New("disk gone"): gateway.CauseStore} {
		store.fail = fail
		m := message(url, "")
		err := fetched(t.Context(), f, gateway.Fence{TenantKey: 1}, m)
		if failed, ok := errors.AsType[*gateway.SendError](err); !ok || failed.Cause != cause || m.Media != nil {
			t.Errorf("got %v, want %s", err, cause)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := fetched(ended, f, gateway.Fence{TenantKey: 1}, message(url, ""))
	if failed, ok := errors.AsType[*gateway.SendError](err); !ok || failed.Cause != gateway.CauseStopped {
		t.Errorf("stopped: %v", err)
	}
}
