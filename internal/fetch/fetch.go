// Package fetch gets the files that messages name by a URL, right before they are sent: once for a message, once for a bulk. What
// it got is stored like a file that came with the request and named by the message, so no later attempt asks again.
// And it makes previews of links, for texts that are to show one. It imports
// nothing of the hub but the domain and the guard of what leaves.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/gateway"
)

// Store is what SQL knows of fetched files.
type Store interface {
	// KeepFetched stores m.Media and m.Type under the lease, for m's bulk too. gateway.CodeMediaLost: the file is not stored any more.
	KeepFetched(ctx context.Context, f gateway.Fence, m *gateway.Message) error
	// FetchedFor is the file that a message of the bulk was given before; nil: none was.
	FetchedFor(ctx context.Context, bulkID string) (*gateway.Media, error)
}

// Files is the media room.
type Files interface {
	// Put stores what r holds; gateway.CodeMediaTooLarge, gateway.CodeInvalidMedia (empty), gateway.CodeMediaBusy.
	Put(ctx context.Context, r io.Reader) (gateway.Blob, error)
	// Describe says how a file goes out; gateway.CodeInvalidMedia, gateway.CodeMediaMismatch.
	Describe(ctx context.Context, declared string, blob gateway.Blob) (gateway.Media, error)
}

// Limits of one fetch.
const (
	Time   = 60 * time.Second // in all
	Answer = 10 * time.Second // until the answer begins
)

// Fetcher fetches. It is safe for concurrent use.
type Fetcher struct {
	store  Store
	files  Files
	client *http.Client
	jobs   *jobs[gateway.Media]
}

// New makes a Fetcher that calls what guard lets through.
func New(store Store, files Files, guard *egress.Guard) *Fetcher {
	client := guard.Client(egress.Options{Time: Time, Answer: Answer, ConnsPerHost: perProcess})
	return &Fetcher{store: store, files: files, client: client, jobs: newJobs[gateway.Media](maxOutcome)}
}

// Close ends what is being fetched and lets go of connections that are kept open.
func (f *Fetcher) Close() {
	f.jobs.stop()
	f.client.CloseIdleConnections()
}

// Fetch gives m the file that its URL names and stores that under the lease. The error is a *gateway.SendError with
// gateway.CauseFetch, whose Server is the HTTP status that was answered, 0 for none, and whose Err holds a *gateway.Error of
// what cannot be mended by another try; or with gateway.CauseFenced, CauseStopped or CauseStore. It returns within a moment: with
// gateway.CauseFetching while the file is being fetched beside the sends, to be asked again soon.
func (f *Fetcher) Fetch(ctx context.Context, fence gateway.Fence, m *gateway.Message) error {
	if m.BulkID != "" {
		known, err := f.store.FetchedFor(ctx, m.BulkID)
		if err != nil {
			return because(ctx, gateway.CauseStore, 0, err)
		}
		if known != nil {
			err := f.keep(ctx, fence, m, *known)
			if gateway.CodeOf(err) != gateway.CodeMediaLost || err == nil { // else it was collected: it is fetched anew
				return err
			}
		}
	}
	given := *m
	media, of, err := f.result(ctx, m, func(ctx context.Context) (gateway.Media, error) {
		media, err := f.get(ctx, given.Content.File)
		if err == nil {
			err = f.keep(ctx, fence, &given, media)
		}
		return media, err
	})
	switch {
	case err != nil:
		return err
	case of != m.ID: // another one of its bulk
		return f.keep(ctx, fence, m, media)
	}
	m.Media, m.Type = &media, media.Type()
	return nil
}

// result waits for the file of m for a moment, and tells which message it was fetched and kept for; get is called when nobody fetches it
// yet. gateway.CauseFetching when it is not there by then.
func (f *Fetcher) result(ctx context.Context, m *gateway.Message, get func(context.Context) (gateway.Media, error)) (media gateway.Media, of string, err error) {
	if ctx.Err() != nil {
		return media, "", because(ctx, gateway.CauseFetch, 0, ctx.Err())
	}
	key := m.ID
	if m.BulkID != "" {
		key = m.BulkID + " " + m.ToFetch().URL
	}
	job := f.jobs.start(key, m, get)
	switch {
	case job != nil && job.ended(ctx, patience):
	case ctx.Err() != nil:
		return media, "", because(ctx, gateway.CauseFetch, 0, ctx.Err())
	default:
		return media, "", &gateway.SendError{Cause: gateway.CauseFetching, Err: errors.New("the file at media.url is being fetched")}
	}
	// The file is in SQL from now on. A failure of the URL is also that of the others of the bulk.
	if failed, ok := errors.AsType[*gateway.SendError](job.err); m.BulkID == "" || !ok || failed.Cause != gateway.CauseFetch {
		f.jobs.forget(key, job)
	}
	return job.value, job.of, job.err
}

