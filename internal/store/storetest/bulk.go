package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// stage makes a bulk of n messages that is not accepted yet.
func (w *world) stage(n int) gateway.Bulk {
	w.t.Helper()
	w.made++
	b := gateway.Bulk{
		ID: fmt.Sprintf("bulk-%04d", w.made), TenantKey: w.tenant.Key, TenantID: w.tenant.ID, Name: "spring", Lane: gateway.PriorityBulk,
		Rows: n, MaxFailureRate: gateway.DefaultMaxFailureRate, CreatedAt: w.clock.Now(),
	}
	must(w.t, w.CreateBulk(w.t.Context(), &b))
	msgs := make([]*gateway.Message, n)
	for i := range msgs {
		msgs[i] = w.message(w.tenant, gateway.PriorityBulk)
		msgs[i].BulkID, msgs[i].Seq, msgs[i].To = b.ID, b.FirstSeq+int64(i), fmt.Sprintf("49155%08d", i)
	}
	must(w.t, w.StageBulk(w.t.Context(), &b, msgs))
	b.Total = n
	return b
}

func (w *world) bulk(n int) gateway.Bulk {
	w.t.Helper()
	b := w.stage(n)
	must(w.t, w.PublishBulk(w.t.Context(), &b, nil))
	return b
}

func (w *world) counts(b gateway.Bulk) gateway.BulkCounts {
	w.t.Helper()
	counts, err := w.BulkCounts(w.t.Context(), b.TenantKey, []string{b.ID})
	must(w.t, err)
	sum := 0
	for _, n := range counts[b.ID] {
		sum += n
	}
	if sum != b.Total {
		w.t.Fatalf("%v add up to %d, the bulk has %d", counts[b.ID], sum, b.Total)
	}
	return counts[b.ID]
}

func (w *world) releaseBulk(b gateway.Bulk, limit, window int) (tickets []gateway.Ticket, more bool) {
	w.t.Helper()
	tickets, more, err := w.ReleaseBulk(w.t.Context(), b.TenantKey, b.ID, limit, window)
	must(w.t, err)
	return tickets, more
}

func (w *world) change(b gateway.Bulk, apply func(*gateway.Bulk) error) gateway.Bulk {
	w.t.Helper()
	after, err := w.UpdateBulk(w.t.Context(), b.TenantKey, b.ID, apply)
	must(w.t, err)
	return after
}

func pause(b *gateway.Bulk) error { return b.Pause("") }

