package retention_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/media"
	"github.com/wapro/hub/internal/retention"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/testkit/services"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// world is a database and a blob store whose clock is set by hand.
type world struct {
	*fakeclock.Clock
	*retention.Retention
	t      *testing.T
	store  *store.Store
	files  *media.Store
	dir    string
	tenant gateway.Tenant
	made   int
}

// eachDialect runs a test on SQLite and on Postgres.
func eachDialect(t *testing.T, run func(w *world)) {
	t.Helper()
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		w := &world{t: t, Clock: fakeclock.At(time.Now()), dir: filepath.Join(t.TempDir(), "media")}
		var err error
		w.store, err = store.Open(t.Context(), url, store.Options{Clock: w.Now})
		w.must(err)
		t.Cleanup(func() { w.must(w.store.Close()) })
		w.files, err = media.Open(w.dir, 1<<20, w.store)
		w.must(err)
		w.tenant, err = w.store.CreateTenant(t.Context(), "algo", "")
		w.must(err)
		w.Retention = retention.New(w.store, w.files, retention.Options{Clock: w.Now, Interval: time.Millisecond, Scan: time.Hour})
		run(w)
	})
}

// TestWhatWasFetchedIsKeptWhileItIsAnswered: no message names the file of an inbound one, so it stays for as long as it is answered without asking WhatsApp
// only because it was used by then.
func TestWhatWasFetchedIsKeptWhileItIsAnswered(t *testing.T) {
	eachDialect(t, func(w *world) {
		blob, err := w.files.Put(t.Context(), strings.NewReader("a received file"))
		w.must(err)
		m := gateway.Inbound{
			ID: "in", TenantKey: w.tenant.Key, StanzaID: "3A", Chat: "77@lid", Sender: "77@lid", Type: gateway.TypeImage,
			Media: &gateway.InboundMedia{SHA256: blob.SHA256, Size: blob.Size}, At: w.Now(), ReceivedAt: w.Now(),
		}
		w.must(w.store.ReceiveInbound(t.Context(), &m))
		w.must(w.store.KeepInboundFetched(t.Context(), w.tenant.Key, m.ID))
		m, err = w.store.Inbound(t.Context(), w.tenant.Key, m.ID)
		w.must(err)
		for hour, gone := 0, false; !gone; hour++ {
			w.must(w.Round(t.Context()))
			file, err := w.files.Open(t.Context(), blob.SHA256)
			if err == nil {
				w.must(file.Close())
			}
			gone = err != nil
			if gone && m.HasFile(w.Now()) || hour > 48 {
				w.t.Fatalf("after %d hours: the file is gone: %t, it is answered: %t", hour, gone, m.HasFile(w.Now()))
			}
			w.Advance(time.Hour)
		}
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(content string) gateway.Blob {
	w.t.Helper()
	blob, err := w.files.Put(w.t.Context(), bytes.NewReader([]byte(content)))
	w.must(err)
	return blob
}

func (w *world) accept(blob gateway.Blob) error {
	w.made++
	return w.store.Accept(w.t.Context(), []*gateway.Message{{
		ID: fmt.Sprint("message", w.made), TenantKey: w.tenant.Key, TenantID: w.tenant.ID, To: "4915550000001", Type: gateway.TypeImage,
		Media: &gateway.Media{MimeType: "image/png", SHA256: blob.SHA256, Size: blob.Size}, Priority: gateway.PriorityNormal,
		WhatsAppID: fmt.Sprint("3EB0", w.made), Status: gateway.StatusQueued, CreatedAt: w.Now(),
	}}, nil)
}

// there reports whether a file can be read.
func (w *world) there(blob gateway.Blob) bool {
	w.t.Helper()
	f, err := w.files.Open(w.t.Context(), blob.SHA256)
	if errors.Is(err, &gateway.Error{Code: gateway.CodeMediaLost}) {
		return false
	}
	w.must(err)
	w.must(f.Close())
	return true
}

func TestOnlyFilesThatNoMessageNamesAreRemoved(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		named, refused := w.put("of a message"), w.put("of a request that was refused")
		w.must(w.accept(named))
		w.Advance(23 * time.Hour)
		young := w.put("of a request that is under way")
		w.must(w.Round(ctx))
		if !w.there(named) || !w.there(refused) || !w.there(young) {
			w.t.Fatal("removed before its day was over")
		}
		w.Advance(2 * time.Hour)
		w.must(w.Round(ctx))
		if !w.there(named) || w.there(refused) || !w.there(young) {
			w.t.Fatalf("named %t, refused %t, young %t", w.there(named), w.there(refused), w.there(young))
		}
		if err := w.accept(refused); !errors.Is(err, &gateway.Error{Code: gateway.CodeMediaLost}) {
			w.t.Errorf("a message that names a removed file came to %v", err)
		}
		w.must(w.accept(w.put("of a request that was refused")))
		w.Advance(48 * time.Hour)
		w.must(w.Round(ctx))
		if !w.there(refused) {
			w.t.Error("a file that was stored again and is named is removed")
		}
		w.must(w.store.DeleteTenant(ctx, "algo"))
		w.must(w.Round(ctx))
		if w.there(named) || w.there(refused) || w.there(young) {
			w.t.Error("files of a deleted tenant stay")
		}
	})
}

// TestFilesWithoutARowAreFound: of a kill between two steps, or of a data folder from before there were rows.
func TestFilesWithoutARowAreFound(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		sum := sha256.Sum256([]byte("a stray"))
		stray := gateway.Blob{SHA256: hex.EncodeToString(sum[:]), Size: 7}
		folder := filepath.Join(w.dir, stray.SHA256[:2])
		w.must(os.MkdirAll(folder, 0o700))
		w.must(os.WriteFile(filepath.Join(folder, stray.SHA256[2:]), []byte("a stray"), 0o600))
		w.must(w.Scan(ctx))
		w.must(w.Round(ctx))
		w.Advance(23 * time.Hour)
		w.must(w.Scan(ctx)) // does not prolong its time
		w.must(w.Round(ctx))
		if !w.there(stray) {
			w.t.Fatal("removed before its day was over")
		}
		w.Advance(2 * time.Hour)
		w.must(w.Round(ctx))
		if w.there(stray) {
			w.t.Error("a file that nobody knows of stays")
		}
	})
}

