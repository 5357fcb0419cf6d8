package storetest

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func (w *world) claimTicket(f gateway.Fence, ticket gateway.Ticket) *gateway.Message {
	w.t.Helper()
	claimed, err := w.Claim(w.t.Context(), f, ticket, begin(w.clock.Now(), f.Owner))
	must(w.t, err)
	return claimed
}

func (w *world) record(m *gateway.Message, o gateway.Outcome) gateway.Message {
	w.t.Helper()
	got, err := w.Update(w.t.Context(), m.TenantKey, m.ID, nil, apply(w.clock.Now(), m.InFlight, o))
	must(w.t, err)
	return got
}

func testClaimOldest(t *testing.T, open Opener) {
	w := newWorld(t, open)
	f := w.lease("worker", time.Minute)
	list := w.accept(gateway.PriorityNormal, 4)
	high := w.accept(gateway.PriorityHigh, 1)[0]

	// A ticket of a newer message claims the oldest of its lane.
	got := w.claim(f, list[2])
	if got == nil || got.ID != list[0].ID || got.Status != gateway.StatusSending || got.Phase != gateway.PhaseWorking ||
		got.Attempts != 1 || got.InFlight != "worker" {
		t.Fatalf("claimed %+v", got)
	}
	if read, err := w.Message(t.Context(), w.tenant.Key, got.ID); err != nil || !reflect.DeepEqual(read, *got) {
		t.Fatalf("claimed %+v\nstored %+v, %v", got, read, err)
	}
	if again := w.claim(f, list[0]); again != nil {
		t.Fatalf("claimed %s a second time while it is in hand", again.ID)
	}
	if got := w.claim(f, high); got == nil || got.ID != high.ID {
		t.Fatalf("another lane's ticket claimed %v", got)
	}
	// A ticket never claims what is newer than its own message.
	if got := w.claim(f, list[1]); got == nil || got.ID != list[1].ID {
		t.Fatalf("claimed %v", got)
	}
	if got := w.claim(f, list[1]); got != nil {
		t.Fatalf("claimed %s, newer than the ticket", got.ID)
	}
	// Given back because the session went away: it goes first again.
	w.record(got, gateway.Outcome{Kind: gateway.OutcomeWait})
	if got := w.claim(f, list[3]); got == nil || got.ID != list[0].ID || got.Attempts != 1 {
		t.Fatalf("claimed %+v, want the one that was given back", got)
	}
	// Backing off: others go on, its own ticket claims it when it is due.
	later := w.clock.Now().Add(time.Minute)
	w.record(got, gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: later, Failure: gateway.Failure{Code: gateway.CodeTimeout}})
	if got := w.claim(f, list[0]); got != nil {
		t.Fatalf("claimed %s before its time", got.ID)
	}
	if got := w.claim(f, list[3]); got == nil || got.ID != list[2].ID {
		t.Fatalf("claimed %v", got)
	}
	w.clock.Advance(time.Minute)
	got = w.claim(f, list[0])
	if got == nil || got.ID != list[0].ID || got.Attempts != 2 || !got.NextAttemptAt.IsZero() {
		t.Fatalf("claimed %+v", got)
	}
	// Finished, canceled, unknown: nothing to do.
	w.record(got, gateway.Outcome{Kind: gateway.OutcomeSent})
	_, err := w.Update(t.Context(), w.tenant.Key, list[3].ID, nil,
		func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.clock.Now()) })
	must(t, err)
	for _, m := range []*gateway.Message{list[0], list[3], newMessage(w.tenant, gateway.PriorityNormal, 99, w.clock.Now())} {
		if got := w.claim(f, m); got != nil {
			t.Errorf("claimed %+v", got)
		}
	}
	// An error of apply undoes the claim.
	extra := w.accept(gateway.PriorityBulk, 1)[0]
	refused := errors.New("refused")
	_, err = w.Claim(t.Context(), f, ticket(extra), func(m *gateway.Message) ([]gateway.Event, error) {
		m.Status = gateway.StatusFailed
		return nil, refused
	})
	if !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	if got := w.claim(f, extra); got == nil {
		t.Fatal("the refused claim left its mark")
	}
}