func testBulkAppearsAtOnce(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	before := w.accept(gateway.PriorityBulk, 1)[0]
	b := w.stage(1500)
	after := w.accept(gateway.PriorityBulk, 1)[0]
	if b.FirstSeq != before.Seq+1 || after.Seq != b.FirstSeq+1500 {
		t.Fatalf("numbers %d, %d to %d, %d", before.Seq, b.FirstSeq, b.FirstSeq+1499, after.Seq)
	}
	shown := func() (listed, waiting int) {
		t.Helper()
		list, err := w.Messages(ctx, w.tenant.Key, gateway.MessageFilter{})
		must(t, err)
		depth, err := w.Depth(ctx, w.tenant.Key)
		must(t, err)
		if !depth.OldestSince.Equal(before.CreatedAt) {
			t.Fatalf("depth %+v", depth)
		}
		return len(list), depth.Bulk
	}
	if listed, waiting := shown(); listed != 2 || waiting != 2 {
		t.Fatalf("%d listed and %d waiting while the bulk is made", listed, waiting)
	}
	_, err := w.Bulk(ctx, w.tenant.Key, b.ID)
	wantCode(t, err, gateway.CodeNotFound)
	if list, err := w.Bulks(ctx, w.tenant.Key, "", 10); err != nil || len(list) != 0 {
		t.Fatalf("bulks %v, %v", list, err)
	}
	if _, _, err := w.ReleaseBulk(ctx, w.tenant.Key, b.ID, 10, 10); err == nil {
		t.Fatal("released from a bulk that is not accepted")
	}
	must(t, w.StageInvalid(ctx, &b, []gateway.BulkInvalid{{Row: 3, To: "x", Code: gateway.CodeInvalidRecipient}, {Row: 7, To: "y", Code: gateway.CodeInvalidMessage}}))

	b.Invalid = 2
	must(t, w.PublishBulk(ctx, &b, nil))
	if listed, waiting := shown(); listed != 201 || waiting != 1502 {
		t.Fatalf("%d listed and %d waiting of an accepted bulk", listed, waiting)
	}
	got, err := w.Bulk(ctx, w.tenant.Key, b.ID)
	must(t, err)
	if got != b || got.Status != gateway.BulkRunning {
		t.Fatalf("read %+v, want %+v", got, b)
	}
	if n := w.counts(b)[gateway.StatusQueued]; n != 1500 {
		t.Fatalf("%d queued", n)
	}
	if rows, err := w.BulkInvalid(ctx, b.ID, 3, 10); err != nil || len(rows) != 1 || rows[0] != (gateway.BulkInvalid{Row: 7, To: "y", Code: gateway.CodeInvalidMessage}) {
		t.Fatalf("invalid %v, %v", rows, err)
	}
	page, err := w.BulkMessages(ctx, w.tenant.Key, b.ID, b.FirstSeq+9, []gateway.Status{gateway.StatusQueued}, 2)
	must(t, err)
	if len(page) != 2 || page[0].Seq != b.FirstSeq+10 || page[1].Seq != b.FirstSeq+11 || page[0].Phase != gateway.PhaseStaged {
		t.Fatalf("page %+v", page)
	}
	if events, err := w.Events(ctx, w.tenant.Key, page[0].ID); err != nil || len(events) != 1 || events[0].Status != gateway.StatusQueued {
		t.Fatalf("history %v, %v", events, err)
	}
	// What is accepted is not discarded, nor is more of it stored.
	must(t, w.DiscardBulk(ctx, w.tenant.Key, b.ID))
	wantCode(t, w.StageBulk(ctx, &b, []*gateway.Message{w.message(w.tenant, gateway.PriorityBulk)}), gateway.CodeConflict)
	wantCode(t, w.PublishBulk(ctx, &b, nil), gateway.CodeConflict)
	w.counts(b)
}

func testBulkDiscarded(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	b, young := w.stage(700), w.stage(1)
	must(t, w.StageInvalid(ctx, &b, []gateway.BulkInvalid{{Row: 1, Code: gateway.CodeInvalidRecipient}}))
	if stale, err := w.StaleBulks(ctx, time.Hour); err != nil || len(stale) != 0 {
		t.Fatalf("stale %v, %v", stale, err)
	}
	if stale, err := w.StaleBulks(ctx, -time.Second); err != nil || len(stale) != 2 {
		t.Fatalf("stale %v, %v", stale, err)
	}
	must(t, w.DiscardBulk(ctx, w.tenant.Key, b.ID))
	must(t, w.DiscardBulk(ctx, w.tenant.Key, b.ID))
	wantCode(t, w.StageBulk(ctx, &b, []*gateway.Message{w.message(w.tenant, gateway.PriorityBulk)}), gateway.CodeConflict)
	wantCode(t, w.PublishBulk(ctx, &b, nil), gateway.CodeConflict)
	if list, err := w.BulkMessages(ctx, w.tenant.Key, b.ID, 0, nil, 10); err != nil || len(list) != 0 {
		t.Fatalf("left %v, %v", list, err)
	}
	if rows, err := w.BulkInvalid(ctx, b.ID, 0, 10); err != nil || len(rows) != 0 {
		t.Fatalf("left %v, %v", rows, err)
	}
	if stale, err := w.StaleBulks(ctx, -time.Second); err != nil || len(stale) != 1 || stale[0].ID != young.ID || stale[0].TenantKey != w.tenant.Key {
		t.Fatalf("stale %v, %v", stale, err)
	}
	// A tenant that goes takes its bulks along, finished or not.
	w.bulk(3)
	must(t, w.DeleteTenant(ctx, w.tenant.ID))
	wantCode(t, w.PublishBulk(ctx, &young, nil), gateway.CodeConflict)
	wantCode(t, w.CreateBulk(ctx, &gateway.Bulk{ID: "late", TenantKey: w.tenant.Key, Rows: 1}), gateway.CodeNotFound)
	if stale, err := w.StaleBulks(ctx, -time.Second); err != nil || len(stale) != 0 {
		t.Fatalf("stale %v, %v", stale, err)
	}
}

