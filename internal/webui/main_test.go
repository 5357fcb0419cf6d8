package webui_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/browser"
)

// Keys of the hub that the tests share.
const (
	adminKey = "admin-key-of-the-pages-test-hub"
	algoKey  = "algo-key-of-the-pages-test-hub"
)

// shared is what lives as long as the test program: tests ask for it with site and window.
var shared struct {
	t       testing.TB
	hub     sync.Once
	base    string
	sql     string // the address of its database
	browser sync.Once
	chrome  *browser.Browser
}

func TestMain(m *testing.M) {
	code := 1
	if !testkit.Main(context.Background(), "webui", os.Stderr, func(t testing.TB) {
		shared.t = t
		code = m.Run()
	}) {
		code = max(code, 1)
	}
	os.Exit(code)
}

// site is the address of a sandbox hub, the built program, that all tests of this program share. Tenant algo is paired; a test that
// changes anything makes a tenant of its own.
func site(t *testing.T) (base string, admin *testkit.Client) {
	t.Helper()
	shared.hub.Do(func() {
		dir := shared.t.TempDir()
		shared.sql = "sqlite://" + filepath.Join(dir, "hub.db")
		hub := testkit.Run(shared.t, nil, "SANDBOX=true", "DATABASE_URL="+shared.sql,
			"BLOB_URL=file://"+filepath.Join(dir, "media"), "ADMIN_API_KEY="+adminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+algoKey)
		hub.Printed("admin key")
		shared.base = "http://" + hub.Listening("requests")
	})
	if shared.base == "" {
		t.Fatal("the hub did not start; see the first test that asked for it")
	}
	return shared.base, testkit.NewClient(adminKey, shared.base)
}

// window is a window of the shared browser on the shared hub, with cookies of its own; with a key somebody has signed in with it.
func window(t *testing.T, key string) *browser.Tab {
	t.Helper()
	base, _ := site(t)
	shared.browser.Do(func() { shared.chrome = browser.Start(shared.t, t) })
	if shared.chrome == nil {
		t.Skip("there is no browser; see the first test that asked for it")
	}
	tab := shared.chrome.Tab(t, base)
	if key != "" {
		signIn(tab, key)
	}
	return tab
}

// signIn types the key as a person does.
func signIn(tab *browser.Tab, key string) {
	tab.Open("/signin")
	tab.Fill("#key", key)
	tab.Press("\r")
	tab.Until("signed in", `location.pathname.startsWith('/channels') && document.readyState === 'complete'`)
}