func testClaimRace(t *testing.T, open Opener) {
	w := newWorld(t, open)
	f := w.lease("worker", time.Minute)
	list := w.accept(gateway.PriorityNormal, 20)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		order []int64
	)
	for i := range 100 {
		wg.Go(func() {
			m, err := w.Claim(t.Context(), f, ticket(list[i%20]), begin(w.clock.Now(), "worker"))
			if err != nil {
				t.Error(err)
			}
			if m != nil {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, m.Seq)
			}
		})
	}
	wg.Wait()
	for _, m := range list { // a ticket that came early was used up for an older message; it goes back to the tail
		if left := w.claim(f, m); left != nil {
			order = append(order, left.Seq)
		}
	}
	slices.Sort(order)
	if len(order) != 20 || len(slices.Compact(order)) != 20 {
		t.Fatalf("20 messages were claimed %d times", len(order))
	}
}

func testClaimFenced(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	old := w.lease("old", 0) // runs out at once
	m := w.accept(gateway.PriorityNormal, 1)[0]
	refused := func(*gateway.Message) ([]gateway.Event, error) {
		t.Error("applied without the lease")
		return nil, nil
	}
	if _, err := w.Claim(ctx, old, ticket(m), refused); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("a lease that has run out claims: %v", err)
	}
	f := w.lease("new", time.Minute)
	for _, stale := range []gateway.Fence{
		old, {TenantKey: f.TenantKey, Owner: "new", Epoch: f.Epoch - 1}, {TenantKey: f.TenantKey, Owner: "old", Epoch: f.Epoch},
	} {
		if _, err := w.Claim(ctx, stale, ticket(m), refused); !errors.Is(err, gateway.ErrFenced) {
			t.Errorf("%+v claims: %v", stale, err)
		}
		if _, err := w.Update(ctx, m.TenantKey, m.ID, &stale, refused); !errors.Is(err, gateway.ErrFenced) {
			t.Errorf("%+v updates: %v", stale, err)
		}
		if _, err := w.InFlightElsewhere(ctx, stale, "x", 10); !errors.Is(err, gateway.ErrFenced) {
			t.Errorf("%+v looks for the dead: %v", stale, err)
		}
	}
	if got := w.claim(f, m); got == nil || got.ID != m.ID {
		t.Fatalf("the holder claimed %v", got)
	}
}

func testUpdate(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	m := w.accept(gateway.PriorityNormal, 1)[0]
	now := w.clock.Now()
	event := func(m *gateway.Message, detail string) gateway.Event {
		return gateway.Event{MessageID: m.ID, TenantKey: m.TenantKey, Status: m.Status, At: now, Detail: detail}
	}
	must2 := func(_ gateway.Message, err error) {
		t.Helper()
		must(t, err)
	}
	must2(w.Update(ctx, w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.Attempts = 3
		return []gateway.Event{event(m, "one"), event(m, "two")}, nil
	}))
	_, err := w.Update(ctx, w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.Attempts = 4
		return []gateway.Event{event(m, "never")}, gateway.Errorf(gateway.CodeNotCancelable, "no")
	})
	wantCode(t, err, gateway.CodeNotCancelable)
	must2(w.Update(ctx, w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		return []gateway.Event{event(m, "three")}, nil
	}))
	got, err := w.Message(ctx, w.tenant.Key, m.ID)
	must(t, err)
	if got.Attempts != 3 {
		t.Fatalf("attempts %d", got.Attempts)
	}
	events, err := w.Events(ctx, w.tenant.Key, m.ID)
	must(t, err)
	var details []string
	for _, e := range events {
		details = append(details, e.Detail)
	}
	if !slices.Equal(details, []string{"", "one", "two", "three"}) {
		t.Fatalf("history %q", details)
	}
	_, err = w.Update(ctx, w.tenant.Key, "unknown", nil, nil)
	wantCode(t, err, gateway.CodeNotFound)

	// A known contact is one that was written to before, not one that is waited for.
	known := func(want bool) {
		t.Helper()
		if got, err := w.KnownContact(ctx, w.tenant.Key, "1", "1@s.whatsapp.net"); err != nil || got != want {
			t.Fatalf("known %t, %v", got, err)
		}
	}
	must2(w.Update(ctx, w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.RecipientJID = "1@s.whatsapp.net"
		return nil, nil
	}))
	known(false)
	must2(w.Update(ctx, w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.SentAt = now
		return nil, nil
	}))
	known(true)
}

