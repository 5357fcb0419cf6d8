package bulk_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestARetryLeavesOutWhatWasCalledOff: who was held when the bulk was canceled, or the queue purged, gets nothing by a retry of what failed.
func TestARetryLeavesOutWhatWasCalledOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	retry := func(id string) (gateway.BulkProgress, error) {
		return w.Retry(t.Context(), w.tenant, id, false, nil, nil)
	}
	for name, end := range map[string]func(id string){
		"canceled": func(id string) { _, err := w.Cancel(t.Context(), w.tenant.Key, id); must(t, err) },
		"purged":   func(string) { _, err := w.ledger.Purge(t.Context(), w.tenant.Key); must(t, err) },
	} {
		r := w.request(12)
		r.MaxFailureRate = 1
		p := w.create(r)
		failed := map[string]bool{}
		tickets, _, err := w.Feed(t.Context(), w.fence)
		must(t, err)
		for i, ticket := range tickets {
			w.begin(ticket)
			o := gateway.Outcome{Kind: gateway.OutcomeHold, RetryAt: time.Now().Add(time.Hour), Failure: gateway.Failure{Code: gateway.CodePaced}}
			if i%4 == 0 {
				o = gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}}
				failed[ticket.MessageID] = true
			}
			_, err := w.ledger.Record(t.Context(), w.fence, ticket.MessageID, o)
			must(t, err)
		}
		end(p.ID)
		if now, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || now.Counts[gateway.StatusFailed] != 12 {
			t.Fatalf("%s: %v, %v", name, now.Counts, err)
		}
		again, err := retry(p.ID)
		must(t, err)
		list, err := w.store.BulkMessages(t.Context(), w.tenant.Key, again.ID, 0, nil, 100)
		must(t, err)
		for _, m := range list {
			if !failed[m.RetryOf] {
				t.Errorf("%s: who was held gets a message", name)
			}
		}
		if len(list) != len(failed) || again.Total != len(failed) {
			t.Errorf("%s: %d are sent again, %d failed", name, len(list), len(failed))
		}
		// A retry that is canceled leaves its people to the next one.
		_, err = w.Cancel(t.Context(), w.tenant.Key, again.ID)
		must(t, err)
		next, err := retry(p.ID)
		must(t, err)
		if next.Total != len(failed) {
			t.Errorf("%s: %d are sent again after a retry that was canceled, %d failed", name, next.Total, len(failed))
		}
		_, err = w.Cancel(t.Context(), w.tenant.Key, next.ID)
		must(t, err)
	}
	p := w.create(w.request(3))
	w.hold()
	_, err := w.Cancel(t.Context(), w.tenant.Key, p.ID)
	must(t, err)
	if _, err := retry(p.ID); !errors.Is(err, &gateway.Error{Code: gateway.CodeNotRetryable}) {
		t.Errorf("a retry of nothing: %v", err)
	}
}

