package httpapi_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

// idOf is the id that newKey gave a key.
func idOf(t *testing.T, h *hub, secret string) string {
	t.Helper()
	hash := gateway.HashKey(secret)
	found, err := h.store.KeysByPrefix(t.Context(), [8]byte(hash[:8]))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("%d keys", len(found))
	}
	return found[0].ID
}

// TestNoStreamOutlivesItsKey: what opened a stream is looked up again while it is open, so a stream of each kind ends soon after another process has taken that away.
// A stream of somebody else's goes on.
func TestNoStreamOutlivesItsKey(t *testing.T) {
	t.Parallel()
	type opened struct {
		h     *hub
		key   string // "none" when signed in
		id    string // of the key
		token string // of the sign-in
	}
	revoke := func(t *testing.T, o opened) {
		t.Helper()
		must(t, o.h.store.RevokeKey(t.Context(), o.h.algo.Key, o.id))
	}
	for name, c := range map[string]struct {
		signedIn bool
		end      func(t *testing.T, o opened)
	}{
		"the key is revoked": {end: revoke},
		"the key has expired": {end: func(t *testing.T, o opened) {
			t.Helper()
			fresh := gateway.APIKey{ID: "fresh", TenantKey: o.h.algo.Key, Hash: gateway.HashKey("fresh")}
			_, _, err := o.h.store.RotateKey(t.Context(), o.h.algo.Key, o.id, fresh, time.Now())
			must(t, err)
		}},
		"the key has lost the scope": {end: func(t *testing.T, o opened) {
			t.Helper()
			_, err := o.h.store.Writer().ExecContext(t.Context(), `UPDATE api_keys SET scopes = 'send' WHERE id = $1`, o.id)
			must(t, err)
		}},
		"the key of the sign-in is revoked": {signedIn: true, end: revoke},
		"the sign-in is over": {signedIn: true, end: func(t *testing.T, o opened) {
			t.Helper()
			must(t, o.h.store.CloseWebSession(t.Context(), gateway.HashSession(o.token)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, func(s *settings) {
				s.options.KeyCacheTTL, s.options.BulkPoll, s.options.Heartbeat = 20*time.Millisecond, 5*time.Millisecond, time.Hour
			})
			fence := h.own()[h.algo.Key]
			bulk := h.bulk(`{"message":"x","recipients":[{"to":"919876543210"}]}`)
			o := opened{h: h, key: h.newKey(h.algo)}
			o.id = idOf(t, h, o.key)
			header := map[string]string{"Accept": "text/event-stream"}
			if c.signedIn {
				var err error
				o.token, err = h.server.SignIn(t.Context(), o.key)
				must(t, err)
				o.key, header["Cookie"] = "none", httpapi.SessionCookie+"="+o.token
			}
			others := h.stream(t.Context(), "/api/algo/session/events")
			next(t, others, "state")
			var streams []io.ReadCloser
			for _, path := range []string{"/api/algo/events", "/api/algo/session/events", bulkPath + "/" + bulk.ID + "/events"} {
				got := h.do(request{path: path, key: o.key, header: header, keepRaw: true}).want(http.StatusOK)
				t.Cleanup(func() { _ = got.raw.Close() })
				if line, err := bufio.NewReader(got.raw).ReadString('\n'); err != nil || line != "retry: 2000\n" {
					t.Fatalf("%s begins with %q, %v", path, line, err)
				}
				streams = append(streams, got.raw)
			}
			c.end(t, o)
			ended := make(chan error, len(streams))
			for _, stream := range streams {
				go func() {
					_, err := io.Copy(io.Discard, stream)
					ended <- err
				}()
			}
			late := time.NewTimer(patience)
			defer late.Stop()
			for n := range streams {
				select {
				case err := <-ended:
					if err != nil {
						t.Errorf("a stream broke instead of ending: %v", err)
					}
				case <-late.C:
					t.Fatalf("%d streams are still open", len(streams)-n)
				}
			}
			h.session(fence, online)
			next(t, others, "state")
		})
	}
}

// TestNoWaitOutlivesItsKey: who waits for a message, or for an answer of WhatsApp's, learns at once that the key is no more, and nothing else.
func TestNoWaitOutlivesItsKey(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.KeyCacheTTL = 20 * time.Millisecond })
	h.session(h.own()[h.algo.Key], online)
	must(t, h.store.ReceiveInbound(t.Context(), &gateway.Inbound{
		ID: "file", TenantKey: h.algo.Key, StanzaID: "3A", Chat: "77@lid", Sender: "77@lid", Type: gateway.TypeImage, At: time.Now(), ReceivedAt: time.Now(),
		Media: &gateway.InboundMedia{MimeType: "image/png", Size: 7, SHA256: "ab", DirectPath: "/v"},
	}))
	key := h.newKey(h.algo)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	paths := []string{"/api/algo/messages/" + h.text("919876543210", "Hello").ID + "?wait=60s", "/api/algo/inbound/file/media"} // both wait a minute at least
	answers := make(chan response, len(paths))
	for _, path := range paths {
		go func() {
			got, err := h.send(ctx, request{path: path, key: key})
			if err != nil {
				t.Error(err)
			}
			answers <- got
		}()
	}
	eventually(t, "all wait", func() bool {
		h.fault.mu.Lock()
		waits := h.fault.ids == 1
		h.fault.mu.Unlock()
		var asked int
		must(t, h.store.Writer().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM queries`).Scan(&asked))
		return waits && asked == 1
	})
	must(t, h.store.RevokeKey(t.Context(), h.algo.Key, idOf(t, h, key)))
	for range paths {
		(<-answers).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	}
}
