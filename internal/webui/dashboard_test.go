package webui_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/browser"
)

const (
	patience = 3 * time.Minute  // for something that must happen
	watching = 10 * time.Minute // for a bulk, which may be made larger
)

// figures are the counts that a bulk's page shows, by their names.
func figures(tab *browser.Tab) map[string]int {
	var texts map[string]string
	tab.Eval(`Object.fromEntries([...document.querySelectorAll('#progress [data-figure]')].map((e) => [e.dataset.figure, e.textContent]))`, &texts)
	found := map[string]int{}
	for name, text := range texts {
		n, err := strconv.Atoi(strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1 // thin spaces between thousands
		}, text))
		if err != nil {
			n = -1
		}
		found[name] = n
	}
	return found
}

// state is the word that a page shows of what it is about.
func state(tab *browser.Tab, of string) string { return tab.Text(of + " .state") }

// yes answers the question that the page asks.
func yes(tab *browser.Tab) { tab.Click("dialog button[value=yes]") }

// channel makes a channel over the API, paired with a simulated phone of its own.
func channel(t *testing.T, id, number string) {
	t.Helper()
	_, admin := site(t)
	admin.JSON(t, http.MethodPost, "/admin/tenants", map[string]string{"id": id}, http.StatusCreated, nil)
	if number == "" {
		return
	}
	code := admin.PairingCode(t, id)
	admin.JSON(t, http.MethodPost, "/sandbox/pair", map[string]string{"qr": code, "number": number}, http.StatusOK, nil)
	admin.AwaitSession(t, id, "online")
}

