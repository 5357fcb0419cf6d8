package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

// I6: of what a process has for everybody a tenant gets its share and no more. Others get theirs meanwhile, and the operator sees what goes on.
func TestATenantTakesNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.MaxStreams, s.options.MaxWaiters, s.options.MaxUploads = 8, 8, 2 })
	_, key := h.tenant("other")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := func(h *hub, r request, code gateway.Code) {
		t.Helper()
		got := h.do(r).refused(http.StatusServiceUnavailable, code, "")
		if !strings.Contains(decode[problem](got).Detail, "of this tenant already") || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, %v", r.path, got.body, got.header)
		}
	}

	t.Run("streams", func(t *testing.T) {
		h := h.in(t)
		for range 2 {
			next(t, h.stream(ctx, "/api/algo/session/events"), "state")
		}
		refused(h, request{path: "/api/algo/session/events"}, gateway.CodeTooManyWaiters)
		refused(h, request{path: "/api/algo/events", header: map[string]string{"Accept": "text/event-stream"}}, gateway.CodeTooManyWaiters)
		h.session(h.own()[h.algo.Key], online)
		refused(h, request{path: "/api/algo/groups"}, gateway.CodeTooManyWaiters) // a question looks for its answer like a stream does
		for tenant, key := range map[string]string{"other": key, "algo": h.adminKey} {
			got, err := h.send(ctx, request{path: "/api/" + tenant + "/session/events", key: key, keepRaw: true})
			must(t, err)
			defer got.raw.Close()
			got.want(http.StatusOK)
		}
		asking, stop := context.WithCancel(ctx)
		gone := make(chan struct{})
		go func() {
			_, _ = h.send(asking, request{path: "/api/algo/groups", key: h.adminKey}) // nobody answers
			close(gone)
		}()
		eventually(t, "the operator's question is asked", func() (asked bool) {
			must(t, h.store.Writer().QueryRowContext(ctx, `SELECT COUNT(*) = 1 FROM queries`).Scan(&asked))
			return asked
		})
		stop()
		<-gone
	})
	t.Run("waits", func(t *testing.T) {
		h := h.in(t)
		gone := make(chan struct{})
		at := ""
		for range 2 {
			at = "/api/algo/messages/" + h.text("919876543210", "Hello").ID
			go func() {
				_, _ = h.send(ctx, request{path: at + "?wait=60s"}) // canceled below
				gone <- struct{}{}
			}()
		}
		eventually(t, "both wait", func() bool {
			h.fault.mu.Lock()
			defer h.fault.mu.Unlock()
			return h.fault.ids == 2
		})
		refused(h, request{path: at + "?wait=1ms"}, gateway.CodeTooManyWaiters)
		h.do(request{path: at}).want(http.StatusOK)
		theirs := decode[messageBody](h.do(request{path: "/api/other/message", key: key, body: hello}).want(http.StatusAccepted))
		h.do(request{path: "/api/other/messages/" + theirs.ID + "?wait=1ms", key: key}).want(http.StatusOK)
		cancel()
		<-gone
		<-gone
	})
	t.Run("uploads", func(t *testing.T) {
		h := h.in(t)
		// The server asks for the body once it reads it, so when some of it was sent the place is taken.
		patient := &http.Transport{ExpectContinueTimeout: patience}
		defer patient.CloseIdleConnections()
		slow := *h
		slow.client = &http.Client{Transport: patient}
		reader, writer := io.Pipe()
		done := make(chan response, 1)
		go func() {
			r, err := slow.send(t.Context(), request{path: bulkPath, reader: reader, header: map[string]string{"Expect": "100-continue"}})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		_, err := io.WriteString(writer, `{"message":"x",`)
		must(t, err)
		body := `{"message":"x","recipients":[{"to":"919876543210"}]}`
		refused(h, request{path: bulkPath, body: body}, gateway.CodeUnavailable)
		h.do(request{path: "/api/other/bulk", key: key, body: body}).want(http.StatusAccepted)
		_, err = io.WriteString(writer, body[len(`{"message":"x",`):])
		must(t, err)
		must(t, writer.Close())
		(<-done).want(http.StatusAccepted)
		h.do(request{path: bulkPath, body: body}).want(http.StatusAccepted)
	})
}
