package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

type settingsBody struct {
	UnknownPolicy string
	DefaultExpiry struct{ High, Normal, Bulk int64 }
}

func TestSettingsAreChangedFieldByField(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const path = "/api/algo/settings"
	is := func(got response, policy string, high, normal, bulk int64) {
		t.Helper()
		s := decode[settingsBody](got.want(http.StatusOK))
		if s.UnknownPolicy != policy || s.DefaultExpiry.High != high || s.DefaultExpiry.Normal != normal || s.DefaultExpiry.Bulk != bulk {
			t.Errorf("got %+v, want %s %d %d %d", s, policy, high, normal, bulk)
		}
	}
	patch := func(body string) response { return h.do(request{method: http.MethodPatch, path: path, body: body}) }
	is(h.do(request{path: path}), "resend", 600, 86400, 86400)
	is(patch(`{"defaultExpiry":{"high":60,"normal":7200}}`), "resend", 60, 7200, 86400)
	is(patch(`{"unknownPolicy":"hold","defaultExpiry":{"bulk":2592000}}`), "hold", 60, 7200, 2592000)
	is(patch(`{}`), "hold", 60, 7200, 2592000)
	is(h.do(request{path: path}), "hold", 60, 7200, 2592000)

	m := h.text("919876543210", "hello")
	stored, err := h.store.Message(t.Context(), h.algo.Key, m.ID)
	must(t, err)
	if left := stored.ExpiresAt.Sub(stored.CreatedAt); left != 2*time.Hour || !stored.HoldUnknown {
		t.Errorf("the message expires after %s, left to the operator: %t", left, stored.HoldUnknown)
	}
	is(patch(`{"unknownPolicy":null,"defaultExpiry":{"normal":null}}`), "resend", 60, 86400, 2592000)
	is(patch(`{"defaultExpiry":null}`), "resend", 600, 86400, 86400)
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for body, want := range map[string]struct {
		status  int
		code    gateway.Code
		pointer string
	}{
		`{"unknownPolicy":"drop"}`:           {422, gateway.CodeInvalidBody, "/unknownPolicy"},
		`{"unknownPolicy":1}`:                {422, gateway.CodeInvalidBody, "/unknownPolicy"},
		`{"defaultExpiry":{"high":0}}`:       {422, gateway.CodeInvalidBody, "/defaultExpiry/high"},
		`{"defaultExpiry":{"normal":1.5}}`:   {422, gateway.CodeInvalidBody, "/defaultExpiry/normal"},
		`{"defaultExpiry":{"bulk":2592001}}`: {422, gateway.CodeInvalidBody, "/defaultExpiry/bulk"},
		`{"defaultExpiry":{"bulk":"60"}}`:    {422, gateway.CodeInvalidBody, "/defaultExpiry/bulk"},
		`{"defaultExpiry":{"low":60}}`:       {422, gateway.CodeUnknownField, "/defaultExpiry/low"},
		`{"defaultExpiry":60}`:               {422, gateway.CodeInvalidBody, "/defaultExpiry"},
		`{"expiry":60}`:                      {422, gateway.CodeUnknownField, "/expiry"},
		`{"retention":{"days":30}}`:          {422, gateway.CodeUnknownField, "/retention/days"},
		`{"retention":{"messagesDays":13}}`:  {422, gateway.CodeInvalidBody, "/retention/messagesDays"},
		`{"retention":{"textDays":20.5}}`:    {422, gateway.CodeInvalidBody, "/retention/textDays"},
		`{"retention":{"eventsDays":3651}}`:  {422, gateway.CodeInvalidBody, "/retention/eventsDays"},
		`{"retention":30}`:                   {422, gateway.CodeInvalidBody, "/retention"},
		``:                                   {422, gateway.CodeInvalidBody, ""},
	} {
		h.do(request{method: http.MethodPatch, path: "/api/algo/settings", body: body}).refused(want.status, want.code, want.pointer)
	}
	if s := decode[settingsBody](h.do(request{path: "/api/algo/settings"})); s.UnknownPolicy != "resend" || s.DefaultExpiry.High != 600 {
		t.Errorf("a refused request changed %+v", s)
	}
}

func TestRetentionIsChangedFieldByField(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for _, step := range []struct{ body, want string }{
		{`{}`, `{"eventsDays":null,"messagesDays":null,"textDays":null}`},
		{`{"retention":{"messagesDays":400,"eventsDays":1}}`, `{"eventsDays":1,"messagesDays":400,"textDays":null}`},
		{`{"retention":{"messagesDays":null,"textDays":14}}`, `{"eventsDays":1,"messagesDays":null,"textDays":14}`},
		{`{"unknownPolicy":"hold"}`, `{"eventsDays":1,"messagesDays":null,"textDays":14}`},
		{`{"retention":null}`, `{"eventsDays":null,"messagesDays":null,"textDays":null}`},
	} {
		got := decode[struct{ Retention json.RawMessage }](h.do(request{method: http.MethodPatch, path: "/api/algo/settings", body: step.body}).want(http.StatusOK))
		if string(got.Retention) != step.want {
			t.Errorf("after %s the retention is %s, want %s", step.body, got.Retention, step.want)
		}
	}
}

type queueBody struct {
	High, Normal, Bulk int
	Paused, Held       bool
}

