package webui_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/webui"
)

// guards are the headers of every page: nothing of others is loaded, no script of the page itself runs, nobody frames it, nobody is told where its
// visitor was, nothing of it is kept.
var guards = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
	"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
	"Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

// TestEveryPageAnswersGuarded asks every route that the pages' router has, unknown ones too, as nobody and as the operator; and every asset, which
// may be kept, for it is nobody's secret.
func TestEveryPageAnswersGuarded(t *testing.T) {
	t.Parallel()
	base, _ := site(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(method, path, body string, cookie *http.Cookie) *http.Response {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if cookie != nil {
			req.AddCookie(cookie)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	guarded := func(route string, resp *http.Response, want map[string]string) {
		t.Helper()
		for name, want := range want {
			if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s answers %d with %s %q", route, resp.StatusCode, name, got)
			}
		}
	}

	entered := ask(http.MethodPost, "/signin", url.Values{"key": {adminKey}}.Encode(), nil)
	guarded("signing in", entered, guards)
	var cookie *http.Cookie
	for _, c := range entered.Cookies() {
		cookie = c
	}
	if cookie == nil || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Fatalf("signing in answers %d with the cookie %+v", entered.StatusCode, cookie)
	}
	parameter := regexp.MustCompile(`\{\w+\}`)
	patterns, statuses := webui.Patterns(), map[int]int{}
	for _, pattern := range append(patterns, "GET /nowhere", "GET /", "GET /channels/{id}/nowhere") {
		method, path, _ := strings.Cut(pattern, " ")
		path = parameter.ReplaceAllString(strings.Replace(path, "/channels/{id}", "/channels/algo", 1), "x")
		guarded(pattern+" by nobody", ask(method, path, "", nil), guards)
		if path == "/signout" {
			continue // last
		}
		resp := ask(method, path, "", cookie)
		guarded(pattern, resp, guards)
		statuses[resp.StatusCode]++
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode == http.StatusOK && !strings.HasSuffix(kind, "; charset=utf-8") {
			t.Errorf("%s answers with %s", pattern, kind)
		}
	}
	if len(patterns) < 20 || statuses[http.StatusOK] < 12 {
		t.Errorf("%d pages answered %v: those are not the pages", len(patterns), statuses)
	}
	guarded("signing out", ask(http.MethodPost, "/signout", "", cookie), guards)

	assets, err := webui.AssetPaths()
	if err != nil || len(assets) < 5 {
		t.Fatalf("assets: %v, %v", assets, err)
	}
	for _, path := range append(assets, "/assets/nowhere.js") {
		want := map[string]string{
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer",
		}
		if resp := ask(http.MethodGet, path, "", nil); resp.StatusCode == http.StatusOK {
			want["Cache-Control"] = "public, max-age=31536000, immutable"
			guarded(path, resp, want)
		} else if guarded(path, resp, want); path != "/assets/nowhere.js" {
			t.Errorf("%s answers %d", path, resp.StatusCode)
		}
	}
}
