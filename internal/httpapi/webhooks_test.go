package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/testkit/services"
)

const hooks = "/api/algo/webhooks"

func TestWebhookIsCreatedChangedAndDeleted(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	_, foreign := h.tenant("beta")
	created := h.do(request{path: hooks, body: `{"url":"https://example.com/hub","events":["message.*"]}`, header: map[string]string{"Idempotency-Key": "1"}}).
		want(http.StatusCreated)
	var made spec.CreatedWebhook
	created.decode(&made)
	if made.Secret == nil || !strings.HasPrefix(*made.Secret, "whsec_") || made.Status != spec.Enabled || created.header.Get("Location") != hooks+"/"+made.Id {
		t.Fatalf("created %+v at %s", made, created.header.Get("Location"))
	}
	secret := *made.Secret
	var again spec.CreatedWebhook
	h.do(request{path: hooks, body: `{"url":"https://example.com/hub","events":["message.*"]}`, header: map[string]string{"Idempotency-Key": "1"}}).
		want(http.StatusCreated).decode(&again)
	if again.Id != made.Id || again.Secret != nil {
		t.Errorf("replayed as %+v", again)
	}
	var list spec.WebhookList
	h.do(request{path: hooks}).want(http.StatusOK).decode(&list)
	if len(list.Data) != 1 || list.Data[0].Id != made.Id {
		t.Errorf("listed are %+v", list)
	}
	if body := string(h.do(request{path: hooks}).body); strings.Contains(body, secret) {
		t.Error("the list tells the secret")
	}
	one := hooks + "/" + made.Id
	var shown spec.Webhook
	h.do(request{method: http.MethodPatch, path: one, body: `{"enabled":false,"events":["bulk.finished","*","bulk.finished"]}`}).want(http.StatusOK).decode(&shown)
	if shown.Status != spec.Disabled || *shown.Reason != "by_request" || fmt.Sprint(shown.Events) != "[* bulk.finished]" {
		t.Errorf("changed to %+v", shown)
	}
	h.do(request{method: http.MethodPatch, path: one, body: `{"enabled":true}`}).want(http.StatusOK).decode(&shown)
	if shown.Status != spec.Enabled || shown.Reason != nil {
		t.Errorf("enabled as %+v", shown)
	}
	var rotated spec.CreatedWebhook
	own := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	h.do(request{path: one + "/rotate", body: `{"secret":"` + own + `"}`}).want(http.StatusOK).decode(&rotated)
	if *rotated.Secret != own || rotated.OldSecretUntil == nil || time.Until(*rotated.OldSecretUntil) < 23*time.Hour {
		t.Errorf("rotated to %+v", rotated)
	}

	for body, pointer := range map[string]string{
		`{}`:                                         "/url",
		`{"url":"ftp://example.com"}`:                "/url",
		`{"url":"http://127.0.0.1/"}`:                "/url",
		`{"url":"http://169.254.169.254/"}`:          "/url",
		`{"url":"https://e.com","events":[]}`:        "/events",
		`{"url":"https://e.com","events":["read"]}`:  "/events/0",
		`{"url":"https://e.com","secret":"whsec_x"}`: "/secret",
		`{"url":"https://e.com/` + strings.Repeat("x", gateway.MaxWebhookURL) + `"}`: "/url",
	} {
		h.do(request{path: hooks, body: body}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidBody, pointer)
	}
	for _, route := range []string{"", "/rotate", "/test", "/deliveries", "/replay"} {
		method, body := http.MethodPost, "{}"
		if route == "" || route == "/deliveries" {
			method, body = http.MethodGet, ""
		}
		if route == "/replay" {
			body = `{"since":"2026-01-01T00:00:00Z"}`
		}
		h.do(request{method: method, path: "/api/beta/webhooks/" + made.Id + route, key: foreign, body: body}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	}
	for range gateway.MaxWebhooks - 1 {
		h.do(request{path: hooks, body: `{"url":"https://example.com/hub"}`}).want(http.StatusCreated)
	}
	h.do(request{path: hooks, body: `{"url":"https://example.com/hub"}`}).refused(http.StatusConflict, gateway.CodeConflict, "")
	h.do(request{method: http.MethodDelete, path: one}).want(http.StatusNoContent)
	h.do(request{path: one}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
}

func TestEventsArePulledAndReplayed(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const events = "/api/algo/events"
	var page spec.HubEventList
	h.do(request{path: events}).want(http.StatusOK).decode(&page) // from here on they are kept
	if len(page.Data) != 0 || page.NextCursor == "" || page.Gap {
		t.Errorf("before anything has happened: %+v", page)
	}
	begin := page.NextCursor
	h.happens("first")
	h.do(request{path: events + "?types=message.sent,session.*"}).want(http.StatusOK).decode(&page)
	if len(page.Data) != 1 || page.Data[0].Type != "message.sent" || page.Data[0].Data["reference"] != "first" || page.Data[0].TenantId != "algo" {
		t.Fatalf("pulled %+v", page)
	}
	cursor := page.NextCursor
	h.do(request{path: events + "?after=" + cursor}).want(http.StatusOK).decode(&page)
	if len(page.Data) != 0 || page.NextCursor != cursor || page.Gap {
		t.Errorf("behind the last: %+v", page)
	}
	h.do(request{path: events + "?types=message.sent&after=" + begin}).want(http.StatusOK).decode(&page)
	if len(page.Data) != 1 || page.Gap {
		t.Errorf("behind the beginning: %+v", page)
	}
	for _, bad := range []string{"?after=x", "?types=sent", "?limit=0", "?limit=501", "?cursor=x"} {
		h.do(request{path: events + bad}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidParameter, "")
	}

	// As a stream, from there on and from the first.
	for last, want := range map[string]string{"": "second", cursor: "second", "evt_" + strings.Repeat("0", 32): "first"} {
		header := map[string]string{"Accept": "text/event-stream"}
		if last != "" {
			header["Last-Event-ID"] = last
		}
		stream := h.do(request{path: events + "?types=message.sent", header: header, keepRaw: true})
		if want == "second" {
			h.happens("second")
		}
		var id string
		for lines := bufio.NewScanner(stream.raw); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = text
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if !strings.Contains(data, `"reference":"`+want+`"`) || !strings.Contains(data, `"id":"`+id+`"`) {
					t.Errorf("behind %q came %s as %s", last, data, id)
				}
				break
			}
		}
		must(t, stream.raw.Close())
	}

	var hook spec.CreatedWebhook
	h.do(request{path: hooks, body: `{"url":"https://example.com/hub","events":["message.sent"]}`}).want(http.StatusCreated).decode(&hook)
	one := hooks + "/" + hook.Id
	var replayed spec.ReplayAnswer
	h.do(request{path: one + "/replay", body: `{"eventId":"` + cursor + `"}`}).want(http.StatusAccepted).decode(&replayed)
	if replayed.Events != 1 {
		t.Errorf("replayed %+v", replayed)
	}
	h.do(request{path: one + "/replay", body: `{"since":"2020-01-01T00:00:00Z"}`}).want(http.StatusAccepted).decode(&replayed)
	if replayed.Events < 2 {
		t.Errorf("replayed %+v", replayed)
	}
	h.do(request{path: one + "/replay", body: `{}`}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidBody, "")
	h.do(request{path: one + "/replay", body: `{"eventId":"x"}`}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidBody, "/eventId")
	var tested spec.WebhookTest
	h.do(request{path: one + "/test", body: `{}`}).want(http.StatusAccepted).decode(&tested)
	var shown spec.Webhook
	h.do(request{path: one}).want(http.StatusOK).decode(&shown)
	if shown.Waiting != replayed.Events+1 {
		t.Errorf("after %d replays and a test %s waits for %d", replayed.Events, tested.EventId, shown.Waiting)
	}
	var deliveries spec.DeliveryList
	h.do(request{path: one + "/deliveries"}).want(http.StatusOK).decode(&deliveries)
	if len(deliveries.Data) != 0 || deliveries.NextCursor != nil {
		t.Errorf("delivered are %+v", deliveries)
	}
	h.do(request{path: one + "/deliveries?cursor=x"}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidParameter, "")
}

