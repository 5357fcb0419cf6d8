package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestASignInHoldsWithEveryAPI: who signed in with one process of the hub is known to the others, until they sign out or their key is
// revoked with any of them.
func TestASignInHoldsWithEveryAPI(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		var key struct{ ID, Key string }
		w.Admin.JSON(t, http.MethodPost, "/admin/tenants/algo/keys", map[string]string{"name": "a browser"}, http.StatusCreated, &key)
		browser := w.Admin.WithKey("")
		browser.HTTP = &http.Client{Timeout: 90 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		signIn := func() string {
			status, header, body := browser.Do(t, http.MethodPost, "/signin", "key="+key.Key, "Content-Type", "application/x-www-form-urlencoded")
			cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
			if status != http.StatusSeeOther || cookie == "" {
				t.Fatalf("sign in: %d %v %s", status, header, body)
			}
			return cookie
		}
		everywhere := func(cookie string, want int) {
			t.Helper()
			testkit.Eventually(t, 3*time.Minute, func() (bool, string) { // a process believes what it has seen for two seconds
				for range 2 { // the APIs take turns
					if status, _, body := browser.Do(t, http.MethodGet, "/api/algo/session", nil, "Cookie", cookie); status != want {
						return false, string(body)
					}
				}
				return true, ""
			})
		}
		first, second := signIn(), signIn()
		everywhere(first, http.StatusOK)
		everywhere(second, http.StatusOK)
		if status, _, page := browser.Do(t, http.MethodGet, "/channels", nil, "Cookie", first, "Accept", "text/html"); status != http.StatusOK || !strings.Contains(string(page), "algo") {
			t.Errorf("the channels: %d", status)
		}
		if status, _, _ := browser.Do(t, http.MethodPost, "/signout", "", "Cookie", first, "Content-Type", "application/x-www-form-urlencoded"); status != http.StatusSeeOther {
			t.Errorf("sign out: %d", status)
		}
		everywhere(first, http.StatusUnauthorized)
		everywhere(second, http.StatusOK)
		w.Admin.JSON(t, http.MethodDelete, "/admin/tenants/algo/keys/"+key.ID, nil, http.StatusNoContent, nil)
		everywhere(second, http.StatusUnauthorized)
	})
}
