package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// webhook stores a webhook that wants events.
func (w *world) webhook(tenant gateway.Tenant, id string, events ...string) gateway.Webhook {
	w.t.Helper()
	hook := gateway.Webhook{
		ID: id, TenantKey: tenant.Key, URL: "https://example.com/" + id, Events: events, Secret: []byte("sealed"),
		Status: gateway.WebhookEnabled, Since: w.clock.Now(), CreatedAt: w.clock.Now(),
	}
	must(w.t, w.CreateWebhook(w.t.Context(), hook))
	return hook
}

// next is what can be posted now: kind and message.
func (w *world) next(id string) (list []gateway.Delivery, told []string) {
	w.t.Helper()
	for more := true; more; { // nothing, unless the webhook is Waking
		var err error
		more, err = w.WakeDeliveries(w.t.Context(), id, 1)
		must(w.t, err)
	}
	list, err := w.NextDeliveries(w.t.Context(), id, w.clock.Now(), 100)
	must(w.t, err)
	for _, d := range list {
		told = append(told, fmt.Sprintf("%s %s", d.Notice.Kind, d.Notice.Subject[strings.LastIndexByte(d.Notice.Subject, '-')+1:]))
	}
	return list, told
}

// delivered stores one outcome for all of list.
func (w *world) delivered(turn gateway.WebhookTurn, list []gateway.Delivery, outcome gateway.DeliveryOutcome, next time.Time, failures int) (gateway.Webhook, bool) {
	w.t.Helper()
	var attempts []gateway.DeliveryAttempt
	for _, d := range list {
		attempts = append(attempts, gateway.DeliveryAttempt{
			WebhookID: d.WebhookID, EventID: d.Notice.ID, Pos: d.Notice.Pos, Subject: d.Notice.Subject, Kind: d.Notice.Kind, Attempt: d.Attempts + 1,
			At: w.clock.Now(), Status: 200, Took: 7 * time.Millisecond, Outcome: outcome, NextAt: next,
		})
	}
	hook, held, err := w.RecordDeliveries(w.t.Context(), turn, time.Hour, attempts, func(hook *gateway.Webhook) {
		hook.Failures, hook.RestUntil = failures, time.Time{}
		if failures > 1 {
			hook.RestUntil = w.clock.Now().Add(time.Hour)
		}
	})
	must(w.t, err)
	return hook, held
}

