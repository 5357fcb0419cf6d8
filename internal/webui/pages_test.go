package webui_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/wapro/hub/internal/testkit/browser"
)

// maxWeight is what a page with all that it loads may weigh, as decoded.
const maxWeight = 200_000

// pages are all that a person can open. Parts in braces are filled in by the test.
var pages = []struct {
	name, path string
	key        string // who looks; empty: anybody
}{
	{"sign-in", "/signin", ""},
	{"docs", "/docs", ""},
	{"docs-signed-in", "/docs", adminKey},
	{"reference", "/docs/reference", ""},
	{"reference-errors", "/docs/reference/errors", ""},
	{"reference-operation", "/docs/reference/createBulk", ""},
	{"not-found", "/nowhere", adminKey},
	{"channels", "/channels", adminKey},
}

// TestEveryPageIsAccessibleLightAndQuiet opens each page in light and dark, on a desk and on a small phone: axe finds no violation of
// WCAG, nothing sticks out at 360 px, the browser complains of nothing, nobody else is asked for anything, and all of it weighs less
// than 200 kB. With SCREENSHOTS=folder it leaves a picture of each page there: SCREENSHOTS=../../docs/screenshots go test -run Accessible ./internal/webui
func TestEveryPageIsAccessibleLightAndQuiet(t *testing.T) {
	t.Parallel()
	windows := map[string]*browser.Tab{}
	for _, key := range []string{"", adminKey} {
		windows[key] = window(t, key)
		windows[key].NoCache()
	}
	axe := browser.Axe(t)
	for _, page := range pages {
		tab := windows[page.key]
		tab.Size(1280, 900)
		tab.Scheme("light")
		tab.Complaints()
		tab.Weight()
		tab.Open(page.path)
		if total, of := tab.Weight(); total > maxWeight || total < 5_000 {
			t.Errorf("%s weighs %d bytes: %v", page.path, total, of)
		}
		for _, look := range []struct {
			scheme string
			width  int64
		}{{"light", 1280}, {"dark", 360}} {
			tab.Size(look.width, 900)
			tab.Scheme(look.scheme)
			for _, v := range tab.Violations(axe) {
				t.Errorf("%s, %s, %d px: %s", page.path, look.scheme, look.width, v)
			}
			if n := tab.Overflow(); n > 0 {
				t.Errorf("%s, %d px: the page is %d px wider than the window", page.path, look.width, n)
			}
		}
		for _, c := range tab.Complaints() {
			if page.name == "not-found" && c == "network error: Failed to load resource: the server responded with a status of 404 (Not Found) "+shared.base+page.path {
				continue // that is what the page is about
			}
			t.Errorf("%s: the browser complains: %s", page.path, c)
		}
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			tab.Scheme("light")
			tab.Size(1024, 768)
			picture := tab.Picture()
			if len(picture) > 150_000 {
				t.Errorf("the picture of %s has %d bytes", page.path, len(picture))
			}
			if err := os.WriteFile(filepath.Join(dir, page.name+".png"), picture, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPagesAreForBrowsersOnly: programs are answered as ever, with JSON, also where a browser would see a page.
func TestPagesAreForBrowsersOnly(t *testing.T) {
	t.Parallel()
	_, admin := site(t)
	for path, want := range map[string]int{"/": http.StatusOK, "/nowhere": http.StatusNotFound, "/livez": http.StatusOK} {
		status, header, body := admin.Do(t, http.MethodGet, path, nil)
		kind := header.Get("Content-Type")
		if status != want || kind != "application/json" && kind != "application/problem+json" {
			t.Errorf("GET %s: %d %s %.80s", path, status, kind, body)
		}
	}
	status, header, _ := admin.Do(t, http.MethodGet, "/assets/app.css", nil)
	if status != http.StatusNotFound {
		t.Errorf("an asset without its hash: %d %v", status, header)
	}
}