// TestPausedQueueIsNotClaimed from the moment that the pause is answered.
func TestPausedQueueIsNotClaimed(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	m := h.text("919876543210", "hello")
	claim := func() (*gateway.Message, error) {
		return h.ledger.Claim(t.Context(), fence, gateway.Ticket{TenantKey: h.algo.Key, MessageID: m.ID, Lane: gateway.PriorityNormal}, fence.Owner)
	}
	for range 2 {
		q := decode[queueBody](h.do(request{method: http.MethodPost, path: "/api/algo/queue/pause"}).want(http.StatusOK))
		if !q.Paused || q.Held || q.Normal != 1 {
			t.Errorf("paused: %+v", q)
		}
	}
	if got, err := claim(); got != nil || !errors.Is(err, gateway.ErrQueueClosed) {
		t.Errorf("claimed %+v, %v", got, err)
	}
	commands, err := h.store.TakeCommands(t.Context(), fence.Owner)
	must(t, err)
	if len(commands) != 1 || commands[0].Kind != gateway.CommandQueue {
		t.Errorf("the owner is told %+v", commands)
	}
	for range 2 {
		if q := decode[queueBody](h.do(request{method: http.MethodPost, path: "/api/algo/queue/resume"}).want(http.StatusOK)); q.Paused {
			t.Errorf("resumed: %+v", q)
		}
	}
	if got, err := claim(); got == nil || err != nil {
		t.Errorf("claimed %+v, %v", got, err)
	}
}

// TestPurgeEndsWhatWaits of this tenant only, and says of each message what is known of it.
func TestPurgeEndsWhatWaits(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	attempt := func(o gateway.Outcome) string {
		m := h.text("919876543210", "attempted")
		_, err := h.ledger.Claim(t.Context(), fence, gateway.Ticket{TenantKey: h.algo.Key, MessageID: m.ID, Lane: gateway.PriorityNormal}, fence.Owner)
		must(t, err)
		if o.Kind != "" {
			_, err = h.ledger.Record(t.Context(), fence, m.ID, o)
			must(t, err)
		}
		return m.ID
	}
	later := time.Now().Add(time.Hour)
	ids := map[gateway.Status]string{
		gateway.StatusFailed:  attempt(gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: later}),
		gateway.StatusUnknown: attempt(gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: later, OnWire: true}),
		gateway.StatusSending: attempt(gateway.Outcome{}),
	}
	ids[gateway.StatusCanceled] = h.text("919876543210", "never attempted").ID
	type purge struct {
		Canceled, Failed, Unknown int
		Queue                     queueBody
	}
	got := decode[purge](h.do(request{method: http.MethodPost, path: "/api/algo/queue/purge"}).want(http.StatusOK))
	if got != (purge{Canceled: 1, Failed: 1, Unknown: 1, Queue: queueBody{Normal: 1}}) {
		t.Errorf("purged %+v", got)
	}
	for want, id := range ids {
		m, err := h.store.Message(t.Context(), h.algo.Key, id)
		must(t, err)
		events, err := h.store.Events(t.Context(), h.algo.Key, id)
		must(t, err)
		if m.Status != want || events[len(events)-1].Status != want {
			t.Errorf("want %s, got %+v with history %+v", want, m, events)
		}
	}
	if again := decode[purge](h.do(request{method: http.MethodPost, path: "/api/algo/queue/purge"}).want(http.StatusOK)); again != (purge{Queue: queueBody{Normal: 1}}) {
		t.Errorf("purged again %+v", again)
	}
}

// TestReleaseLetsAHeldBacklogGo, but for what the number before may have delivered.
func TestReleaseLetsAHeldBacklogGo(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	fence := h.own()[h.algo.Key]
	uncertain := h.text("919876543210", "attempted")
	_, err := h.ledger.Claim(t.Context(), fence, gateway.Ticket{TenantKey: h.algo.Key, MessageID: uncertain.ID, Lane: gateway.PriorityNormal}, fence.Owner)
	must(t, err)
	_, err = h.ledger.Record(t.Context(), fence, uncertain.ID, gateway.Outcome{Kind: gateway.OutcomeRetry, OnWire: true, RetryAt: time.Now()})
	must(t, err)
	waiting := h.text("919876543210", "never attempted")
	_, err = h.store.UpdateSession(t.Context(), fence, func(s *gateway.Session) {
		s.State, s.Reason, s.QueueHeld = gateway.SessionOnline, gateway.ReasonConnected, true
	})
	must(t, err)
	type session struct {
		Reason, Hint string
		Queue        queueBody
	}
	if s := decode[session](h.do(request{path: "/api/algo/session"})); s.Reason != "backlog_held" || s.Hint == "" || !s.Queue.Held || s.Queue.Normal != 2 {
		t.Errorf("the session tells %+v", s)
	}
	if got, err := h.ledger.Claim(t.Context(), fence, gateway.Ticket{TenantKey: h.algo.Key, MessageID: waiting.ID, Lane: gateway.PriorityNormal}, fence.Owner); got != nil || !errors.Is(err, gateway.ErrQueueClosed) {
		t.Errorf("claimed %+v, %v", got, err)
	}
	for range 2 {
		if q := decode[queueBody](h.do(request{method: http.MethodPost, path: "/api/algo/queue/release"}).want(http.StatusOK)); q.Held || q.Normal != 1 {
			t.Errorf("released: %+v", q)
		}
	}
	if m, err := h.store.Message(t.Context(), h.algo.Key, uncertain.ID); err != nil || m.Status != gateway.StatusUnknown {
		t.Errorf("what another number may have delivered is %+v, %v", m, err)
	}
	h.sent(fence, waiting.ID)
}