func (f *Fetcher) keep(ctx context.Context, fence gateway.Fence, m *gateway.Message, media gateway.Media) error {
	given := *m
	given.Media, given.Type = &media, media.Type()
	if err := f.store.KeepFetched(ctx, fence, &given); err != nil {
		if errors.Is(err, gateway.ErrFenced) {
			return &gateway.SendError{Cause: gateway.CauseFenced, Err: err}
		}
		return because(ctx, gateway.CauseStore, 0, err)
	}
	m.Media, m.Type = given.Media, given.Type
	return nil
}

func (f *Fetcher) get(ctx context.Context, file *gateway.RemoteFile) (gateway.Media, error) {
	failed := func(status int, err error) (gateway.Media, error) {
		return gateway.Media{}, because(ctx, gateway.CauseFetch, status, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, file.URL, nil)
	if err != nil {
		return failed(0, gateway.Errorf(gateway.CodeMediaURLRefused, "media.url cannot be read as a URL."))
	}
	req.Header.Set("User-Agent", "WA-Pro-Hub")
	resp, err := f.client.Do(req)
	if errors.Is(err, egress.ErrRefused) {
		return failed(0, gateway.Errorf(gateway.CodeMediaURLRefused, "media.url leads to an address that the hub does not call."))
	}
	if err != nil {
		return failed(0, withoutURL(err))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return failed(resp.StatusCode, fmt.Errorf("answered %d", resp.StatusCode))
	case resp.ContentLength > gateway.MaxMediaBytes:
		return failed(resp.StatusCode, gateway.Errorf(gateway.CodeMediaTooLarge, "The file at media.url is over %d bytes.", gateway.MaxMediaBytes))
	}
	blob, err := f.files.Put(ctx, egress.Limit(resp.Body, gateway.MaxMediaBytes+1))
	if err != nil {
		return failed(resp.StatusCode, withoutURL(err))
	}
	media, err := f.describe(ctx, file, resp.Header.Get("Content-Type"), blob)
	if err != nil {
		return failed(resp.StatusCode, err)
	}
	if media.Filename = file.Filename; media.Filename == "" {
		media.Filename = nameIn(file.URL)
	}
	return media, nil
}

// describe goes by what the request declared, and refuses bytes that are something else: an error page in place of the picture, say.
// Without that it goes by what the server says, if the bytes do not contradict it, and else by the bytes.
func (f *Fetcher) describe(ctx context.Context, file *gateway.RemoteFile, answered string, blob gateway.Blob) (gateway.Media, error) {
	if file.MimeType != "" {
		return f.files.Describe(ctx, file.MimeType, blob)
	}
	if kind, _, err := mime.ParseMediaType(answered); err == nil && kind != "application/octet-stream" && kind != "binary/octet-stream" {
		if media, err := f.files.Describe(ctx, kind, blob); err == nil {
			return media, nil
		}
	}
	return f.files.Describe(ctx, blob.MimeType, blob)
}

// nameIn is the name of the file in a URL's path, if it looks like one: phones show it with documents.
func nameIn(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	name := path.Base(u.Path)
	if path.Ext(name) == "" || path.Ext(name) == name || len(name) > gateway.MaxFilenameBytes || !utf8.ValidString(name) {
		return ""
	}
	for _, r := range name {
		if !unicode.IsPrint(r) || r == '/' || r == '\\' {
			return ""
		}
	}
	return name
}

// withoutURL keeps the URL, which may hold somebody's token, out of the log.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// because tells a fetch that was cut off by the end of the worker from one that failed.
func because(ctx context.Context, cause gateway.SendCause, status int, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		cause = gateway.CauseStopped
	}
	return &gateway.SendError{Cause: cause, Server: status, Err: err}
}