func testBulkRelease(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", time.Minute)
	b := w.bulk(20)
	next := w.bulk(5)
	single := w.accept(gateway.PriorityBulk, 1)[0]
	if tickets, err := w.Unfinished(ctx, w.tenant.Key, gateway.PriorityBulk, 10); err != nil || len(tickets) != 1 {
		t.Fatalf("tickets %v, %v", tickets, err)
	}
	tickets, more := w.releaseBulk(b, 4, 6)
	if len(tickets) != 4 || !more {
		t.Fatalf("released %v, more %t", tickets, more)
	}
	if tickets, more := w.releaseBulk(b, 100, 6); len(tickets) != 2 || !more {
		t.Fatalf("released %v beyond the window, more %t", tickets, more)
	}
	if tickets, more := w.releaseBulk(next, 100, 6); len(tickets) != 0 || !more {
		t.Fatalf("released %v of a bulk behind a full window, more %t", tickets, more)
	}
	// A ticket of whatever comes later finds the oldest that has its place; what has none is not claimed, not even by its own.
	m := w.claim(f, single)
	if m == nil || m.Seq != b.FirstSeq || m.BulkID != b.ID {
		t.Fatalf("claimed %+v", m)
	}
	w.record(m, gateway.Outcome{Kind: gateway.OutcomeSent})
	page, err := w.BulkMessages(ctx, w.tenant.Key, b.ID, b.FirstSeq+5, nil, 1)
	must(t, err)
	if got := w.claim(f, &page[0]); got != nil {
		t.Fatalf("claimed %s, which has no place", got.ID)
	}
	// Paused: the places are taken back, and what was claimed goes on.
	m = w.claim(f, single)
	paused := w.change(b, func(b *gateway.Bulk) error { return b.Pause("because") })
	if paused.Status != gateway.BulkPaused || paused.Reason != "because" {
		t.Fatalf("paused %+v", paused)
	}
	if got := w.claimTicket(f, tickets[2]); got != nil {
		t.Fatalf("claimed %s of a paused bulk", got.ID)
	}
	if tickets, _ := w.releaseBulk(b, 100, 6); len(tickets) != 0 {
		t.Fatalf("released %v of a paused bulk", tickets)
	}
	if tickets, more := w.releaseBulk(next, 100, 6); len(tickets) != 5 || more {
		t.Fatalf("released %v of the next bulk, more %t", tickets, more)
	}
	w.record(m, gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}})
	results, err := w.BulkResults(ctx, b, true, 10)
	must(t, err)
	if len(results) != 2 || results[0].Status != gateway.StatusFailed || results[1].Status != gateway.StatusSent || results[0].At.IsZero() {
		t.Fatalf("results %+v", results)
	}
	// Resumed: in its old order, and judged by what comes from now on.
	again := w.change(b, (*gateway.Bulk).Resume)
	if results, err := w.BulkResults(ctx, again, true, 10); err != nil || len(results) != 0 || again.Reason != "" {
		t.Fatalf("results %+v, %v of %+v", results, err, again)
	}
	resumed, more := w.releaseBulk(b, 100, 100)
	if len(resumed) != 18 || more || !slices.Equal(resumed[:2], tickets[2:4]) {
		t.Fatalf("released %v, more %t; want %v first", resumed, more, tickets[2:4])
	}
	if got := w.claim(f, single); got == nil || got.Seq != b.FirstSeq+2 {
		t.Fatalf("claimed %+v", got)
	}
	if c := w.counts(b); c[gateway.StatusSent] != 1 || c[gateway.StatusFailed] != 1 || c[gateway.StatusSending] != 1 || c[gateway.StatusQueued] != 17 {
		t.Fatalf("counts %v", c)
	}
}