func testReceive(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", time.Minute)
	group := w.message(w.tenant, gateway.PriorityNormal)
	group.To = "1-2@g.us"
	person := w.message(w.tenant, gateway.PriorityNormal)
	must(t, w.Accept(ctx, []*gateway.Message{group, person}, nil))
	for _, m := range []*gateway.Message{group, person} {
		w.record(w.claim(f, m), gateway.Outcome{Kind: gateway.OutcomeSent})
	}
	receive := func(kind gateway.ReceiptKind, sender, alt string) {
		t.Helper()
		r := gateway.Receipt{
			Kind: kind, Sender: sender, SenderAlt: alt, At: w.clock.Now(),
			StanzaIDs: []string{"unknown", group.WhatsAppID, person.WhatsAppID},
		}
		must(t, w.Receive(ctx, w.tenant.Key, r,
			func(m *gateway.Message, had gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
				has, events := m.Receive(w.clock.Now(), r, had)
				return has, events, nil
			}))
	}
	want := func(id string, status gateway.Status, delivered, read int) {
		t.Helper()
		m, err := w.Message(ctx, w.tenant.Key, id)
		must(t, err)
		if m.Status != status || m.DeliveredCount != delivered || m.ReadCount != read {
			t.Fatalf("%s: %s, delivered %d, read %d", id, m.Status, m.DeliveredCount, m.ReadCount)
		}
	}
	receive(gateway.ReceiptDelivered, "a@lid", "1@s.whatsapp.net")
	receive(gateway.ReceiptDelivered, "a@lid", "")
	receive(gateway.ReceiptDelivered, "1@s.whatsapp.net", "a@lid") // the same person under the other name
	want(group.ID, gateway.StatusDelivered, 1, 0)
	want(person.ID, gateway.StatusDelivered, 1, 0)
	receive(gateway.ReceiptRead, "b@lid", "")
	receive(gateway.ReceiptPlayed, "b@lid", "")
	receive(gateway.ReceiptDelivered, "b@lid", "") // came late
	want(group.ID, gateway.StatusRead, 2, 1)
	want(person.ID, gateway.StatusRead, 1, 1)
	receive(gateway.ReceiptRead, "a@lid", "")
	want(group.ID, gateway.StatusRead, 2, 2)

	// An error undoes the whole receipt.
	failed := errors.New("failed")
	err := w.Receive(ctx, w.tenant.Key, gateway.Receipt{StanzaIDs: []string{group.WhatsAppID, person.WhatsAppID}, Sender: "c@lid"},
		func(m *gateway.Message, had gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
			m.ReadCount = 77
			if m.ID == person.ID {
				return had, nil, failed
			}
			return gateway.Confirmed{Delivered: true}, nil, nil
		})
	if !errors.Is(err, failed) {
		t.Fatalf("got %v", err)
	}
	want(group.ID, gateway.StatusRead, 2, 2)
	receive(gateway.ReceiptDelivered, "c@lid", "")
	want(group.ID, gateway.StatusRead, 3, 2)
}

