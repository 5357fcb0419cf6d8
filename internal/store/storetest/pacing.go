package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// sendTo has a message accepted, claimed and sent to a recipient, as a known first contact or not, and returns when.
func (w *world) sendTo(fence gateway.Fence, to, jid string, first bool) time.Time {
	w.t.Helper()
	w.clock.Advance(time.Minute)
	m := w.message(w.tenant, gateway.PriorityNormal)
	m.To = to
	must(w.t, w.Accept(w.t.Context(), []*gateway.Message{m}, nil))
	if w.claim(fence, m) == nil {
		w.t.Fatalf("%s was not claimed", m.ID)
	}
	sent := gateway.Sent{RecipientJID: jid, FirstContact: first}
	after, err := w.Update(w.t.Context(), m.TenantKey, m.ID, &fence, apply(w.clock.Now(), fence.Owner, gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &sent}))
	must(w.t, err)
	return after.SentAt
}

// testFirstContactTimes: who was a stranger is found out later where it was not noted.
func testFirstContactTimes(t *testing.T, open Opener) {
	w := newWorld(t, open)
	fence := w.lease("worker", time.Hour)
	w.sendTo(fence, "4915550000009", "4915550000009@s.whatsapp.net", false)
	w.clock.Advance(25 * time.Hour)
	since := w.clock.Now()

	alice := w.sendTo(fence, "4915550000001", "4915550000001@s.whatsapp.net", false)
	w.sendTo(fence, "4915550000001", "4915550000001@s.whatsapp.net", false)
	w.sendTo(fence, "4915550000009", "4915550000009@s.whatsapp.net", false) // known since yesterday
	w.sendTo(fence, "120363000000000001@g.us", "120363000000000001@g.us", false)
	bob := w.sendTo(fence, "4915550000002", "4915550000002@s.whatsapp.net", true)
	carol := w.sendTo(fence, "4915550000003", "4915550000003@s.whatsapp.net", false)

	for limit, want := range map[int][]time.Time{10: {alice, bob, carol}, 2: {bob, carol}} {
		got, err := w.FirstContactTimes(t.Context(), w.tenant.Key, since, limit)
		must(t, err)
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Errorf("the last %d first contacts were at %v, want %v", limit, got, want)
		}
	}
}

// testReconsider: what is held until later becomes due, in steps; nothing else does.
func testReconsider(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	fence := w.lease("worker", time.Hour)
	other := w.newTenant("other")
	hold := func(m *gateway.Message, kind gateway.OutcomeKind, until time.Duration) {
		t.Helper()
		w.record(w.claim(fence, m), gateway.Outcome{Kind: kind, RetryAt: w.clock.Now().Add(until)})
	}
	strangers := w.accept(gateway.PriorityBulk, 3)
	high, backing, waiting := w.accept(gateway.PriorityHigh, 1)[0], w.accept(gateway.PriorityBulk, 1)[0], w.accept(gateway.PriorityBulk, 1)[0]
	for i, m := range strangers {
		hold(m, gateway.OutcomeHold, time.Duration(10-i)*time.Hour)
	}
	hold(high, gateway.OutcomeHold, time.Hour)
	hold(backing, gateway.OutcomeRetry, time.Hour)
	foreign := newMessage(other, gateway.PriorityBulk, 1, w.clock.Now())
	must(t, w.Accept(ctx, []*gateway.Message{foreign}, nil))

	reconsider := func(limit int, want ...*gateway.Message) {
		t.Helper()
		now := w.clock.Now()
		tickets, err := w.Reconsider(ctx, fence, now, limit, func(m *gateway.Message) bool { return m.Reconsider(now) })
		must(t, err)
		var wanted []gateway.Ticket
		for _, m := range want {
			wanted = append(wanted, ticket(m))
		}
		if !slices.Equal(tickets, wanted) {
			t.Errorf("%d reconsidered: %v, want %v", limit, tickets, wanted)
		}
	}
	reconsider(2, high, strangers[2])
	reconsider(9, strangers[1], strangers[0])
	reconsider(9)
	for _, m := range []*gateway.Message{high, strangers[0]} {
		if got, err := w.Message(ctx, m.TenantKey, m.ID); err != nil || !got.Due(w.clock.Now()) || got.Phase != gateway.PhaseHeld || got.Attempts != 0 {
			t.Errorf("%+v, %v; want it due, and not attempted", got, err)
		}
	}
	for _, m := range []*gateway.Message{backing, waiting} {
		got, err := w.Message(ctx, m.TenantKey, m.ID)
		must(t, err)
		if got.Due(w.clock.Now()) != (m == waiting) {
			t.Errorf("%s was reconsidered: %+v", m.ID, got)
		}
	}
	stale := fence
	stale.Epoch--
	if _, err := w.Reconsider(ctx, stale, w.clock.Now(), 9, nil); !errors.Is(err, gateway.ErrFenced) {
		t.Errorf("reconsidered without the lease: %v", err)
	}
}

