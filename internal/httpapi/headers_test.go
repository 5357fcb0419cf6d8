package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// guards are the headers that keep an answer of the API where it belongs.
var guards = map[string]string{
	"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
}

// TestEveryRouteAnswersGuarded asks every route that the router has, with no key and with one that may: whatever the answer is, a browser neither keeps
// nor frames nor runs it, and tells nobody where it was. Only the headers of an answer are waited for: streams have no end.
func TestEveryRouteAnswersGuarded(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.text("919876543210", "is read")
	parameter := regexp.MustCompile(`:\w+`)
	statuses := map[int]int{}
	routes := h.server.Routed()
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		path = parameter.ReplaceAllString(strings.NewReplacer(":tenantId", "algo", "/admin/tenants/:id", "/admin/tenants/nobody").Replace(path), "x")
		for _, key := range []string{"", h.adminKey} {
			if key != "" && strings.HasSuffix(path, "/session/connect") {
				continue // waits for a worker
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			var body io.Reader
			if method != http.MethodGet && method != http.MethodDelete {
				body = strings.NewReader("[") // no route takes it
			}
			req, err := http.NewRequestWithContext(ctx, method, h.base+path, body)
			must(t, err)
			req.Header.Set("x-api-key", key)
			req.Header.Set("Content-Type", "application/json")
			resp, err := h.client.Do(req)
			must(t, err)
			for name, want := range guards {
				if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
					t.Errorf("%s answers %d with %s %q", route, resp.StatusCode, name, got)
				}
			}
			for _, telling := range []string{"Server", "X-Powered-By", "Access-Control-Allow-Origin"} {
				if resp.Header.Get(telling) != "" {
					t.Errorf("%s answers with %s %q", route, telling, resp.Header.Get(telling))
				}
			}
			statuses[resp.StatusCode]++
			cancel()
			must(t, resp.Body.Close())
		}
	}
	if len(routes) < 50 || statuses[http.StatusOK] < 15 || statuses[http.StatusUnauthorized] < 50 {
		t.Errorf("%d routes answered %v: that is not the API", len(routes), statuses)
	}
}
