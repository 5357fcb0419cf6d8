package fetch_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func causeOf(err error) gateway.SendCause {
	if failed, ok := errors.AsType[*gateway.SendError](err); ok {
		return failed.Cause
	}
	return ""
}

// A server that takes its time holds up neither the tenant's other messages nor other tenants', and is asked once.
func TestASlowFileIsFetchedBesideTheSends(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow, asked := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "late")
	})
	quick, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "soon") })
	f, store := newFetcher(t, true, 1<<30)
	m := message(slow, "text/plain")
	for range 3 {
		if err := f.Fetch(t.Context(), gateway.Fence{TenantKey: 1}, m); causeOf(err) != gateway.CauseFetching || m.Media != nil {
			t.Fatalf("got %v", err)
		}
	}
	other := message(quick, "text/plain")
	other.ID = "other"
	await(t, func() bool { return f.Fetch(t.Context(), gateway.Fence{TenantKey: 1}, other) == nil })
	close(release)
	await(t, func() bool { return f.Fetch(t.Context(), gateway.Fence{TenantKey: 1}, m) == nil })
	if asked.Load() != 1 || m.Media == nil || m.Media.Size != 4 || len(store.kept) != 2 {
		t.Errorf("%+v after %d requests, kept %d", m.Media, asked.Load(), len(store.kept))
	}
}

func TestADeadURLIsNotAskedByEachMessageOfABulk(t *testing.T) {
	t.Parallel()
	url, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	f, _ := newFetcher(t, true, 1<<30)
	for _, id := range []string{"one", "two", "three"} {
		m := message(url, "text/plain")
		m.ID, m.BulkID = id, "b"
		await(t, func() bool {
			err := f.Fetch(t.Context(), gateway.Fence{TenantKey: 1}, m)
			if cause := causeOf(err); cause != gateway.CauseFetch && cause != gateway.CauseFetching {
				t.Fatalf("got %v", err)
			}
			return causeOf(err) == gateway.CauseFetch
		})
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	alone := message(url, "text/plain")
	await(t, func() bool {
		return causeOf(f.Fetch(t.Context(), gateway.Fence{TenantKey: 1}, alone)) == gateway.CauseFetch
	})
	if asked.Load() != 2 {
		t.Errorf("another message did not ask for itself: %d", asked.Load())
	}
}

// await repeats until done, for a minute at most.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if done() {
			return
		}
	}
	t.Fatal("it never came")
}