// testWaiting: a walk in steps meets whatever waits once, whether it is changed or not, and nothing else.
func testWaiting(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	fence := w.lease("worker", time.Hour)
	backlog := func(want bool) {
		t.Helper()
		if waits, err := w.Backlog(ctx, w.tenant.Key); err != nil || waits != want {
			t.Errorf("a backlog: %t, %v; want %t", waits, err, want)
		}
	}
	backlog(false)
	want := map[string]bool{}
	scheduled := w.message(w.tenant, gateway.PriorityNormal)
	scheduled.Status, scheduled.Phase, scheduled.SendAt = gateway.StatusScheduled, gateway.PhaseSchedule, w.clock.Now().Add(time.Hour)
	must(t, w.Accept(ctx, []*gateway.Message{scheduled}, nil))
	want[scheduled.ID] = true
	backlog(true)
	for _, lane := range gateway.Priorities() {
		list := w.accept(lane, 7)
		for i, o := range []gateway.Outcome{
			{Kind: gateway.OutcomeSent},
			{Kind: gateway.OutcomeRetry, RetryAt: w.clock.Now().Add(time.Hour)},
			{Kind: gateway.OutcomeRetry, RetryAt: w.clock.Now().Add(time.Hour)},
			{Kind: gateway.OutcomeHold, RetryAt: w.clock.Now().Add(2 * time.Hour)},
			{Kind: gateway.OutcomeWait},
		} {
			claimed := w.claim(fence, list[i])
			if i == 4 {
				w.claim(fence, list[5]) // stays in hand
			}
			w.record(claimed, o)
			want[list[i].ID] = o.Kind != gateway.OutcomeSent
		}
		want[list[6].ID] = true
	}
	last, err := w.LastSeq(ctx, w.tenant.Key)
	must(t, err)
	w.accept(gateway.PriorityNormal, 1) // after the walk began

	for _, end := range []bool{false, true} {
		met := map[string]bool{}
		for place := (gateway.WaitingPlace{}); ; {
			changed, next, err := w.UpdateWaiting(ctx, w.tenant.Key, place, last, 2, func(m *gateway.Message) ([]gateway.Event, error) {
				if met[m.ID] || !want[m.ID] {
					t.Errorf("met %s, %s, phase %s; again: %t", m.ID, m.Status, m.Phase, met[m.ID])
				}
				met[m.ID] = true
				if !end {
					return nil, nil
				}
				return m.Purge(w.clock.Now()), nil
			})
			must(t, err)
			if end != (len(changed) > 0) && next != (gateway.WaitingPlace{}) {
				t.Errorf("%d messages are said to be changed", len(changed))
			}
			if place = next; next == (gateway.WaitingPlace{}) {
				break
			}
		}
		for id, waits := range want {
			if waits && !met[id] {
				t.Errorf("%s was not met", id)
			}
		}
	}
}

