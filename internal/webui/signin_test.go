package webui_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/testkit"
)

// TestAVisitorSignsInSeesTheirOwnAndSignsOut: the first visit ends at the sign-in page; the cookie is out of scripts' reach; a tenant's
// key opens its own channel alone; signing out ends the session, and with the key goes every session of it.
func TestAVisitorSignsInSeesTheirOwnAndSignsOut(t *testing.T) {
	t.Parallel()
	tab := window(t, "")
	_, admin := site(t)
	admin.JSON(t, http.MethodPost, "/admin/tenants", map[string]string{"id": "sign-in"}, http.StatusCreated, nil)
	var key struct{ ID, Key string }
	admin.JSON(t, http.MethodPost, "/admin/tenants/sign-in/keys", map[string]string{"name": "shop"}, http.StatusCreated, &key)

	tab.Open("/")
	tab.UntilPath("/signin")
	tab.Fill("#key", "wah_not-a-key")
	tab.Press("\r")
	tab.UntilText("[role=alert]", "no such key")
	tab.Open("/channels")
	tab.UntilPath("/signin")
	tab.Fill("#key", key.Key)
	tab.Press("\r")
	tab.UntilPath("/channels")
	tab.UntilText("main", "sign-in")
	if text := tab.Text("main"); strings.Contains(text, "algo") {
		t.Errorf("another tenant's channel is shown: %s", text)
	}
	cookie := tab.Cookie("wah_session")
	if cookie == nil || !cookie.HTTPOnly || cookie.SameSite != "Lax" || cookie.Path != "/" {
		t.Fatalf("the cookie: %+v", cookie)
	}
	var script string
	if tab.Eval(`document.cookie`, &script); script != "" {
		t.Errorf("a script sees the cookie %s", script)
	}
	for path, want := range map[string]int{"/api/sign-in/session": 200, "/api/algo/session": 403, "/admin/tenants": 403, "/sandbox/phones": 403} {
		var status int
		if tab.Eval(`fetch('`+path+`').then((r) => r.status)`, &status); status != want {
			t.Errorf("GET %s with the tenant's cookie: %d, want %d", path, status, want)
		}
	}

	// Signing out ends the session everywhere, not only the cookie.
	none := testkit.NewClient("", shared.base)
	with := func(method, path string, headers ...string) int {
		status, _, _ := none.Do(t, method, path, nil, append([]string{"Cookie", "wah_session=" + cookie.Value}, headers...)...)
		return status
	}
	if status := with(http.MethodGet, "/api/sign-in/session"); status != http.StatusOK {
		t.Fatalf("the cookie opens nothing: %d", status)
	}
	tab.Click("form[action='/signout'] button")
	tab.UntilPath("/signin")
	if status := with(http.MethodGet, "/api/sign-in/session"); status != http.StatusUnauthorized {
		t.Errorf("the cookie opens the API after signing out: %d", status)
	}

	signIn(tab, key.Key)
	cookie = tab.Cookie("wah_session")
	admin.JSON(t, http.MethodDelete, "/admin/tenants/sign-in/keys/"+key.ID, nil, http.StatusNoContent, nil)
	if status := with(http.MethodGet, "/api/sign-in/session"); status != http.StatusUnauthorized {
		t.Errorf("the cookie of a revoked key opens the API: %d", status)
	}
	tab.Open("/channels")
	tab.UntilPath("/signin")
}

// TestOtherSitesCannotUseACookie: what changes anything is refused when a page of another site asks for it; with the key in its header
// nothing is.
func TestOtherSitesCannotUseACookie(t *testing.T) {
	t.Parallel()
	tab := window(t, adminKey)
	cookie := tab.Cookie("wah_session")
	none := testkit.NewClient("", shared.base)
	for _, tc := range []struct {
		headers []string
		want    int
	}{
		{[]string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{[]string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{[]string{"Origin", "https://elsewhere.example"}, http.StatusForbidden},
		{[]string{"Sec-Fetch-Site", "same-origin"}, http.StatusOK},
		{[]string{"Origin", shared.base}, http.StatusOK},
		{[]string{"Sec-Fetch-Site", "cross-site", "x-api-key", adminKey}, http.StatusOK},
	} {
		status, _, body := none.Do(t, http.MethodPost, "/api/algo/messages/status", `{"ids":["1"]}`, append([]string{"Cookie", "wah_session=" + cookie.Value}, tc.headers...)...)
		if status != tc.want {
			t.Errorf("%v: %d, want %d: %s", tc.headers, status, tc.want, body)
		}
	}
	for _, path := range []string{"/signin", "/signout"} {
		if status, _, _ := none.Do(t, http.MethodPost, path, "key="+adminKey, "Sec-Fetch-Site", "cross-site", "Content-Type", "application/x-www-form-urlencoded"); status != http.StatusForbidden {
			t.Errorf("POST %s from another site: %d", path, status)
		}
	}
}

// TestGuessingKeysIsSlowedDown: an address that failed ten times waits, and nobody else does, nor who comes from there with a key that exists.
func TestGuessingKeysIsSlowedDown(t *testing.T) {
	t.Parallel()
	_, admin := site(t)
	try := func(from, key string) int {
		status, header, _ := admin.Do(t, http.MethodPost, "/signin", "key="+key, "Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", from)
		if status == http.StatusTooManyRequests && header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		return status
	}
	for i := range 10 {
		if status := try("2001:db8::1", "wrong"); status != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i, status)
		}
	}
	for from, want := range map[string]int{"2001:db8::1": http.StatusTooManyRequests, "2001:db8::2:7": http.StatusTooManyRequests, "2001:db8:1::1": http.StatusUnauthorized, "192.0.2.1": http.StatusUnauthorized} {
		if status := try(from, "wrong"); status != want {
			t.Errorf("from %s: %d, want %d", from, status, want)
		}
	}
	if status := try("2001:db8::1", adminKey); status != http.StatusOK { // of the page that it was sent to
		t.Errorf("with a key that exists: %d", status)
	}
}
