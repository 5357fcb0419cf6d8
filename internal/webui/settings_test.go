package webui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// TestSettingsAreSavedAsTheyAreShown changes some settings and leaves the others the hub's.
func TestSettingsAreSavedAsTheyAreShown(t *testing.T) {
	t.Parallel()
	channel(t, "settings", "")
	_, admin := site(t)
	type settings struct {
		UnknownPolicy string
		DefaultExpiry struct{ High, Normal, Bulk int }
		Pacing        struct {
			DelaySeconds float64
			PerMinute    int
			QuietHours   *struct{ From, To, TimeZone string }
		}
		Retention               struct{ MessagesDays, TextDays, EventsDays *int }
		OptOutWords, OptInWords []string
	}
	read := func() (s settings) {
		t.Helper()
		admin.JSON(t, http.MethodGet, "/api/settings/settings", nil, http.StatusOK, &s)
		return s
	}
	before := read()
	tab := window(t, adminKey)
	tab.Open("/channels/settings/settings")
	tab.Fill("#delaySeconds", "1.5")
	tab.Eval(`document.querySelector('#quietFrom').value = '22:00'; document.querySelector('#quietTo').value = '08:00'`, nil)
	tab.Fill("#quietZone", "Nowhere/Nowhere")
	tab.Click("#save")
	tab.UntilText(".field-problem", "time zone")
	tab.Fill("#quietZone", "Asia/Kolkata")
	tab.Fill("#expiryHigh", "5")
	tab.Click("input[name=unknownPolicy][value=hold]")
	tab.Click("#save")
	tab.UntilText("#notice", "Saved")
	got := read()
	if got.Pacing.DelaySeconds != 1.5 || got.Pacing.QuietHours == nil || got.Pacing.QuietHours.TimeZone != "Asia/Kolkata" || got.Pacing.QuietHours.From != "22:00" ||
		got.DefaultExpiry.High != 300 || got.DefaultExpiry.Bulk != before.DefaultExpiry.Bulk || got.UnknownPolicy != "hold" {
		t.Errorf("saved: %+v", got)
	}
	var shown string
	tab.Eval(`['#delaySeconds', '#quietFrom', '#quietZone', '#expiryHigh'].map((s) => document.querySelector(s).value).join(' ')`, &shown)
	if shown != "1.5 22:00 Asia/Kolkata 5" {
		t.Errorf("shown: %s", shown)
	}
	// An emptied group is none.
	tab.Eval(`for (const s of ['#quietFrom', '#quietTo', '#quietZone']) document.querySelector(s).value = ''`, nil)
	tab.Click("#save")
	tab.Until("no quiet hours", `document.readyState === 'complete' && document.querySelector('#quietZone').defaultValue === ''`)
	if got := read(); got.Pacing.QuietHours != nil || got.Pacing.DelaySeconds != 1.5 {
		t.Errorf("quiet hours were taken away: %+v", got)
	}
	tab.Click("#defaults")
	yes(tab)
	tab.UntilText("#notice", "own settings are back")
	if got := read(); !reflect.DeepEqual(got, before) {
		t.Errorf("the hub's own: %+v, before %+v", got, before)
	}
}

// TestRetentionIsSetAndEnded: days are saved as they are typed, too few are refused beside their field, an emptied field is for ever again; nothing else is
// sent along. Words that people opt out with likewise.
func TestRetentionIsSetAndEnded(t *testing.T) {
	t.Parallel()
	channel(t, "retention", "")
	_, admin := site(t)
	read := func() (retention, rest string) {
		t.Helper()
		var s map[string]json.RawMessage
		admin.JSON(t, http.MethodGet, "/api/retention/settings", nil, http.StatusOK, &s)
		retention = string(s["retention"])
		delete(s, "retention")
		return retention, fmt.Sprintf("%s", s)
	}
	_, before := read()
	tab := window(t, adminKey)
	tab.Open("/channels/retention/settings")
	tab.Fill("#messagesDays", "400")
	tab.Fill("#textDays", "14")
	tab.Fill("#eventsDays", "7")
	tab.Click("#save")
	tab.UntilText("#notice", "Saved")
	got, rest := read()
	if got != `{"eventsDays":7,"messagesDays":400,"textDays":14}` || rest != before {
		t.Errorf("saved %s, and %s, before %s", got, rest, before)
	}
	var shown string
	const fields = `['#messagesDays', '#textDays', '#eventsDays'].map((s) => document.querySelector(s).value).join(' ')`
	tab.Open("/channels/retention/settings")
	if tab.Eval(fields, &shown); shown != "400 14 7" {
		t.Errorf("shown: %s", shown)
	}
	// The browser would not send 13; the API says so too, and the page says it beside the field.
	tab.Eval(`document.querySelector('#textDays').removeAttribute('min')`, nil)
	tab.Fill("#textDays", "13")
	tab.Click("#save")
	tab.UntilText(".field-problem", "14")
	tab.Eval(`document.querySelector('#textDays').value = ''`, nil)
	tab.Eval(`document.querySelector('#optOutWords').value = 'arr\u00eat , genug,'`, nil)
	tab.Click("#save")
	tab.Until("the text is kept", `document.readyState === 'complete' && document.querySelector('#textDays').defaultValue === ''`)
	if got, _ := read(); got != `{"eventsDays":7,"messagesDays":400,"textDays":null}` {
		t.Errorf("saved %s", got)
	}
	var words struct{ OptOutWords, OptInWords []string }
	admin.JSON(t, http.MethodGet, "/api/retention/settings", nil, http.StatusOK, &words)
	if strings.ToLower(strings.Join(words.OptOutWords, "|")) != "arr\u00eat|genug" || len(words.OptInWords) == 0 {
		t.Errorf("saved %+v", words)
	}
}