func testBulkEnds(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", time.Minute)
	b := w.bulk(700)
	single := w.accept(gateway.PriorityBulk, 1)[0]
	w.releaseBulk(b, 10, 10)
	m := w.claim(f, single)
	cancel := func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.clock.Now()) }
	if n, err := w.CancelQueued(ctx, w.tenant.Key, b.ID, 500, cancel); n != 0 || err != nil {
		t.Fatalf("canceled %d of a running bulk, %v", n, err)
	}
	w.change(b, (*gateway.Bulk).Cancel)
	ended := []int{}
	for range 3 {
		n, err := w.CancelQueued(ctx, w.tenant.Key, b.ID, 500, cancel)
		must(t, err)
		ended = append(ended, n)
	}
	if !slices.Equal(ended, []int{500, 199, 0}) {
		t.Fatalf("canceled %v", ended)
	}
	if c := w.counts(b); c[gateway.StatusCanceled] != 699 || c[gateway.StatusSending] != 1 {
		t.Fatalf("counts %v", c)
	}
	last, err := w.BulkMessages(ctx, w.tenant.Key, b.ID, b.FirstSeq+698, nil, 1)
	must(t, err)
	want := last[0]
	want.Status, want.Phase = gateway.StatusQueued, gateway.PhaseStaged
	events, err := w.Events(ctx, w.tenant.Key, last[0].ID)
	must(t, err)
	if last[0].Error == nil || last[0].Error.Code != gateway.CodeCanceled || last[0].Phase != "" || len(events) != 2 || events[1].Status != gateway.StatusCanceled {
		t.Fatalf("canceled %+v with %v", last[0], events)
	}
	if open, err := w.OpenBulks(ctx, w.tenant.Key); err != nil || len(open) != 1 || open[0].Status != gateway.BulkCanceled || open[0].StartedAt.IsZero() {
		t.Fatalf("open %+v, %v", open, err)
	}
	settle := func(b gateway.Bulk, want bool) {
		t.Helper()
		if settled, err := w.SettleBulk(ctx, w.tenant.Key, b.ID); err != nil || settled != want {
			t.Fatalf("settled %t, %v", settled, err)
		}
	}
	settle(b, false) // one is in hand
	w.record(m, gateway.Outcome{Kind: gateway.OutcomeSent})
	settle(b, true)
	settle(b, false)
	if got, err := w.Bulk(ctx, w.tenant.Key, b.ID); err != nil || got.Status != gateway.BulkCanceled || got.FinishedAt.IsZero() {
		t.Fatalf("bulk %+v, %v", got, err)
	}
	_, err = w.UpdateBulk(ctx, w.tenant.Key, b.ID, (*gateway.Bulk).Resume)
	wantCode(t, err, gateway.CodeConflict)

	done := w.bulk(1)
	tickets, _ := w.releaseBulk(done, 10, 10)
	w.claim(f, single)
	m = w.claimTicket(f, tickets[0])
	w.record(m, gateway.Outcome{Kind: gateway.OutcomeSent})
	settle(done, true)
	if open, err := w.OpenBulks(ctx, w.tenant.Key); err != nil || len(open) != 0 {
		t.Fatalf("open %+v, %v", open, err)
	}
	list, err := w.Bulks(ctx, w.tenant.Key, "", 1)
	must(t, err)
	if len(list) != 1 || list[0].ID != done.ID || list[0].Status != gateway.BulkFinished {
		t.Fatalf("bulks %+v", list)
	}
	if list, err := w.Bulks(ctx, w.tenant.Key, done.ID, 10); err != nil || len(list) != 1 || list[0].ID != b.ID {
		t.Fatalf("bulks before the newest %+v, %v", list, err)
	}
	// Another tenant finds none of it.
	other := w.newTenant("other")
	_, err = w.Bulk(ctx, other.Key, done.ID)
	wantCode(t, err, gateway.CodeNotFound)
	_, err = w.UpdateBulk(ctx, other.Key, done.ID, pause)
	wantCode(t, err, gateway.CodeNotFound)
	if counts, err := w.BulkCounts(ctx, other.Key, []string{done.ID}); err != nil || len(counts[done.ID]) != 0 {
		t.Fatalf("counts %v, %v", counts, err)
	}
}