func testWebhooks(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	other := w.newTenant("beta")
	f := w.lease("w1", time.Hour)
	hook := w.webhook(w.tenant, "all", "*")
	w.webhook(w.tenant, "failed", "message.failed", "session.*")
	w.webhook(other, "theirs", "*")
	if list, err := w.Webhooks(ctx, key); err != nil || len(list) != 2 || list[0].URL != hook.URL || string(list[0].Secret) != "sealed" || list[0].Events[0] != "*" {
		t.Fatalf("the webhooks are %+v, %v", list, err)
	}
	_, err := w.Webhook(ctx, other.Key, "all")
	wantCode(t, err, gateway.CodeNotFound)
	for _, m := range w.accept(gateway.PriorityNormal, 2) {
		w.fail(f, m, gateway.CodeTimeout)
	}
	w.settle(key)
	if _, told := w.next("failed"); !slices.Equal(told, []string{"message.failed 000001", "message.failed 000002"}) {
		t.Errorf("what wants failures is told %v", told)
	}
	if _, told := w.next("theirs"); told != nil {
		t.Errorf("another tenant is told %v", told)
	}

	turn := gateway.WebhookTurn{WebhookID: "all", Owner: "w1"}
	taken, err := w.TakeWebhookTurn(ctx, turn, time.Hour)
	must(t, err)
	if taken == nil || taken.ID != "all" {
		t.Fatalf("the turn is %+v", taken)
	}
	if hook, err := w.Webhook(ctx, key, "all"); err != nil || hook.Waiting != 4 {
		t.Errorf("the webhook is %+v, %v", hook, err)
	}
	list, told := w.next("all")
	if !slices.Equal(told, []string{"message.sending 000001", "message.sending 000002"}) {
		t.Fatalf("told of %v first", told)
	}
	// The second message's is refused: its next waits with it, the first's does not.
	w.delivered(turn, list[:1], gateway.DeliveryTaken, time.Time{}, 0)
	w.delivered(turn, list[1:], gateway.DeliveryRetry, w.clock.Now().Add(time.Minute), 1)
	if _, told = w.next("all"); !slices.Equal(told, []string{"message.failed 000001"}) {
		t.Errorf("then of %v", told)
	}
	w.clock.Advance(time.Minute)
	list, told = w.next("all")
	if !slices.Equal(told, []string{"message.failed 000001", "message.sending 000002"}) || list[1].Attempts != 1 {
		t.Errorf("a minute later of %v", told)
	}
	// It recovers: what waits for another attempt is due.
	w.delivered(turn, list[1:], gateway.DeliveryRetry, w.clock.Now().Add(time.Hour), 2)
	if hook, held := w.delivered(turn, list[:1], gateway.DeliveryTaken, time.Time{}, 0); hook.Failures != 0 || !held {
		t.Errorf("the webhook is %+v, held: %t", hook, held)
	}
	list, told = w.next("all")
	if !slices.Equal(told, []string{"message.sending 000002"}) || list[0].Attempts != 2 {
		t.Errorf("when it is back of %v", told)
	}
	w.delivered(turn, list, gateway.DeliveryGivenUp, time.Time{}, 0)
	_, told = w.next("all")
	if !slices.Equal(told, []string{"message.failed 000002"}) {
		t.Errorf("after one was given up of %v", told)
	}
	log, err := w.DeliveryAttempts(ctx, key, "all", 0, 3)
	must(t, err)
	if len(log) != 3 || log[0].Outcome != gateway.DeliveryGivenUp || log[0].EventID != list[0].Notice.ID || log[0].Took != 7*time.Millisecond || log[0].Attempt != 3 {
		t.Errorf("the log is %+v", log)
	}
	if log, err = w.DeliveryAttempts(ctx, key, "all", log[2].ID, 10); err != nil || len(log) != 3-1 {
		t.Errorf("its next page is %+v, %v", log, err)
	}
	_, err = w.DeliveryAttempts(ctx, other.Key, "all", 0, 3)
	wantCode(t, err, gateway.CodeNotFound)

	// One once more, then all since a time.
	n, err := w.Replay(ctx, key, "all", list[0].Notice.Pos, time.Time{})
	must(t, err)
	if _, told = w.next("all"); n != 1 || !slices.Equal(told, []string{"message.sending 000002"}) {
		t.Errorf("%d replayed, told of %v", n, told)
	}
	if n, err = w.Replay(ctx, key, "failed", 0, w.clock.Now().Add(-time.Hour)); err != nil || n != 2 {
		t.Errorf("%d of those wanted replayed, %v", n, err)
	}
	_, err = w.Replay(ctx, key, "failed", 7, time.Time{})
	wantCode(t, err, gateway.CodeNotFound)

	tested, err := w.TestWebhook(ctx, key, "failed", w.clock.Now())
	must(t, err)
	if list, _ = w.next("failed"); len(list) != 3 || list[2].Notice.ID != tested.ID || list[2].Notice.Kind != gateway.EventTest {
		t.Errorf("a test is told as %+v", list)
	}
	_, err = w.TestWebhook(ctx, other.Key, "failed", w.clock.Now())
	wantCode(t, err, gateway.CodeNotFound)

	for i := range gateway.MaxWebhooks - 2 {
		w.webhook(w.tenant, fmt.Sprint("more", i), "*")
	}
	wantCode(t, w.CreateWebhook(ctx, gateway.Webhook{ID: "one too many", TenantKey: key}), gateway.CodeConflict)
	wantCode(t, w.DeleteWebhook(ctx, other.Key, "all"), gateway.CodeNotFound)
	must(t, w.DeleteWebhook(ctx, key, "all"))
	if _, told := w.next("all"); told != nil {
		t.Errorf("what is deleted is told %v", told)
	}
	if _, held := w.delivered(turn, list[:1], gateway.DeliveryTaken, time.Time{}, 0); held {
		t.Error("the turn of what is deleted is held")
	}
	must(t, w.DeleteTenant(ctx, "algo"))
	if list, err := w.Webhooks(ctx, key); err != nil || len(list) != 0 {
		t.Errorf("after the tenant is gone: %+v, %v", list, err)
	}
}