func TestWhatWasSentIsKeptForTwoWeeks(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		const contents = 1200 // more than fit one transaction
		tx, err := w.store.Writer().BeginTx(ctx, nil)
		w.must(err)
		defer tx.Rollback()
		for i := range contents {
			w.must(w.store.KeepSentIn(ctx, tx, w.tenant.Key, fmt.Sprint(i), []byte("what it was sent as")))
		}
		w.must(tx.Commit())
		kept := func(i int) bool {
			content, err := w.store.SentContent(ctx, w.tenant.Key, fmt.Sprint(i))
			w.must(err)
			return content != nil
		}
		w.Advance(14*24*time.Hour + time.Hour)
		w.must(w.Round(ctx))
		for i := range contents {
			if !kept(i) {
				w.t.Fatalf("content %d is gone after two weeks", i)
			}
		}
		w.Advance(24 * time.Hour)
		w.must(w.Round(ctx))
		for i := range contents {
			if kept(i) {
				w.t.Fatalf("content %d is kept for ever", i)
			}
		}
	})
}

// TestCollectionDuringTraffic runs the loop, again and again a day later, while files are stored and named: whatever a message was accepted for is there.
func TestCollectionDuringTraffic(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		w.must(w.Start(ctx))
		var accepted []gateway.Blob
		for i := range 150 {
			blob := w.put(fmt.Sprint("content ", i%7)) // of another day, collected or about to be
			w.must(w.accept(blob))
			accepted = append(accepted, blob)
			w.put(fmt.Sprint("refused ", i%3))
			if i%5 == 4 { // all of it is old, and nobody names it any more
				for _, b := range accepted {
					if !w.there(b) {
						w.t.Fatalf("round %d: the file of a message is gone", i)
					}
				}
				w.must(w.store.DeleteTenant(ctx, "algo"))
				var err error
				w.tenant, err = w.store.CreateTenant(ctx, "algo", "")
				w.must(err)
				accepted = nil
				w.Advance(25 * time.Hour)
			}
		}
		w.must(w.Stop(context.WithoutCancel(ctx)))
		w.must(w.Stop(context.WithoutCancel(ctx)))
		if err := w.Start(ctx); err == nil {
			w.t.Error("started after Stop")
		}
	})
}

// TestUploadsThatNobodyReusesGo: a round sweeps them, and leaves those that may be sent again.
func TestUploadsThatNobodyReusesGo(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		keep := func(n int) gateway.Upload {
			u := gateway.Upload{SHA256: fmt.Sprintf("%064d", n), Kind: "image", URL: "u", DirectPath: "/d", MediaKey: []byte{1}, EncSHA256: []byte{2}, Size: 3}
			w.must(w.store.KeepUpload(ctx, w.tenant.Key, u))
			return u
		}
		for n := range 3 {
			keep(n)
		}
		w.Advance(retention.UploadsFor)
		young := keep(3)
		w.must(w.Round(ctx))
		if n := w.count("uploads"); n != 4 {
			w.t.Errorf("%d uploads are left of four that may be young enough", n)
		}
		w.Advance(time.Second)
		w.must(w.Round(ctx))
		if n := w.count("uploads"); n != 1 {
			w.t.Errorf("%d uploads are left, want the young one", n)
		}
		if u, err := w.store.Upload(ctx, w.tenant.Key, young.SHA256, young.Kind, 24*time.Hour); err != nil || u == nil {
			w.t.Errorf("the young upload: %v, %v", u, err)
		}
	})
}

func (w *world) count(table string) (n int) {
	w.t.Helper()
	w.must(w.store.Writer().QueryRowContext(w.t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n))
	return n
}
