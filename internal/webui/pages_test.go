package webui_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/testkit/browser"
)

// maxWeight is what a page with all that it loads may weigh, as decoded.
const maxWeight = 200_000

// pages are all that a person can open. Parts in braces are filled in by the test.
var pages = []struct {
	name, path string
	key        string // who looks; empty: anybody
	ready      string // what must be true before somebody looks; empty: nothing
}{
	{"sign-in", "/signin", "", ""},
	{"docs", "/docs", "", ""},
	{"docs-signed-in", "/docs", adminKey, ""},
	{"reference", "/docs/reference", "", ""},
	{"reference-errors", "/docs/reference/errors", "", ""},
	{"reference-operation", "/docs/reference/createBulk", "", ""},
	{"not-found", "/nowhere", adminKey, ""},
	{"channels", "/channels", adminKey, ""},
	{"overview", "/channels/pages?span=hour", adminKey, ""},
	{"messages", "/channels/pages/messages", adminKey, ""},
	{"message", "/channels/pages/messages/{message}", adminKey, ""},
	{"message-failed", "/channels/pages/messages/{failed}", adminKey, ""},
	{"bulk-list", "/channels/pages/bulk", adminKey, ""},
	{"bulk", "/channels/pages/bulk/{bulk}", adminKey, ""},
	{"bulk-new", "/channels/pages/bulk/new", adminKey, ""},
	{"settings", "/channels/pages/settings", adminKey, ""},
	{"opt-outs", "/channels/pages/opt-outs", adminKey, ""},
	{"webhooks", "/channels/pages/webhooks", adminKey, ""},
	{"webhook", "/channels/pages/webhooks/{webhook}", adminKey, ""},
	{"keys", "/channels/pages/keys", adminKey, ""},
	{"pairing", "/channels/pages-unpaired/pair#start", adminKey, `document.querySelector('#pairing').dataset.shows === 'qr'`},
	{"workers", "/workers", adminKey, ""},
	{"phones", "/phones?number=919876565001", adminKey, ""},
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
	fill := pageContent(t)
	for _, page := range pages {
		page.path = fill.Replace(page.path)
		tab := windows[page.key]
		tab.Size(1280, 900)
		tab.Scheme("light")
		tab.Complaints()
		tab.Weight()
		tab.Open(page.path)
		if page.ready != "" {
			tab.Until(page.path+" is ready", page.ready)
		}
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

// pageContent makes the channels that the pages are about, and knows what stands for the parts in braces.
func pageContent(t *testing.T) *strings.Replacer {
	t.Helper()
	channel(t, "pages", "15550102007")
	channel(t, "pages-unpaired", "")
	_, admin := site(t)
	message := admin.Send(t, "pages", "919876565001", "Your order 4711 is on its way.").ID
	failed := admin.Send(t, "pages", "12025550101", "Your order 4712 is on its way.").ID
	admin.JSON(t, http.MethodPost, "/api/pages/opt-outs", map[string][]string{"recipients": {"919876565002"}}, http.StatusOK, nil)
	admin.JSON(t, http.MethodPost, "/admin/tenants/pages/keys", map[string]string{"name": "web shop"}, http.StatusCreated, nil)
	var bulk struct{ ID string }
	admin.JSON(t, http.MethodPost, "/api/pages/bulk", map[string]any{"name": "Spring sale", "message": "Dear {{name}}", "onInvalid": "skip", "recipients": []map[string]any{
		{"to": "919876565003", "vars": map[string]string{"name": "Asha"}}, {"to": "12025550103", "vars": map[string]string{"name": "Ravi"}}, {"to": "nobody"},
	}}, http.StatusAccepted, &bulk)
	var hook struct{ ID string }
	admin.JSON(t, http.MethodPost, "/api/pages/webhooks", map[string]any{"url": "http://127.0.0.1:65000/hub", "events": []string{"message.*"}}, http.StatusCreated, &hook)
	admin.JSON(t, http.MethodPost, "/api/pages/webhooks/"+hook.ID+"/test", nil, http.StatusAccepted, nil)
	admin.AwaitStatus(t, "pages", message, "read")
	admin.AwaitStatus(t, "pages", failed, "failed")
	return strings.NewReplacer("{message}", message, "{failed}", failed, "{bulk}", bulk.ID, "{webhook}", hook.ID)
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