// testHeldBefore: who is held for a reason and goes before a message, by lane and age; not those who will have expired.
func testHeldBefore(t *testing.T, open Opener) {
	w := newWorld(t, open)
	fence := w.lease("worker", time.Hour)
	begun := w.clock.Now()
	full, other := gateway.Failure{Code: gateway.CodePaced, Message: "The cap is reached."}, gateway.Failure{Code: gateway.CodePaced, Message: "Another."}
	hold := func(lane gateway.Priority, reason gateway.Failure, until time.Duration) *gateway.Message {
		t.Helper()
		m := w.message(w.tenant, lane)
		m.ExpiresAt = begun.Add(10 * time.Hour)
		must(t, w.Accept(t.Context(), []*gateway.Message{m}, nil))
		w.record(w.claim(fence, m), gateway.Outcome{Kind: gateway.OutcomeHold, Failure: reason, RetryAt: begun.Add(until * time.Hour)})
		return m
	}
	first := hold(gateway.PriorityNormal, full, 3)
	hold(gateway.PriorityNormal, full, 1)
	hold(gateway.PriorityNormal, other, 1)
	hold(gateway.PriorityNormal, full, 10) // at its end
	hold(gateway.PriorityBulk, full, 1)
	high := hold(gateway.PriorityHigh, full, 2)
	last := hold(gateway.PriorityNormal, full, 4)
	w.accept(gateway.PriorityNormal, 1)
	b := w.bulk(1)
	tickets, _ := w.releaseBulk(b, 1, 1)
	w.record(w.claimTicket(fence, tickets[0]), gateway.Outcome{Kind: gateway.OutcomeHold, Failure: full, RetryAt: begun.Add(time.Hour)})
	afterBulk := hold(gateway.PriorityBulk, full, 5)
	foreign := w.message(w.newTenant("other"), gateway.PriorityBulk)
	must(t, w.Accept(t.Context(), []*gateway.Message{foreign}, nil))

	for _, c := range []struct {
		m      *gateway.Message
		within time.Duration
		limit  int
		want   int
	}{
		{high, 0, 9, 0}, {first, 0, 9, 1}, {last, 0, 9, 3}, {last, 2, 9, 1}, {last, 3, 9, 2}, {last, 0, 2, 2}, {foreign, 0, 9, 0}, {afterBulk, 0, 9, 6},
	} {
		var within time.Time
		if c.within > 0 {
			within = begun.Add(c.within * time.Hour)
		}
		if n, err := w.HeldBefore(t.Context(), c.m, full, within, c.limit); err != nil || n != c.want {
			t.Errorf("%d before %s of lane %s within %d h, %v; want %d", n, c.m.ID, c.m.Priority, c.within, err, c.want)
		}
	}
	w.change(b, pause) // it goes before nobody, although what is held of it is not looked at again yet
	if n, err := w.HeldBefore(t.Context(), afterBulk, full, time.Time{}, 9); err != nil || n != 5 {
		t.Errorf("%d before one behind a paused bulk, %v; want 5", n, err)
	}
}

// testSpellings: a person is the same in whatever way the tenant writes them, once WhatsApp has said who that is.
func testSpellings(t *testing.T, open Opener) {
	w := newWorld(t, open)
	fence := w.lease("worker", time.Hour)
	// The tenant writes one form of a Brazilian number, WhatsApp the other.
	const to, jid, lid = "5511987654321", "551187654321@s.whatsapp.net", "77@lid"
	begun := w.clock.Now()
	times := []time.Time{w.sendTo(fence, to, jid, true)}
	w.sendTo(fence, "4915550000001", "4915550000001@s.whatsapp.net", true)
	times = append(times, w.sendTo(fence, to+"@s.whatsapp.net", jid, false), w.sendTo(fence, "551187654321", jid, false), w.sendTo(fence, lid, jid, false))

	for _, name := range []string{to, to + "@s.whatsapp.net", "551187654321", jid, lid} {
		known, err := w.KnownContact(t.Context(), w.tenant.Key, name, gateway.UserJID(name))
		if err != nil || !known {
			t.Errorf("%s is known: %t, %v", name, known, err)
		}
		for limit, want := range map[int][]time.Time{9: times, 2: times[2:]} {
			got, err := w.SentTimesTo(t.Context(), w.tenant.Key, name, begun, limit)
			must(t, err)
			if !slices.EqualFunc(got, want, time.Time.Equal) {
				t.Errorf("the last %d to %s were sent at %v, want %v", limit, name, got, want)
			}
		}
		got, err := w.SentTimesTo(t.Context(), w.tenant.Key, name, times[1], 9)
		if must(t, err); len(got) != 2 {
			t.Errorf("%d to %s since the second one", len(got), name)
		}
	}
	waiting := w.message(w.tenant, gateway.PriorityNormal)
	waiting.To = "5511900000000"
	must(t, w.Accept(t.Context(), []*gateway.Message{waiting}, nil))
	other := w.newTenant("other")
	for tenant, name := range map[int64]string{w.tenant.Key: waiting.To, other.Key: to} {
		known, err := w.KnownContact(t.Context(), tenant, name, gateway.UserJID(name))
		must(t, err)
		got, err := w.SentTimesTo(t.Context(), tenant, name, begun, 9)
		if must(t, err); known || len(got) > 0 {
			t.Errorf("%s is known: %t, and was written to at %v", name, known, got)
		}
	}
}
