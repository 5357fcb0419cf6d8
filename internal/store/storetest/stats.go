package storetest

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testStats(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", 24*time.Hour)
	start := w.clock.Now().Truncate(time.Hour)
	window := gateway.StatsWindow{From: start, Until: start.Add(4 * time.Hour), Step: time.Hour}
	update := func(m *gateway.Message, apply func(*gateway.Message)) {
		t.Helper()
		_, err := w.Update(ctx, w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
			apply(m)
			m.UpdatedAt = w.clock.Now()
			return []gateway.Event{{MessageID: m.ID, TenantKey: m.TenantKey, Status: m.Status, At: w.clock.Now()}}, nil
		})
		must(t, err)
	}
	want := func(limit int, want ...gateway.StatsBucket) {
		t.Helper()
		got, err := w.Stats(ctx, w.tenant.Key, window, limit)
		must(t, err)
		if len(got) != len(want) {
			t.Fatalf("%d slices, want %d: %+v", len(got), len(want), got)
		}
		for i := range want {
			want[i].At = window.Until.Add(time.Duration(i-len(want)) * time.Hour)
			if !got[i].At.Equal(want[i].At) {
				t.Errorf("slice %d begins at %s, want %s", i, got[i].At, want[i].At)
			}
			got[i].At, want[i].At = time.Time{}, time.Time{}
			if got[i] != want[i] {
				t.Errorf("slice %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	}
	want(100, gateway.StatsBucket{}, gateway.StatsBucket{}, gateway.StatsBucket{}, gateway.StatsBucket{})

	first := w.accept(gateway.PriorityNormal, 3) // in the first hour
	w.clock.Advance(time.Hour)
	second := w.accept(gateway.PriorityNormal, 2)
	w.record(w.claim(f, first[0]), gateway.Outcome{Kind: gateway.OutcomeSent})
	w.record(w.claim(f, first[1]), gateway.Outcome{Kind: gateway.OutcomeSent})
	w.clock.Advance(time.Hour)
	// Delivered in the third hour: it counts where it was sent.
	update(first[0], func(m *gateway.Message) {
		m.Status, m.DeliveredAt, m.ReadAt = gateway.StatusRead, w.clock.Now(), w.clock.Now()
	})
	update(first[1], func(m *gateway.Message) { m.Status, m.DeliveredAt = gateway.StatusDelivered, w.clock.Now() })
	w.record(w.claim(f, first[2]), gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}})
	w.clock.Advance(time.Hour)
	update(second[0], func(m *gateway.Message) { m.Status, m.Phase = gateway.StatusUnknown, gateway.PhaseNone })
	staged := w.stage(5)
	bulk := w.bulk(4)
	// Neither of another tenant, nor after the window.
	other := w.newTenant("beta")
	must(t, w.Accept(ctx, []*gateway.Message{w.message(other, gateway.PriorityHigh)}, nil))
	w.clock.Advance(time.Hour)
	w.accept(gateway.PriorityNormal, 1)

	want(100,
		gateway.StatsBucket{Accepted: 3},
		gateway.StatsBucket{Accepted: 2, Sent: 2, Delivered: 2, Read: 1},
		gateway.StatsBucket{Failed: 1},
		gateway.StatsBucket{Accepted: 4, Unknown: 1})
	must(t, w.PublishBulk(ctx, &staged, nil))
	// Of 14 accepted messages 10 are looked at, and end within the second hour: only what comes after is told.
	want(10, gateway.StatsBucket{Failed: 1}, gateway.StatsBucket{Accepted: 9, Unknown: 1})
	if counts := w.counts(bulk); counts[gateway.StatusQueued] != 4 {
		t.Errorf("counting changed something: %v", counts)
	}
	if got, err := w.Stats(ctx, other.Key, window, 100); err != nil || len(got) != 4 || got[3].Accepted != 1 || got[0].Accepted != 0 {
		t.Errorf("the other tenant's: %+v, %v", got, err)
	}
}