// TestRareEventsAreFoundWithoutReadingTheOthersAgain, pulled and streamed, and whoever comes too late is told that some are gone.
func TestRareEventsAreFoundWithoutReadingTheOthersAgain(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]string{"sqlite": "", "postgres": services.Postgres(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, func(s *settings) { s.database = database })
			const rare = "/api/algo/events?types=bulk.*"
			pull := func(after string) (page spec.HubEventList) {
				t.Helper()
				h.do(request{path: rare + after}).want(http.StatusOK).decode(&page)
				if len(page.Data) != 0 {
					t.Fatalf("pulled %+v", page)
				}
				return page
			}
			place := func(cursor string) int64 {
				t.Helper()
				pos, err := gateway.NoticePos(cursor)
				must(t, err)
				return pos
			}
			start := pull("").NextCursor
			h.happens("first")
			first := pull("&after=" + start)
			if place(first.NextCursor) <= place(start) || first.Gap {
				t.Errorf("after %s it goes on as %+v", start, first)
			}
			queries := h.fault.notices.Load()
			if again := pull("&after=" + first.NextCursor); again.NextCursor != first.NextCursor || h.fault.notices.Load() != queries {
				t.Errorf("with nothing new: %+v after %d queries", again, h.fault.notices.Load()-queries)
			}

			stream := h.do(request{path: rare, header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": first.NextCursor}, keepRaw: true})
			h.happens("second")
			var reached string
			for lines := bufio.NewScanner(stream.raw); place(start) > 0 && lines.Scan(); {
				if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
					if reached = id; place(id) > place(first.NextCursor) {
						break
					}
				}
				if strings.HasPrefix(lines.Text(), "data: ") {
					t.Fatalf("streamed %s", lines.Text())
				}
			}
			must(t, stream.raw.Close())
			if second := pull("&after=" + first.NextCursor); place(reached) <= place(first.NextCursor) || place(reached) > place(second.NextCursor) {
				t.Errorf("the stream came to %q, a pull to %s", reached, second.NextCursor)
			}

			// All of it is removed.
			for removed := 1; removed > 0; {
				var err error
				removed, err = h.store.ForgetEventsOf(t.Context(), h.algo.Key, time.Now().Add(time.Minute), 100)
				must(t, err)
			}
			late := pull("&after=" + first.NextCursor)
			if !late.Gap || pull("&after="+late.NextCursor).Gap || pull("").Gap {
				t.Errorf("too late: %+v", late)
			}
			stream = h.do(request{path: rare, header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": first.NextCursor}, keepRaw: true})
			var told string
			for lines := bufio.NewScanner(stream.raw); lines.Scan(); {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					told = data
					break
				}
				if strings.HasPrefix(lines.Text(), "event: ") && lines.Text() != "event: gap" {
					t.Errorf("streamed %s", lines.Text())
				}
			}
			must(t, stream.raw.Close())
			if !strings.Contains(told, `"after":"evt_`) {
				t.Errorf("the stream begins with %q", told)
			}
		})
	}
}

