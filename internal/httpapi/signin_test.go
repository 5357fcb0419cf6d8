package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

// signedIn opens a session with a key and returns the header that a browser sends.
func (h *hub) signedIn(key string) map[string]string {
	h.t.Helper()
	token, err := h.server.SignIn(h.t.Context(), key)
	must(h.t, err)
	return map[string]string{"Cookie": httpapi.SessionCookie + "=" + token}
}

// TestASessionMayDoWhatItsKeyMay: no more, and for no longer.
func TestASessionMayDoWhatItsKeyMay(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	other, _ := h.tenant("other")
	reader := h.newKey(h.algo, "read")
	text := `{"to":"919876543210","message":"hello"}`

	admin, algo, scoped := h.signedIn(h.adminKey), h.signedIn(h.key), h.signedIn(reader)
	h.do(request{path: "/admin/tenants", key: "none", header: admin}).want(http.StatusOK)
	h.do(request{path: "/api/" + other.ID + "/session", key: "none", header: admin}).want(http.StatusOK)
	h.do(request{path: "/api/algo/message", key: "none", header: algo, body: text}).want(http.StatusAccepted)
	h.do(request{path: "/admin/tenants", key: "none", header: algo}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
	h.do(request{path: "/sandbox/phones", key: "none", header: algo}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
	h.do(request{path: "/api/other/session", key: "none", header: algo}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
	h.do(request{path: "/api/nobody/session", key: "none", header: algo}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
	h.do(request{path: "/api/algo/messages", key: "none", header: scoped}).want(http.StatusOK)
	h.do(request{path: "/api/algo/message", key: "none", header: scoped, body: text}).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	// A key in the header is what counts, also a wrong one.
	h.do(request{path: "/admin/tenants", header: admin}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
	h.do(request{path: "/admin/tenants", key: "wah_guess", header: admin}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	if n := h.count(h.algo.Key); n != 1 {
		t.Errorf("%d messages were accepted, want 1", n)
	}

	who, err := h.server.Visitor(t.Context(), algo["Cookie"][len(httpapi.SessionCookie)+1:])
	if err != nil || who.Admin || who.TenantID != "algo" || !who.May("send") {
		t.Errorf("algo's visitor is %+v, %v", who, err)
	}
	must(t, h.server.SignOut(t.Context(), algo["Cookie"][len(httpapi.SessionCookie)+1:]))
	h.do(request{path: "/api/algo/messages", key: "none", header: algo}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	h.do(request{method: http.MethodDelete, path: "/admin/tenants/algo", key: "none", header: admin}).want(http.StatusNoContent)
	h.do(request{path: "/api/algo/messages", key: "none", header: scoped}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
}

// TestTokensAreNoKeysAndKeysNoTokens: neither opens what the other does, nor does a stored hash.
func TestTokensAreNoKeysAndKeysNoTokens(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	if _, err := h.server.SignIn(t.Context(), "wah_guess"); gateway.CodeOf(err) != gateway.CodeUnauthorized {
		t.Errorf("sign in with a guess: %v", err)
	}
	token := h.signedIn(h.key)["Cookie"][len(httpapi.SessionCookie)+1:]
	h.do(request{path: "/api/algo/messages", key: "none", header: map[string]string{"Cookie": httpapi.SessionCookie + "=" + token}}).want(http.StatusOK)
	h.do(request{path: "/api/algo/messages", key: token}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "") // known to the cache by now
	if _, err := h.server.SignIn(t.Context(), token); gateway.CodeOf(err) != gateway.CodeUnauthorized {
		t.Errorf("sign in with a token: %v", err)
	}
	for _, value := range []string{h.key, token + "x", token[1:], "", "x y"} {
		h.do(request{path: "/api/algo/messages", key: "none", header: map[string]string{"Cookie": httpapi.SessionCookie + "=" + value}}).
			refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	}
}

// TestACookieIsRefusedWhatOtherSitesAskFor, whatever the route; what only reads is not refused, for the browser keeps its answer from them.
func TestACookieIsRefusedWhatOtherSitesAskFor(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	cookie := h.signedIn(h.adminKey)
	from := func(header ...string) map[string]string {
		all := map[string]string{"Cookie": cookie["Cookie"]}
		for i := 0; i < len(header); i += 2 {
			all[header[i]] = header[i+1]
		}
		return all
	}
	for _, elsewhere := range []map[string]string{
		from("Sec-Fetch-Site", "cross-site"), from("Sec-Fetch-Site", "same-site"), from("Origin", "https://elsewhere.example"), from("Origin", "null"),
	} {
		for _, r := range []request{
			{path: "/api/algo/message", body: `{"to":"919876543210","message":"hello"}`},
			{method: http.MethodPatch, path: "/api/algo/settings", body: `{"unknownPolicy":"hold"}`},
			{method: http.MethodPost, path: "/api/algo/queue/purge"},
			{path: "/admin/tenants", body: `{"id":"more"}`},
			{method: http.MethodDelete, path: "/admin/tenants/algo"},
		} {
			r.key, r.header = "none", elsewhere
			h.do(r).refused(http.StatusForbidden, gateway.CodeForbidden, "")
		}
		h.do(request{path: "/api/algo/messages", key: "none", header: elsewhere}).want(http.StatusOK)
	}
	h.do(request{path: "/api/algo/message", key: "none", header: from("Sec-Fetch-Site", "same-origin"), body: `{"to":"919876543210","message":"hello"}`}).want(http.StatusAccepted)
	h.do(request{path: "/api/algo/message", header: from("Sec-Fetch-Site", "cross-site"), body: `{"to":"919876543210","message":"with a key"}`}).want(http.StatusAccepted)
	if n := h.count(h.algo.Key); n != 2 {
		t.Errorf("%d messages were accepted, want 2", n)
	}
}