func testWebhookTurns(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	w.webhook(w.tenant, "hook", "*")
	due := func(want ...gateway.DueWebhook) {
		t.Helper()
		if list, err := w.DueWebhooks(ctx, w.clock.Now(), 10); err != nil || !slices.Equal(list, want) {
			t.Errorf("due are %+v, %v", list, err)
		}
	}
	due()
	_, err := w.TestWebhook(ctx, key, "hook", w.clock.Now())
	must(t, err)
	due(gateway.DueWebhook{ID: "hook"})

	mine, theirs := gateway.WebhookTurn{WebhookID: "hook", Owner: "mine"}, gateway.WebhookTurn{WebhookID: "hook", Owner: "theirs"}
	take := func(turn gateway.WebhookTurn, ttl time.Duration, want bool) {
		t.Helper()
		if taken, err := w.TakeWebhookTurn(ctx, turn, ttl); err != nil || (taken != nil) != want {
			t.Errorf("%s took %+v, %v", turn.Owner, taken, err)
		}
	}
	take(mine, time.Hour, true)
	take(theirs, time.Hour, false)
	due()
	must(t, w.EndWebhookTurn(ctx, theirs)) // which is not theirs
	take(theirs, time.Hour, false)
	must(t, w.EndWebhookTurn(ctx, mine))
	take(theirs, -time.Second, true) // runs out at once
	take(mine, time.Hour, true)
	list, _ := w.next("hook")
	if _, held := w.delivered(theirs, list, gateway.DeliveryTaken, time.Time{}, 0); held {
		t.Error("a turn that was lost is held")
	}
	if _, told := w.next("hook"); told != nil {
		t.Errorf("what was taken is told again: %v", told)
	}
	must(t, w.EndWebhookTurn(ctx, mine))

	// One that fails rests; one that is disabled is left alone.
	_, err = w.TestWebhook(ctx, key, "hook", w.clock.Now())
	must(t, err)
	_, err = w.UpdateWebhook(ctx, key, "hook", func(hook *gateway.Webhook) error {
		hook.Failures, hook.RestUntil = 5, w.clock.Now().Add(time.Minute)
		return nil
	})
	must(t, err)
	due()
	w.clock.Advance(time.Minute)
	due(gateway.DueWebhook{ID: "hook", Failing: true})
	_, err = w.UpdateWebhook(ctx, key, "hook", func(hook *gateway.Webhook) error {
		hook.Status, hook.Reason = gateway.WebhookDisabled, gateway.WebhookGone
		return nil
	})
	must(t, err)
	due()
	take(mine, time.Hour, false)
	w.listen(key)
	if hook, err := w.Webhook(ctx, key, "hook"); err != nil || hook.Reason != gateway.WebhookGone || hook.Waiting != 1 {
		t.Errorf("the webhook is %+v, %v", hook, err)
	}
}

func testForgetEvents(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	f := w.lease("w1", time.Hour)
	w.webhook(w.tenant, "hook", "*")
	for _, m := range w.accept(gateway.PriorityNormal, 3) {
		w.fail(f, m, gateway.CodeTimeout)
	}
	old := w.settle(key)
	w.clock.Advance(time.Hour)
	border := w.clock.Now()
	w.fail(f, w.accept(gateway.PriorityNormal, 1)[0], gateway.CodeTimeout)
	fresh := w.settle(key)
	removed, err := w.ForgetEventsOf(ctx, key, border, 4)
	must(t, err)
	again, err := w.ForgetEvents(ctx, border, 1)
	must(t, err)
	if removed != 8 || again != 4 { // events, and as many deliveries
		t.Errorf("removed %d, then %d", removed, again)
	}
	if list := w.settle(key); !slices.Equal(kinds(list), kinds(fresh[len(old):])) {
		t.Errorf("left are %v", kinds(list))
	}
	if _, told := w.next("hook"); len(told) != 1 {
		t.Errorf("to be told are %v", told)
	}

	// The stream ends when nobody listens any more, and begins anew behind its end.
	must(t, w.DeleteWebhook(ctx, key, "hook"))
	must(t, w.PurgeWebhooks(ctx))
	_, err = w.ForgetEvents(ctx, time.Now().Add(time.Hour), 10)
	must(t, err)
	w.fail(f, w.accept(gateway.PriorityNormal, 1)[0], gateway.CodeTimeout)
	if list := w.settle(key); len(list) != 0 {
		t.Errorf("nobody listens, and is told %v", kinds(list))
	}
	w.listen(key)
	w.fail(f, w.accept(gateway.PriorityNormal, 1)[0], gateway.CodeTimeout)
	if list := w.settle(key); len(list) != 2 || list[0].Pos <= fresh[len(fresh)-1].Pos {
		t.Errorf("the new stream is %+v", list)
	}
}
