package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

type listBody struct {
	Data       []messageBody
	NextCursor *string
}

func ids(list listBody) []string {
	out := make([]string, len(list.Data))
	for i, m := range list.Data {
		out[i] = m.ID
	}
	return out
}

func TestMessageShowsEveryField(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	m := h.text("919876543210", "Hello")
	got := h.do(request{path: "/api/algo/messages/" + m.ID}).want(http.StatusOK)
	var fields map[string]any
	must(t, json.Unmarshal(got.body, &fields))
	for _, name := range strings.Fields(`id tenantId to recipientJid type message media status phase priority reference whatsappId attempts
		nextAttemptAt error bulkId retryOf createdAt sendAt expiresAt sentAt deliveredAt readAt failedAt updatedAt queue`) {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s is missing", name)
		}
		delete(fields, name)
	}
	if len(fields) != 0 {
		t.Errorf("not in the contract: %v", fields)
	}
	h.do(request{path: "/api/algo/messages/nothing"}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: "/api/algo/messages/" + m.ID + "?wiat=3s"}).refused(422, gateway.CodeInvalidParameter, "")
}

func TestListWalksEveryPageOnceNewestFirst(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	var sent []string
	for i := range 7 {
		sent = append(sent, h.text("919876543210", fmt.Sprint(i)).ID)
	}
	slices.Reverse(sent)
	var walked []string
	path, pages := "/api/algo/messages?limit=3", 0
	for {
		list := decode[listBody](h.do(request{path: path}).want(http.StatusOK))
		walked = append(walked, ids(list)...)
		pages++
		if list.NextCursor == nil {
			break
		}
		h.text("919876543210", "newer than the walk")
		path = "/api/algo/messages?limit=3&cursor=" + url.QueryEscape(*list.NextCursor)
	}
	if !slices.Equal(walked, sent) || pages != 3 {
		t.Errorf("walked %v in %d pages, want %v", walked, pages, sent)
	}
	if list := decode[listBody](h.do(request{path: "/api/algo/messages?limit=100"}).want(http.StatusOK)); list.NextCursor != nil {
		t.Error("the last page has a cursor")
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	start := time.Now().UTC().Add(-time.Second).Format(time.RFC3339)
	plain := h.text("919876543210", "plain").ID
	tagged := decode[messageBody](h.do(request{path: "/api/algo/message", body: `{"to":"+91 98765 43211","message":"x","reference":"a b&c"}`}).want(http.StatusAccepted)).ID
	group := h.text("120363025246125486@g.us", "x").ID
	image := decode[messageBody](h.do(request{path: "/api/algo/media", body: `{"to":"919876543210","media":{"mimetype":"image/png","data":"` + png + `"}}`}).want(http.StatusAccepted)).ID
	h.do(request{method: http.MethodPost, path: "/api/algo/messages/" + image + "/cancel"}).want(http.StatusOK)
	for query, want := range map[string][]string{
		"":                                  {image, group, tagged, plain},
		"status=queued":                     {group, tagged, plain},
		"status=canceled":                   {image},
		"type=image":                        {image},
		"to=919876543211":                   {tagged},
		"to=%2B91+98765-43211":              {tagged},
		"to=120363025246125486@g.us":        {group},
		"reference=a+b%26c":                 {tagged},
		"bulkId=none":                       {},
		"from=" + start:                     {image, group, tagged, plain},
		"until=" + start:                    {},
		"from=2001-01-01T00:00:00Z&limit=1": {image},
		"status=queued&type=text&to=919876543210": {plain},
	} {
		t.Run(query, func(t *testing.T) {
			h := h.in(t)
			if got := ids(decode[listBody](h.do(request{path: "/api/algo/messages?" + query}).want(http.StatusOK))); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	for _, query := range []string{
		"status=done", "type=fax", "limit=0", "limit=201", "limit=many", "cursor=xyz", "cursor=!!", "from=yesterday", "until=2001", "stauts=queued",
	} {
		h.do(request{path: "/api/algo/messages?" + query}).refused(422, gateway.CodeInvalidParameter, "")
	}
}

func TestStatusesOfManyMessages(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	one, two := h.text("919876543210", "one").ID, h.text("919876543210", "two").ID
	h.do(request{method: http.MethodPost, path: "/api/algo/messages/" + one + "/cancel"}).want(http.StatusOK)
	type statuses struct {
		Data    []struct{ ID, Status string }
		Missing []string
	}
	got := decode[statuses](h.do(request{path: "/api/algo/messages/status", body: `{"ids":["` + two + `","none","` + one + `","` + two + `"]}`}).want(http.StatusOK))
	if len(got.Data) != 2 || got.Data[0].ID != two || got.Data[1].ID != one || got.Data[1].Status != "canceled" || !slices.Equal(got.Missing, []string{"none"}) {
		t.Errorf("got %+v", got)
	}
	many := `{"ids":["` + strings.Repeat(`x","`, 999) + `x"]}`
	h.do(request{path: "/api/algo/messages/status", body: many}).want(http.StatusOK)
	for body, pointer := range map[string]string{
		`{"ids":["` + strings.Repeat(`x","`, 1000) + `x"]}`: "/ids",
		`{"ids":[]}`:   "/ids",
		`{}`:           "/ids",
		`{"ids":[1]}`:  "/ids/0",
		`{"ids":"x"}`:  "/ids",
		`{"ids":["x"}`: "/ids",
	} {
		h.do(request{path: "/api/algo/messages/status", body: body}).refused(422, gateway.CodeInvalidBody, pointer)
	}
}

func TestCancelAndRetry(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	post := func(path, body string) response {
		t.Helper()
		return h.do(request{method: http.MethodPost, path: path, body: body})
	}
	claimed := h.text("919876543210", "claimed")
	h.sent(fence, claimed.ID)
	at := "/api/algo/messages/" + claimed.ID
	post(at+"/cancel", "").refused(http.StatusConflict, gateway.CodeNotCancelable, "")
	post(at+"/retry", "").refused(http.StatusConflict, gateway.CodeNotRetryable, "")

	waiting := h.text("919876543210", "waiting")
	at = "/api/algo/messages/" + waiting.ID
	for range 2 {
		if m := decode[messageBody](post(at+"/cancel", "{}").want(http.StatusOK)); m.Status != "canceled" {
			t.Errorf("canceled: %+v", m)
		}
	}
	post(at+"/cancel", `{"why":"x"}`).refused(422, gateway.CodeUnknownField, "/why")
	post(at+"/retry", `{"force":"yes"}`).refused(422, gateway.CodeInvalidBody, "/force")
	post(at+"/retry", `{"hurry":true}`).refused(422, gateway.CodeUnknownField, "/hurry")
	got := post(at+"/retry", `{"force":true}`).want(http.StatusAccepted)
	again := decode[messageBody](got)
	if again.RetryOf == nil || *again.RetryOf != waiting.ID || again.ID == waiting.ID || again.WhatsappID == waiting.WhatsappID ||
		*again.Message != "waiting" || got.header.Get("Location") != "/api/algo/messages/"+again.ID {
		t.Errorf("retry: %s", got.body)
	}
	post("/api/algo/messages/none/cancel", "").refused(http.StatusNotFound, gateway.CodeNotFound, "")
	post("/api/algo/messages/none/retry", "").refused(http.StatusNotFound, gateway.CodeNotFound, "")
}

func TestEventsTellTheWholeWay(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	m := h.text("919876543210", "Hello")
	h.sent(fence, m.ID)
	h.confirmed(h.algo.Key, m.ID, gateway.ReceiptRead)
	events := decode[struct{ Data []struct{ Status string } }](h.do(request{path: "/api/algo/messages/" + m.ID + "/events"}).want(http.StatusOK))
	var way []string
	for _, e := range events.Data {
		way = append(way, e.Status)
	}
	if got := strings.Join(way, " "); !strings.HasPrefix(got, "queued sending sent") || !strings.HasSuffix(got, "read") {
		t.Errorf("events: %s", got)
	}
	h.do(request{path: "/api/algo/messages/none/events"}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
}

func TestWaitAnswersWhenTheMessageHasComeThatFar(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	m := h.text("919876543210", "Hello")
	at := "/api/algo/messages/" + m.ID
	answers := make(chan response, 3)
	var group sync.WaitGroup
	for _, query := range []string{"?wait=30s", "?wait=30&until=delivered", "?wait=20s&until=read"} {
		group.Go(func() {
			got, err := h.send(t.Context(), request{path: at + query})
			if err != nil {
				t.Error(err)
				return
			}
			answers <- got
		})
	}
	eventually(t, "the poller asks for one id", func() bool {
		h.fault.mu.Lock()
		defer h.fault.mu.Unlock()
		return h.fault.statuses > 3 && h.fault.ids == 1
	})
	h.sent(fence, m.ID)
	if got := decode[messageBody](h.do(request{path: at + "?wait=30s&until=sent"}).want(http.StatusOK)); got.Status != "sent" {
		t.Errorf("until sent: %s", got.Status)
	}
	select {
	case got := <-answers:
		t.Errorf("a wait ended early: %s", got.body)
	default:
	}
	h.confirmed(h.algo.Key, m.ID, gateway.ReceiptDelivered)
	for range 2 {
		if got := decode[messageBody]((<-answers).want(http.StatusOK)); got.Status != "delivered" {
			t.Errorf("until delivered: %s", got.Status)
		}
	}
	h.confirmed(h.algo.Key, m.ID, gateway.ReceiptRead)
	if got := decode[messageBody]((<-answers).want(http.StatusOK)); got.Status != "read" {
		t.Errorf("until read: %s", got.Status)
	}
	group.Wait()
	if got := decode[messageBody](h.do(request{path: at + "?wait=60s&until=sent"}).want(http.StatusOK)); got.Status != "read" {
		t.Errorf("what is further than asked answers at once: %s", got.Status)
	}
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	m := h.text("919876543210", "Hello")
	at := "/api/algo/messages/" + m.ID
	// With its time.
	if got := decode[messageBody](h.do(request{path: at + "?wait=30ms"}).want(http.StatusOK)); got.Status != "queued" {
		t.Errorf("status %s", got.Status)
	}
	h.do(request{path: at + "?wait=0"}).want(http.StatusOK)
	// With a message that will not get there.
	ended := make(chan response, 1)
	go func() {
		got, err := h.send(t.Context(), request{path: at + "?wait=60s&until=read"})
		if err != nil {
			t.Error(err)
		}
		ended <- got
	}()
	eventually(t, "somebody waits", func() bool {
		h.fault.mu.Lock()
		defer h.fault.mu.Unlock()
		return h.fault.ids == 1
	})
	h.do(request{method: http.MethodPost, path: at + "/cancel"}).want(http.StatusOK)
	if got := decode[messageBody]((<-ended).want(http.StatusOK)); got.Status != "canceled" {
		t.Errorf("status %s", got.Status)
	}
	for _, query := range []string{"?wait=61s", "?wait=61", "?wait=-1s", "?wait=soon", "?wait=1s&until=failed", "?until=nothing", "?wait=1s&wait=2s"} {
		h.do(request{path: at + query}).refused(422, gateway.CodeInvalidParameter, "")
	}
}

func TestTooManyWaitersAreRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.MaxWaiters = 1 })
	at := "/api/algo/messages/" + h.text("919876543210", "Hello").ID
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = h.send(ctx, request{path: at + "?wait=60s"}) // canceled below
	}()
	eventually(t, "one waits", func() bool {
		h.fault.mu.Lock()
		defer h.fault.mu.Unlock()
		return h.fault.ids == 1
	})
	h.do(request{path: at + "?wait=1s"}).refused(http.StatusServiceUnavailable, gateway.CodeTooManyWaiters, "")
	h.do(request{path: at}).want(http.StatusOK)
	cancel()
	<-gone
	eventually(t, "there is room again", func() bool {
		return h.do(request{path: at + "?wait=1ms"}).status == http.StatusOK
	})
}

// Stopping does not wait for what callers wait for.
func TestStopAnswersWhoWaits(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options = httpapi.Options{PollInterval: 5 * time.Millisecond} })
	at := "/api/algo/messages/" + h.text("919876543210", "Hello").ID
	answer := make(chan response, 1)
	go func() {
		got, err := h.send(t.Context(), request{path: at + "?wait=60s"})
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	eventually(t, "somebody waits", func() bool {
		h.fault.mu.Lock()
		defer h.fault.mu.Unlock()
		return h.fault.ids == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, h.server.Stop(ctx))
	(<-answer).want(http.StatusOK)
}