func testWork(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	if list, err := w.TenantsWithWork(ctx, "worker"); err != nil || len(list) != 0 {
		t.Fatalf("got %v, %v", list, err)
	}
	list := w.accept(gateway.PriorityBulk, 6)
	if list, err := w.TenantsWithWork(ctx, "worker"); err != nil || len(list) != 0 {
		t.Fatalf("without the lease: %v, %v", list, err)
	}
	f := w.lease("worker", time.Minute)
	if list, err := w.TenantsWithWork(ctx, "worker"); err != nil || !slices.Equal(list, []gateway.Fence{f}) {
		t.Fatalf("got %v, %v", list, err)
	}
	unfinished := func(limit int, want ...*gateway.Message) {
		t.Helper()
		got, err := w.Unfinished(ctx, w.tenant.Key, gateway.PriorityBulk, limit)
		must(t, err)
		tickets := []gateway.Ticket{}
		for _, m := range want {
			tickets = append(tickets, ticket(m))
		}
		if !slices.Equal(got, tickets) {
			t.Fatalf("unfinished %v, want %v", got, tickets)
		}
	}
	postponed := func(want int) {
		t.Helper()
		if n, err := w.Postponed(ctx, w.tenant.Key, gateway.PriorityBulk, 10); err != nil || n != want {
			t.Fatalf("postponed %d, %v; want %d", n, err, want)
		}
	}
	unfinished(3, list[:3]...)
	for i, o := range []gateway.Outcome{
		{Kind: gateway.OutcomeSent},
		{Kind: gateway.OutcomeRetry, RetryAt: w.clock.Now().Add(2 * time.Minute)},
		{Kind: gateway.OutcomeHold, RetryAt: w.clock.Now().Add(time.Minute)},
		{Kind: gateway.OutcomeRetry, RetryAt: w.clock.Now().Add(time.Minute)},
	} {
		m := w.claim(f, list[i])
		unfinished(1, list[i+1]) // what is in hand is not listed
		w.record(m, o)
	}
	unfinished(10, list[4:]...)
	postponed(3)
	w.clock.Advance(time.Minute)
	unfinished(10, list[3], list[2], list[4], list[5])
	unfinished(2, list[3], list[2])
	postponed(1)
	w.clock.Advance(time.Minute)
	unfinished(10, list[3], list[1], list[2], list[4], list[5])
	postponed(0)
	given := w.claim(f, list[5])
	w.record(given, gateway.Outcome{Kind: gateway.OutcomeWait})
	unfinished(10, list[3], list[1], list[2], list[4], list[5])

	expirable := func(at time.Time, limit, want int) {
		t.Helper()
		late, err := w.Expirable(ctx, at, limit)
		must(t, err)
		if len(late) != want {
			t.Fatalf("%d late, want %d", len(late), want)
		}
	}
	expirable(w.clock.Now(), 10, 0)
	expirable(list[0].ExpiresAt, 10, 5)
	expirable(list[0].ExpiresAt, 2, 2)
	w.claim(f, list[4]) // never while in hand
	expirable(list[0].ExpiresAt, 10, 4)
	never := w.message(w.tenant, gateway.PriorityHigh)
	never.ExpiresAt = time.Time{}
	must(t, w.Accept(ctx, []*gateway.Message{never}, nil))
	expirable(list[0].ExpiresAt.Add(time.Hour), 10, 4)
}

func testInFlightElsewhere(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	list := w.accept(gateway.PriorityNormal, 2)
	old := w.lease("old", time.Minute)
	w.claim(old, list[0])
	elsewhere := func(f gateway.Fence, want ...string) {
		t.Helper()
		got, err := w.InFlightElsewhere(ctx, f, f.Owner, 10)
		must(t, err)
		if !slices.Equal(ids(got), append([]string{}, want...)) {
			t.Fatalf("in flight elsewhere: %v, want %v", ids(got), want)
		}
	}
	elsewhere(old)
	must(t, w.ReleaseSessions(ctx, "old"))
	f := w.lease("new", time.Minute)
	w.claim(f, list[1])
	elsewhere(f, list[0].ID)
	if got := w.claim(f, list[0]); got != nil {
		t.Fatalf("claimed %s out of another process's hands", got.ID)
	}
	_, err := w.Update(ctx, w.tenant.Key, list[0].ID, &f,
		func(m *gateway.Message) ([]gateway.Event, error) { return m.Abandon(w.clock.Now(), "new"), nil })
	must(t, err)
	elsewhere(f)
	if got := w.claim(f, list[0]); got == nil || got.ID != list[0].ID || !got.Uncertain || got.Deaths != 1 {
		t.Fatalf("claimed %+v", got)
	}
}