// testBulkResults: what is held hides no result, and after a resumption only what ended since then counts, wherever it stands in the list.
func testBulkResults(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", time.Hour)
	b := w.bulk(1300)
	fails := gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}}
	held := gateway.Outcome{Kind: gateway.OutcomeHold, RetryAt: w.clock.Now().Add(time.Hour), Failure: gateway.Failure{Code: gateway.CodePaced}}
	sent := gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &gateway.Sent{RecipientJID: "4915500000000@s.whatsapp.net"}}
	want := func(what string, unjudged bool, statuses ...gateway.Status) {
		t.Helper()
		now, err := w.Bulk(ctx, w.tenant.Key, b.ID)
		must(t, err)
		results, err := w.BulkResults(ctx, now, unjudged, 10)
		must(t, err)
		var got []gateway.Status
		for _, r := range results {
			if got = append(got, r.Status); r.At.IsZero() {
				t.Errorf("%s: nobody knows when it was %s", what, r.Status)
			}
		}
		if !slices.Equal(got, statuses) {
			t.Errorf("%s: %v, want %v", what, got, statuses)
		}
	}
	handle := func(tickets []gateway.Ticket, outcomes ...gateway.Outcome) (handled []*gateway.Message) {
		t.Helper()
		for i, ticket := range tickets {
			m := w.claimTicket(f, ticket)
			w.record(m, outcomes[i])
			handled = append(handled, m)
			w.clock.Advance(time.Second)
		}
		return handled
	}
	tickets, _ := w.releaseBulk(b, 6, 6)
	first := handle(tickets, fails, sent, held, held, held, sent)
	_, err := w.Writer().ExecContext(ctx, fmt.Sprintf(`UPDATE messages SET status = 'sending', phase = 'held', next_attempt_at = %d
		WHERE bulk_id = '%s' AND seq >= %d AND seq < %d`, w.clock.Now().Add(24*time.Hour).UnixMicro(), b.ID, b.FirstSeq+6, b.FirstSeq+1200))
	must(t, err)
	want("more are held than are looked at", true, "sent", "sent", "failed")

	w.change(b, pause)
	w.change(b, (*gateway.Bulk).Resume)
	w.clock.Advance(time.Second)
	want("resumed", true)
	want("all", false, "sent", "sent", "failed")
	must(t, w.Receive(ctx, w.tenant.Key, gateway.Receipt{Kind: gateway.ReceiptDelivered, StanzaIDs: []string{first[5].WhatsAppID}, Chat: "x", Sender: "x"},
		func(m *gateway.Message, had gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
			has, events := m.Receive(w.clock.Now(), gateway.Receipt{Kind: gateway.ReceiptDelivered}, had)
			return has, events, nil
		}))
	want("a receipt of what was sent before", true)

	// What is held comes back, and the next of the list go out.
	w.clock.Advance(time.Hour)
	next, _ := w.releaseBulk(b, 1, 6)
	handle(next, sent)
	called := fails
	called.Failure.Code = gateway.CodeCanceled
	handle(tickets[2:5], fails, called, sent)
	want("what had been held", true, "sent", "failed", "sent")
	want("all of them", false, "sent", "failed", "sent", "delivered", "sent", "failed")
}

