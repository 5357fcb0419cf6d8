package webui_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestThePairingPageShowsNewCodesByItself looks at a code that nobody scans: the next one takes its place, and when WhatsApp gives no
// more the page says so, and begins anew in one click.
func TestThePairingPageShowsNewCodesByItself(t *testing.T) {
	t.Parallel()
	window(t, "") // the browser
	w := testkit.Start(t, testkit.Embedded(), testkit.WithCodeLifetimes(5*time.Second, 2*time.Second))
	w.Admin.JSON(t, http.MethodPost, "/admin/tenants", map[string]string{"id": "patient"}, http.StatusCreated, nil)
	tab := shared.chrome.Tab(t, w.Admin.Base())
	signIn(tab, testkit.AdminKey)
	tab.Open("/channels/patient/pair")
	tab.Click("#start-qr")
	const shown = `document.querySelector('#qr').dataset.code`
	tab.Until("a code", shown+` && document.querySelector('#countdown').textContent.startsWith('A new code comes in')`)
	var first string
	tab.Eval(shown, &first)
	tab.Until("another code, by itself", shown+` !== `+"`"+first+"`")
	tab.Until("the end of the codes", `document.querySelector('#pairing').dataset.shows === 'start' && !document.querySelector('#start-qr').closest('[hidden]')`)
	var last string
	tab.Eval(shown, &last)
	tab.Click("#start-qr")
	tab.Until("a code after a restart", `document.querySelector('#pairing').dataset.shows === 'qr' && `+shown+` !== `+"`"+last+"`")
}