// TestASecondRetryLeavesOutWhomTheFirstReached, may reach yet, or is not to reach: at whatever remove.
func TestASecondRetryLeavesOutWhomTheFirstReached(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	ctx := t.Context()
	gone := gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}}
	doubt := gateway.Outcome{Kind: gateway.OutcomePermanent, OnWire: true, Failure: gateway.Failure{Code: gateway.CodeTimeout}}
	sent := gateway.Outcome{Kind: gateway.OutcomeSent}
	// give sends what waits of bulks, and records outcomes by number; what has none stays queued.
	give := func(outcomes map[string]gateway.Outcome) {
		t.Helper()
		_, _, err := w.Feed(ctx, w.fence)
		must(t, err)
		for to, o := range outcomes {
			list, err := w.store.Messages(ctx, w.tenant.Key, gateway.MessageFilter{To: to, Status: gateway.StatusQueued})
			must(t, err)
			if len(list) != 1 {
				t.Fatalf("%d messages wait for %s", len(list), to)
			}
			_, err = w.store.Update(ctx, w.tenant.Key, list[0].ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
				began, err := m.Begin(time.Now(), "worker")
				return append(began, m.Apply(time.Now(), "worker", o)...), err
			})
			must(t, err)
		}
	}
	retry := func(id string, force bool, want ...int) string {
		t.Helper()
		again, err := w.Retry(ctx, w.tenant, id, force, nil, nil)
		if len(want) == 0 {
			if !errors.Is(err, &gateway.Error{Code: gateway.CodeNotRetryable}) {
				t.Fatalf("repeated %d, %v; nothing was to be", again.Total, err)
			}
			return ""
		}
		must(t, err)
		list, err := w.store.BulkMessages(ctx, w.tenant.Key, again.ID, 0, nil, 100)
		must(t, err)
		got := []string{}
		for _, m := range list {
			got = append(got, m.To)
		}
		wanted := []string{}
		for _, n := range want {
			wanted = append(wanted, number(n))
		}
		if !slices.Equal(got, wanted) {
			t.Fatalf("repeated to %v, want %v", got, wanted)
		}
		return again.ID
	}

	r := w.request(6)
	r.MaxFailureRate = 1
	p := w.create(r)
	all := map[string]gateway.Outcome{}
	for i := range 6 {
		all[number(i)] = gone
	}
	give(all)
	first := retry(p.ID, false, 0, 1, 2, 3, 4, 5)
	retry(p.ID, false) // all of them wait
	give(map[string]gateway.Outcome{number(0): sent, number(1): gone, number(2): gone, number(3): doubt})
	list, err := w.store.Messages(ctx, w.tenant.Key, gateway.MessageFilter{To: number(4), Status: gateway.StatusQueued})
	must(t, err)
	_, err = w.ledger.Cancel(ctx, w.tenant.Key, list[0].ID)
	must(t, err)

	second := retry(p.ID, false, 1, 2)
	give(map[string]gateway.Outcome{number(1): sent, number(2): gone})
	third := retry(second, false, 2)
	give(map[string]gateway.Outcome{number(2): sent})
	for _, id := range []string{p.ID, first, second, third} {
		retry(id, false) // what was sent to 1 and 2 in place of p's settles what first had sent to them
	}
	forced := retry(p.ID, true, 3) // 0 to 2 have it, 5 waits for it, 4 is not to have it
	give(map[string]gateway.Outcome{number(3): sent})
	retry(p.ID, true)
	retry(forced, true)
}

// TestOneRetryOfABulkIsStoredAtATime: two at once would not know of each other's messages, also where one repeats what the other repeats. One that was given up is in nobody's way.
func TestOneRetryOfABulkIsStoredAtATime(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{"SQLite": sqlite, "Postgres": func(t *testing.T) string { return services.Postgres(t) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, url(t))
			ctx := t.Context()
			other, p := w.create(w.request(1)), w.create(w.request(3))
			for n := 1; n > 0; {
				n, _ = w.feed(func(int64) bool { return true })
			}
			stuck := gateway.Bulk{ID: "stuck", TenantKey: w.tenant.Key, TenantID: w.tenant.ID, Lane: gateway.PriorityBulk, RetryOf: other.ID, Rows: 3, CreatedAt: time.Now()}
			must(t, w.store.CreateBulk(ctx, &stuck))
			list, err := w.store.BulkMessages(ctx, w.tenant.Key, p.ID, 0, nil, 10)
			must(t, err)
			m := list[0]
			m.ID, m.WhatsAppID, m.BulkID, m.RetryOf, m.Status, m.Error, m.Seq = "staged", "3EBSTAGED", stuck.ID, m.ID, gateway.StatusQueued, nil, stuck.FirstSeq
			must(t, w.store.StageBulk(ctx, &stuck, []*gateway.Message{&m}))
			if _, err := w.Retry(ctx, w.tenant, p.ID, false, nil, nil); !errors.Is(err, &gateway.Error{Code: gateway.CodeUnavailable}) {
				t.Fatalf("a second retry: %v", err)
			}
			_, err = w.store.Writer().ExecContext(ctx, `UPDATE bulks SET status = 'discarding' WHERE id = 'stuck'`)
			must(t, err)
			if again, err := w.Retry(ctx, w.tenant, p.ID, false, nil, nil); err != nil || again.Total != 3 {
				t.Errorf("repeated %d, %v", again.Total, err)
			}
			must(t, w.store.DiscardBulk(ctx, w.tenant.Key, stuck.ID))
		})
	}
}