// TestFromTheFirstVisitToTheResultsOfABulk is what somebody does who has just started the hub, without reading anything.
func TestFromTheFirstVisitToTheResultsOfABulk(t *testing.T) {
	t.Parallel()
	const people = 500
	tab := window(t, "")
	tab.Open("/")
	tab.UntilPath("/signin")
	tab.Fill("#key", adminKey)
	tab.Press("\r")
	tab.UntilPath("/channels")

	// A channel, and a phone for it: the code that is shown is the one that is scanned.
	tab.Fill("#new-id", "first-visit")
	tab.Click("#create button")
	tab.UntilPath("/channels/first-visit/pair")
	tab.Until("a QR code with its time", `document.querySelector('#qr')?.src.startsWith('data:image/svg+xml') && /in [0-9]+ second/.test(document.querySelector('#countdown').textContent)`)
	var same bool
	tab.Eval(`fetch('/api/first-visit/session/qr', {headers: {Accept: 'image/svg+xml'}}).then((r) => r.text()).then((svg) => atob(document.querySelector('#qr').src.split(',')[1]) === svg)`, &same)
	if !same {
		t.Error("the picture is not the code that the session waits for")
	}
	tab.Fill("#scan-number", "15550102001")
	tab.Click("#do-scan")
	tab.Until("the phone is paired", `document.querySelector('#state .state')?.innerText === 'online'`)
	tab.UntilText("#state", "+15550102001")

	// A message, watched until it is read.
	tab.Open("/channels/first-visit")
	tab.Fill("#to", "+91 98765 60001")
	tab.Fill("#message", "Hello from the dashboard")
	tab.Click("#send button")
	tab.Until("the message", `/^\/channels\/first-visit\/messages\/[0-9a-f-]{36}$/.test(location.pathname)`)
	tab.Until("the message is read", `document.querySelector('#message .state')?.innerText === 'read'`)
	for _, status := range []string{"queued", "sending", "read"} { // a receipt may be quicker than what it confirms
		tab.UntilText(".timeline", status)
	}

	// While nothing is sent, a file of 500 is accepted and paused: what follows does not depend on how quick anybody is.
	tab.Open("/channels/first-visit/settings")
	tab.Click("#pause")
	tab.UntilText("#queue", "Sending is paused")
	file := filepath.Join(t.TempDir(), "people.csv")
	var rows strings.Builder
	rows.WriteString("to;name\n")
	for i := range people {
		fmt.Fprintf(&rows, "91987657%04d;Person %d\n", i, i)
	}
	rows.WriteString("nobody;Nobody\n")
	if err := os.WriteFile(file, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	tab.Open("/channels/first-visit/bulk")
	tab.Click("a[href$='/bulk/new']")
	tab.UntilPath("/channels/first-visit/bulk/new")
	tab.Upload("#file", file)
	tab.Fill("#message", "Dear ")
	tab.Until("the columns are offered", `document.querySelectorAll('#columns .chip').length === 2`)
	tab.Click("#columns .chip:nth-of-type(2)")
	tab.Click("#ask-preview")
	tab.UntilText("#preview", "Dear Person 0")
	tab.UntilText("#preview", "500 messages of 501 rows")
	tab.UntilText("#preview-invalid", "nobody")
	if text := tab.Text("#send"); text != "Send 500 messages, leave out 1" {
		t.Errorf("the button says %q", text)
	}
	tab.Click("#send")
	tab.Until("the bulk", `/\/bulk\/[0-9a-f-]{36}$/.test(location.pathname)`)
	tab.Until("it runs", `document.querySelector('#progress .state')?.innerText === 'running'`)
	if got := figures(tab); got["total"] != people || got["left"] != people || got["invalid"] != 1 || got["sent"] != 0 {
		t.Errorf("accepted: %v", got)
	}
	tab.Click("#pause")
	tab.Until("it is paused", `document.querySelector('#progress .state')?.innerText === 'paused' && document.querySelector('#resume')`)
	var bulk string
	tab.Eval(`location.pathname`, &bulk)

	// Sending goes on, for others: what is paused stays.
	tab.Open("/channels/first-visit/settings")
	tab.Click("#resume")
	tab.Until("the queue goes on", `document.querySelector('#queue #pause')`)
	_, admin := site(t)
	id := admin.Send(t, "first-visit", "919876560002", "in between").ID
	admin.AwaitStatus(t, "first-visit", id, "read")
	tab.Open(bulk)
	if got := figures(tab); got["left"] != people || state(tab, "#progress") != "paused" {
		t.Errorf("paused: %v, %s", got, state(tab, "#progress"))
	}
	tab.Click("#resume")
	tab.Until("it has finished", `document.querySelector('#progress .state')?.innerText === 'finished'`)
	tab.Until("everybody has read it", fmt.Sprintf(`document.querySelector('[data-figure=read]')?.textContent === '%d'`, people))

	// The results.
	folder := t.TempDir()
	tab.Downloads(folder)
	tab.Until("the results are offered", `!document.querySelector('#pause') && document.querySelector('#results')`)
	tab.Click("#results")
	var table [][]string
	testkit.Eventually(t, patience, func() (bool, string) {
		found, err := filepath.Glob(filepath.Join(folder, "bulk-*.csv"))
		if err != nil || len(found) != 1 {
			return false, fmt.Sprintf("downloaded %v, %v", found, err)
		}
		content, err := os.ReadFile(found[0])
		if err == nil {
			table, err = csv.NewReader(strings.NewReader(string(content))).ReadAll()
		}
		return err == nil && len(table) == people+2, fmt.Sprintf("%d lines, %v", len(table), err)
	})
	statuses := map[string]int{}
	for _, line := range table[1:] {
		statuses[line[2]]++
	}
	if statuses["read"] != people || statuses["invalid"] != 1 {
		t.Errorf("the results: %v", statuses)
	}
	for _, c := range tab.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

// TestABulkThatIsWatchedShowsWhatSQLHas watches a bulk live and holds the page's last figures against the database. The people in it
// differ: some never read, some have no WhatsApp. WATCHED_BULK=10000 makes it larger.
func TestABulkThatIsWatchedShowsWhatSQLHas(t *testing.T) {
	t.Parallel()
	people := 300
	if n, err := strconv.Atoi(os.Getenv("WATCHED_BULK")); err == nil {
		people = n
	}
	channel(t, "watched", "15550102002")
	_, admin := site(t)
	messages := make([]map[string]string, people)
	want := gateway.BulkCounts{}
	for i := range messages {
		to := fmt.Sprintf("919876%06d", 100_000+i)
		switch i % 50 {
		case 10:
			to = "12025550102" // never reads
			want[gateway.StatusDelivered]++
		case 20:
			to = "12025550101" // is not on WhatsApp
			want[gateway.StatusFailed]++
		case 30:
			to = "12025550103" // is switched off
			want[gateway.StatusSent]++
		default:
			want[gateway.StatusRead]++
		}
		messages[i] = map[string]string{"to": to, "message": fmt.Sprintf("Message %d", i)}
	}
	var bulk struct{ ID string }
	admin.JSON(t, http.MethodPost, "/api/watched/queue/pause", nil, http.StatusOK, nil) // until somebody watches, however long a browser takes
	admin.JSON(t, http.MethodPost, "/api/watched/bulk", map[string]any{"name": "watched", "messages": messages}, http.StatusAccepted, &bulk)
	tab := window(t, adminKey)
	tab.Open("/channels/watched/bulk/" + bulk.ID)
	testkit.Eventually(t, patience, func() (bool, string) {
		now := figures(tab)
		return now["left"] == people, fmt.Sprintf("all wait: %v", now)
	})
	admin.JSON(t, http.MethodPost, "/api/watched/queue/resume", nil, http.StatusOK, nil)

	looks, seen := 0, map[string]int{}
	sum := func(f map[string]int) int {
		return f["left"] + f["sent"] + f["delivered"] + f["read"] + f["failed"] + f["expired"] + f["unknown"] + f["canceled"]
	}
	testkit.Eventually(t, watching, func() (bool, string) {
		now := figures(tab)
		if sum(now) != people || now["ended"] != people-now["left"] {
			t.Errorf("the figures do not add up to %d: %v", people, now)
		}
		if now["ended"] < seen["ended"] || now["read"] < seen["read"] {
			t.Errorf("the figures went back: %v after %v", now, seen)
		}
		if !maps.Equal(now, seen) {
			looks++
		}
		seen = now
		return now["read"] == want[gateway.StatusRead] && now["delivered"] == want[gateway.StatusDelivered] &&
			now["sent"] == want[gateway.StatusSent] && now["failed"] == want[gateway.StatusFailed] && state(tab, "#progress") == "finished", fmt.Sprint(now)
	})
	if looks < 3 {
		t.Errorf("the page changed %d times while %d messages were sent", looks, people)
	}
	db, err := store.Open(t.Context(), shared.sql, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	counts := stored(t, db, "watched", bulk.ID)
	if !maps.Equal(counts, want) {
		t.Errorf("SQL has %v, want %v", counts, want)
	}
	for name, status := range map[string]gateway.Status{
		"sent": gateway.StatusSent, "delivered": gateway.StatusDelivered, "read": gateway.StatusRead, "failed": gateway.StatusFailed,
		"expired": gateway.StatusExpired, "unknown": gateway.StatusUnknown, "canceled": gateway.StatusCanceled,
	} {
		if seen[name] != counts[status] {
			t.Errorf("the page shows %d %s, SQL has %d", seen[name], name, counts[status])
		}
	}
	for _, c := range tab.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}

	// The charts say the same.
	tab.Open("/channels/watched?span=hour")
	sent := counts[gateway.StatusSent] + counts[gateway.StatusDelivered] + counts[gateway.StatusRead]
	tab.UntilText("main", fmt.Sprintf("%d messages were accepted and %d were sent", people, sent))
	tab.UntilText("main", fmt.Sprintf("Of %d sent messages %d were delivered and %d read. %d failed", sent,
		sent-counts[gateway.StatusSent], counts[gateway.StatusRead], counts[gateway.StatusFailed]))
}

// stored counts a bulk's messages in SQL.
func stored(t *testing.T, db *store.Store, tenant, bulk string) gateway.BulkCounts {
	t.Helper()
	found, err := db.Tenant(context.WithoutCancel(t.Context()), tenant)
	if err != nil {
		t.Fatal(err)
	}
	counts, err := db.BulkCounts(t.Context(), found.Key, []string{bulk})
	if err != nil {
		t.Fatal(err)
	}
	return counts[bulk]
}

// TestPairingWithTheKeyboardAlone pairs by the 8-character code on a small screen, without a pointer.
func TestPairingWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	channel(t, "keyboard", "")
	tab := window(t, adminKey)
	tab.Size(360, 780)
	tab.Open("/channels/keyboard/pair")
	tab.UntilText("#state", "unpaired")
	reach := func(id string) {
		t.Helper()
		for range 60 {
			var focus string
			if tab.Eval(`document.activeElement.id`, &focus); focus == id {
				return
			}
			tab.Press("\t")
		}
		t.Fatalf("#%s is not reached with the tab key", id)
	}
	reach("phone")
	tab.Press("12")
	tab.Press("\r")
	tab.UntilText(".field-problem", "country code") // beside the field, which says so
	var described bool
	if tab.Eval(`(() => { const f = document.querySelector('#phone'); return f.getAttribute('aria-invalid') === 'true' && document.getElementById(f.getAttribute('aria-describedby')) !== null; })()`, &described); !described {
		t.Error("the field does not say what is wrong with it")
	}
	tab.Eval(`document.querySelector('#phone').select()`, nil)
	reach("phone")
	tab.Press("+1 555 010 2003")
	tab.Press("\r")
	tab.Until("a code of 8 characters", `/^[A-Z0-9]{4}-[A-Z0-9]{4}$/.test(document.querySelector('#pairing-code')?.innerText ?? '')`)
	tab.UntilText("#state", "enter the code")
	tab.Eval(`document.querySelector('#scan-number').value = '15550102003'`, nil)
	reach("do-scan")
	tab.Press("\r")
	tab.Until("the phone is paired", `document.querySelector('#state .state')?.innerText === 'online'`)

	// Unlinking asks first, in a dialog that has the focus and gives it back.
	reach("unlink")
	tab.Press("\r")
	tab.Until("a question", `document.querySelector('dialog')?.open && document.querySelector('dialog').contains(document.activeElement)`)
	tab.Press("\r") // leave it
	tab.Until("the focus is back", `!document.querySelector('dialog') && document.activeElement.id === 'unlink'`)
	tab.Press("\r")
	tab.Until("a question", `document.querySelector('dialog')?.open`)
	tab.Press("\t")
	tab.Press("\r")
	tab.Until("the phone is gone", `document.querySelector('#state .state')?.innerText === 'unpaired'`)
}

// TestPairingIsBegunAnewWithOneClick: one click makes another code, also of the other kind.
func TestPairingIsBegunAnewWithOneClick(t *testing.T) {
	t.Parallel()
	channel(t, "anew", "")
	tab := window(t, adminKey)
	tab.Open("/channels/anew/pair")
	code := func() (code string) {
		t.Helper()
		tab.Until("a QR code", `document.querySelector('#pairing').dataset.shows === 'qr' && document.querySelector('#qr').dataset.code`)
		tab.Eval(`document.querySelector('#qr').dataset.code`, &code)
		return code
	}
	tab.Click("#start-qr")
	first := code()
	tab.Fill("#phone", "+1 555 010 2004")
	tab.Click("#start-code")
	tab.Until("8 characters instead", `document.querySelector('#pairing').dataset.shows === 'code' && !document.querySelector('#qr').checkVisibility()`)
	tab.Click("#start-qr")
	if second := code(); second == first {
		t.Error("the QR code that is void by now is shown again")
	}
}

// TestMessagesAreFoundCanceledAndSentAgain: filters are in the address, an error comes with its remedy.
func TestMessagesAreFoundCanceledAndSentAgain(t *testing.T) {
	t.Parallel()
	channel(t, "messages", "15550102005")
	_, admin := site(t)
	failed := admin.Send(t, "messages", "12025550101", "to nobody").ID
	admin.AwaitStatus(t, "messages", failed, "failed")
	for i := range 60 {
		admin.Send(t, "messages", fmt.Sprintf("9198765620%02d", i), fmt.Sprintf("text %d", i))
	}
	tab := window(t, adminKey)
	tab.Open("/channels/messages/messages")
	tab.UntilText("#messages", "text 59")
	tab.Click("a[rel=next]")
	tab.UntilText("#messages", "to nobody")
	tab.Click(".pager a")
	tab.UntilText("#messages", "text 59")
	tab.Select("#status", "failed")
	tab.Click("form[role=search] button")
	tab.Until("the filter is in the address", `new URLSearchParams(location.search).get('status') === 'failed'`)
	tab.UntilText("#messages", "not on whatsapp")
	tab.Click("#messages tbody a")
	tab.UntilPath("/channels/messages/messages/" + failed)
	tab.UntilText("main", "What to do: correct the number")
	tab.Click("#retry")
	tab.Until("the new message", `location.pathname.startsWith('/channels/messages/messages/') && !location.pathname.endsWith('`+failed+`')`)
	tab.UntilText("dl.facts", failed)

	// One that waits is canceled, after a question.
	admin.JSON(t, http.MethodPost, "/api/messages/queue/pause", nil, http.StatusOK, nil)
	waiting := admin.Send(t, "messages", "919876562999", "never").ID
	tab.Open("/channels/messages/messages/" + waiting)
	tab.Click("#cancel")
	tab.Click("dialog button[value=no]")
	tab.Until("no question any more", `!document.querySelector('dialog')`)
	tab.Click("#cancel")
	yes(tab)
	tab.Until("it is canceled", `document.querySelector('#message .state')?.innerText === 'canceled'`)
	tab.Open("/channels/messages")
	tab.UntilText("#now", "Sending is paused")
	tab.Click("#do-resume")
	tab.Until("sending goes on", `document.querySelector('#now .state')?.innerText === 'online'`)
}

// TestMessagesAreFilteredByTheReadersClock: times are chosen and shown in the browser's time zone, the address has UTC, as the page has without scripts.
func TestMessagesAreFilteredByTheReadersClock(t *testing.T) {
	t.Parallel()
	channel(t, "clocks", "")
	base, admin := site(t)
	var sent struct {
		ID        string
		CreatedAt time.Time
	}
	admin.JSON(t, http.MethodGet, "/api/clocks/messages/"+admin.Send(t, "clocks", "919876563001", "at some time").ID, nil, http.StatusOK, &sent)
	tab := window(t, adminKey)
	tab.TimeZone("Asia/Kolkata") // five and a half hours ahead, all year
	kolkata := time.FixedZone("", 330*60)
	const form = "2006-01-02T15:04"
	tab.Open("/channels/clocks/messages")
	filter := func(from, until time.Duration) {
		t.Helper()
		since, till := sent.CreatedAt.Add(from), sent.CreatedAt.Add(until)
		tab.UntilText("label[for=from]", "your time zone")
		tab.Eval(fmt.Sprintf(`document.querySelector('#from').value = %q; document.querySelector('#until').value = %q`,
			since.In(kolkata).Format(form), till.In(kolkata).Format(form)), nil)
		tab.Click("form[role=search] button")
		tab.Until("the address has UTC", fmt.Sprintf(`(() => { const q = new URLSearchParams(location.search); return document.readyState === 'complete' && q.get('from') === %q && q.get('until') === %q })()`,
			since.UTC().Format(form), till.UTC().Format(form)))
		tab.Until("the fields have what was chosen", fmt.Sprintf(`document.querySelector('#from').value === %q && document.querySelector('#until').value === %q`,
			since.In(kolkata).Format(form), till.In(kolkata).Format(form)))
	}
	filter(-time.Hour, time.Hour)
	tab.UntilText("#messages", "at some time")
	filter(time.Hour, 2*time.Hour)
	tab.UntilText("#list", "No message is like that")

	// Without scripts.
	var plain string
	tab.Eval(fmt.Sprintf(`fetch(%q).then((answer) => answer.text())`, base+"/channels/clocks/messages?from=2026-03-01T12:00"), &plain)
	if !strings.Contains(plain, `Accepted from (<span data-zone>UTC</span>)`) || !strings.Contains(plain, `value="2026-03-01T12:00"`) {
		t.Errorf("the page is %s", plain)
	}
}

// TestOptOutsKeysAndPhones walks through the pages that are left.
func TestOptOutsKeysAndPhones(t *testing.T) {
	t.Parallel()
	channel(t, "rest", "15550102006")
	base, admin := site(t)
	tab := window(t, adminKey)

	tab.Open("/channels/rest/opt-outs")
	tab.Fill("#recipient", "+91 98765 63001")
	tab.Click("#add button")
	tab.UntilText("#opt-outs", "+919876563001")
	file := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(file, []byte("to\n919876563002\nnobody\n919876563001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tab.Upload("#csv", file)
	tab.Click("#add-many button")
	tab.UntilText("#notice", "1 added, 1 were on the list already. 1 rows are no recipient")
	tab.Click("form[action$='/919876563001'] button")
	tab.Until("off the list", `!document.querySelector('#opt-outs').innerText.includes('63001') && document.querySelector('#opt-outs').innerText.includes('63002')`)

	// A key is shown once; it works; revoked, it does not.
	tab.Open("/channels/rest/keys")
	tab.Fill("#key-name", "web shop")
	tab.Click("input[name=scopes][value=send]")
	tab.Click("#create-key button")
	tab.Until("the key", `/^wah_/.test(document.querySelector('#new-key-secret').innerText)`)
	secret := tab.Text("#new-key-secret")
	tab.UntilText("#keys", "web shop")
	mine := testkit.NewClient(secret, base)
	id := mine.Send(t, "rest", "919876563003", "with the new key").ID
	admin.AwaitStatus(t, "rest", id, "read")
	if status, _, _ := mine.Do(t, http.MethodGet, "/api/rest/messages", nil); status != http.StatusForbidden {
		t.Errorf("a key that may only send lists messages: %d", status)
	}
	tab.Open("/channels/rest/keys")
	if text := tab.Text("main"); strings.Contains(text, secret) {
		t.Error("the key is shown a second time")
	}

	// Replaced, both work; revoked, it does not.
	tab.Click("#keys form[action$='/rotate'] button")
	yes(tab)
	tab.Until("the new key", `/^wah_/.test(document.querySelector('#new-key-secret').innerText)`)
	tab.UntilText("#keys", "ends")
	for _, key := range []string{secret, tab.Text("#new-key-secret")} {
		testkit.NewClient(key, base).Send(t, "rest", "919876563003", "while both work")
	}
	tab.Click("#keys button.danger")
	yes(tab)
	tab.UntilText("#notice", "Revoked")
	if status, _, _ := mine.Do(t, http.MethodPost, "/api/rest/message", map[string]string{"to": "919876563003", "message": "x"}); status != http.StatusUnauthorized {
		t.Errorf("the revoked key is answered %d", status)
	}

	// What the phone shows, and an answer from it.
	tab.Open("/phones?number=919876563003")
	tab.UntilText("#chat", "with the new key")
	tab.UntilText("main", "12025550104")
	tab.Fill("#answer-text", "Thanks!")
	tab.Click("#answer button")
	tab.UntilText("#notice", "Sent from the phone")
	tab.Open("/workers")
	tab.Until("a worker", `document.querySelectorAll('#workers tbody tr').length === 1`)
	for _, c := range tab.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

// TestATenantsKeyOpensItsOwnPagesAlone asks for every page of another's channel, with a key of one's own (I7).
func TestATenantsKeyOpensItsOwnPagesAlone(t *testing.T) {
	t.Parallel()
	channel(t, "own", "")
	channel(t, "others", "")
	_, admin := site(t)
	message := admin.Send(t, "others", "919876564001", "a secret").ID
	var key struct{ Key string }
	admin.JSON(t, http.MethodPost, "/admin/tenants/own/keys", map[string]string{}, http.StatusCreated, &key)
	tab := window(t, key.Key)
	pages := []string{"", "/pair", "/messages", "/messages/" + message, "/bulk", "/bulk/new", "/bulk/" + message, "/settings", "/opt-outs", "/keys"}
	for _, of := range []string{"others", "nobody"} {
		for _, page := range append(pages, "?span=week") {
			var got struct {
				Status int
				Text   string
			}
			tab.Eval(`fetch('/channels/`+of+page+`', {headers: {Accept: 'text/html'}}).then(async (r) => ({status: r.status, text: await r.text()}))`, &got)
			if got.Status != http.StatusForbidden || strings.Contains(got.Text, "a secret") {
				t.Errorf("/channels/%s%s is answered %d", of, page, got.Status)
			}
		}
	}
	for _, page := range []string{"/workers", "/phones"} {
		var status int
		if tab.Eval(`fetch('`+page+`', {headers: {Accept: 'text/html'}}).then((r) => r.status)`, &status); status != http.StatusForbidden {
			t.Errorf("%s is answered %d", page, status)
		}
	}
	tab.Complaints()
	for _, page := range pages {
		if strings.Contains(page, message) {
			continue
		}
		tab.Open("/channels/own" + page)
		if text := tab.Text("h1"); text == "" || strings.Contains(text, "Forbidden") {
			t.Errorf("/channels/own%s shows %q", page, text)
		}
	}
	for _, c := range tab.Complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}