// TestAReaderAheadOfTheStreamIsTold, as one is when the database was restored: it gets what is kept, by pulling and by streaming.
func TestAReaderAheadOfTheStreamIsTold(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	pull := func(after string) (page spec.HubEventList) {
		t.Helper()
		h.do(request{path: "/api/algo/events?types=message.sent&after=" + after}).want(http.StatusOK).decode(&page)
		return page
	}
	start := pull("").NextCursor
	h.happens("kept")
	kept := pull(start)
	if len(kept.Data) != 1 || kept.Gap {
		t.Fatalf("pulled %+v", kept)
	}
	lost := gateway.NoticeID(time.Now().Add(time.Hour).UnixMicro())
	told := pull(lost)
	if !told.Gap || len(told.Data) != 1 || told.Data[0].Id != kept.Data[0].Id || told.NextCursor != kept.NextCursor {
		t.Errorf("ahead of the stream: %+v, want %+v and a gap", told, kept)
	}
	h.happens("new")
	if next := pull(told.NextCursor); next.Gap || len(next.Data) != 1 {
		t.Errorf("it goes on with %+v", next)
	}

	stream := h.do(request{path: "/api/algo/events?types=message.sent", header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": lost}, keepRaw: true})
	var kinds []string
	for lines := bufio.NewScanner(stream.raw); len(kinds) < 3 && lines.Scan(); {
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kinds = append(kinds, kind)
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && len(kinds) == 1 && !strings.Contains(data, lost[:20]) {
			t.Errorf("the gap is told as %s", data)
		}
	}
	must(t, stream.raw.Close())
	if got := strings.Join(kinds, " "); got != "gap message.sent message.sent" {
		t.Errorf("the stream begins with %s", got)
	}
}

// TestAddressesOfWebhooksAreShownWholeToWhoManagesThem: others see no token in a path or a query, nor before the host.
func TestAddressesOfWebhooksAreShownWholeToWhoManagesThem(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const whole, bare = "https://example.com/hub/hush?token=hush&x=1", "https://example.com/***"
	var made spec.CreatedWebhook
	h.do(request{path: hooks, body: `{"url":"` + whole + `"}`}).want(http.StatusCreated).decode(&made)
	for key, want := range map[string]string{
		h.adminKey: whole, h.key: whole, h.newKey(h.algo, "manage", "read"): whole, h.newKey(h.algo, "read"): bare, h.newKey(h.algo, "read", "send"): bare,
	} {
		var list spec.WebhookList
		var one spec.Webhook
		listed := h.do(request{path: hooks, key: key}).want(http.StatusOK)
		listed.decode(&list)
		got := h.do(request{path: hooks + "/" + made.Id, key: key}).want(http.StatusOK)
		got.decode(&one)
		if len(list.Data) != 1 || list.Data[0].Url != want || one.Url != want || want == bare && strings.Contains(string(listed.body)+string(got.body), "hush") {
			t.Errorf("%s and %s, want %s", listed.body, got.body, want)
		}
	}
}

// happens sends a message and has the events settled, as a worker does.
func (h *hub) happens(reference string) {
	h.t.Helper()
	var m struct{ ID string }
	h.do(request{path: "/api/algo/message", body: `{"to":"919876543210","message":"hello","reference":"` + reference + `"}`}).want(http.StatusAccepted).decode(&m)
	if h.fence == nil {
		f := h.own()[h.algo.Key]
		h.fence = &f
	}
	h.sent(*h.fence, m.ID)
	_, err := h.store.SettleEvents(h.t.Context(), h.algo.Key)
	must(h.t, err)
}

func (r response) decode(v any) {
	r.t.Helper()
	must(r.t, json.Unmarshal(r.body, v))
}