// testBulkCancelsWhatWasBegun: what is held, backs off or was given back ends with its bulk, by what was tried of it, and what is in hand goes on.
func testBulkCancelsWhatWasBegun(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", time.Hour)
	b, other := w.bulk(7), w.bulk(1)
	held := gateway.Outcome{Kind: gateway.OutcomeHold, RetryAt: w.clock.Now().Add(15 * 24 * time.Hour), Failure: gateway.Failure{Code: gateway.CodePaced, Message: "not yet"}}
	timeout := gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: w.clock.Now().Add(time.Minute), Failure: gateway.Failure{Code: gateway.CodeTimeout}}
	doubtful := timeout
	doubtful.OnWire = true
	tickets, _ := w.releaseBulk(other, 1, 1)
	w.record(w.claimTicket(f, tickets[0]), held)
	tickets, _ = w.releaseBulk(b, 7, 7)
	const inHand = 5
	outcomes := []gateway.Outcome{held, held, timeout, doubtful, {Kind: gateway.OutcomeSent}, inHand: {}, {Kind: gateway.OutcomeWait}}
	for i, ticket := range tickets {
		if m := w.claimTicket(f, ticket); i != inHand {
			w.record(m, outcomes[i])
		}
	}
	if n, err := w.Held(ctx, w.tenant.Key, b.ID, 10); err != nil || n != 4 {
		t.Errorf("%d are held, %v", n, err)
	}
	if n, err := w.Held(ctx, w.tenant.Key, b.ID, 3); err != nil || n != 3 {
		t.Errorf("%d are held, %v; want no more than were asked for", n, err)
	}

	step := func(limit, want int) {
		t.Helper()
		ended, err := w.CancelBegun(ctx, w.tenant.Key, b.ID, limit, func(m *gateway.Message) ([]gateway.Event, error) {
			return m.CancelWithBulk(w.clock.Now()), nil
		})
		if err != nil || len(ended) != want {
			t.Fatalf("%d ended, %v; want %d", len(ended), err, want)
		}
	}
	step(10, 0) // it is not canceled
	w.change(b, (*gateway.Bulk).Cancel)
	step(3, 3)
	step(3, 2)
	step(3, 0)
	list, err := w.BulkMessages(ctx, w.tenant.Key, b.ID, 0, nil, 10)
	must(t, err)
	want := []gateway.Status{"failed", "failed", "failed", "unknown", "sent", inHand: "sending", "failed"}
	for i, m := range list {
		if m.Status != want[i] {
			t.Errorf("message %d is %s, want %s", i, m.Status, want[i])
			continue
		}
		events, err := w.Events(ctx, m.TenantKey, m.ID)
		must(t, err)
		if got := events[len(events)-1]; got.Status != want[i] {
			t.Errorf("the history of message %d ends with %+v", i, got)
		}
		switch m.Status {
		case gateway.StatusFailed:
			if m.Error == nil || m.Error.Code != gateway.CodeCanceled || m.FailedAt.IsZero() || !m.NextAttemptAt.IsZero() {
				t.Errorf("message %d ended as %+v, %+v", i, m, m.Error)
			}
		case gateway.StatusUnknown:
			if m.Error == nil || m.Error.Code != gateway.CodeOutcomeUnknown {
				t.Errorf("message %d may have been delivered and ended with %+v", i, m.Error)
			}
		default:
		}
	}
	w.record(&list[inHand], gateway.Outcome{Kind: gateway.OutcomeSent})
	if settled, err := w.SettleBulk(ctx, w.tenant.Key, b.ID); err != nil || !settled {
		t.Errorf("settled %t, %v", settled, err)
	}
	if n := w.counts(other)[gateway.StatusSending]; n != 1 {
		t.Error("the message of another bulk was ended")
	}
	// The owner of the session is told, for places under its caps are free.
	if told, err := w.TakeCommands(ctx, "worker"); err != nil || len(told) != 1 || told[0].Kind != gateway.CommandPacing || told[0].TenantKey != w.tenant.Key {
		t.Errorf("told %+v, %v", told, err)
	}
}

func testBulkCompletesItsKey(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	reserved := gateway.Idempotency{TenantKey: w.tenant.Key, Scope: "POST /bulk", Key: "k", LockUntil: w.clock.Now().Add(time.Minute)}
	_, err := w.ReserveIdempotency(ctx, reserved)
	must(t, err)
	answer := &gateway.IdempotencyCompletion{
		TenantKey: w.tenant.Key, Scope: "POST /bulk", Key: "k",
		Answer: func([]*gateway.Message) (gateway.IdempotencyAnswer, error) {
			return gateway.IdempotencyAnswer{Status: 202, Header: map[string]string{}, Body: []byte("accepted")}, nil
		},
	}
	first, second := w.stage(2), w.stage(2)
	must(t, w.PublishBulk(ctx, &first, answer))
	wantCode(t, w.PublishBulk(ctx, &second, answer), gateway.CodeIdempotencyBusy)
	if prior, err := w.ReserveIdempotency(ctx, reserved); err != nil || prior == nil || string(prior.Body) != "accepted" {
		t.Fatalf("prior %v, %v", prior, err)
	}
	if list, err := w.Bulks(ctx, w.tenant.Key, "", 10); err != nil || len(list) != 1 || list[0].ID != first.ID {
		t.Fatalf("bulks %v, %v", list, err)
	}
}
