package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// TestPurgeEndsALongBacklogStepByStep, with one row of history for each message, and leaves alone what is in hand, what has
// ended, and what another tenant has.
func TestPurgeEndsALongBacklogStepByStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	ended, inHand := w.accept(nil), w.accept(nil)
	w.claim(ended)
	w.record(ended, sent())
	w.claim(inHand)
	other, err := w.store.CreateTenant(ctx, "other", "")
	must(t, err)
	others := w.accept(func(m *gateway.Message) { m.TenantKey, m.TenantID = other.Key, other.ID })

	batch := make([]*gateway.Message, 450)
	for i := range batch {
		batch[i] = &gateway.Message{
			ID: fmt.Sprintf("b%03d", i), TenantKey: w.tenant.Key, TenantID: w.tenant.ID, To: "4915550000001", Type: gateway.TypeText,
			Text: "hello", Priority: gateway.Priorities()[i%3], WhatsAppID: fmt.Sprintf("3EB1%03d", i),
			Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting, CreatedAt: w.Now(), ExpiresAt: w.Now().Add(time.Hour),
		}
		if i%5 == 0 {
			batch[i].Status, batch[i].Phase, batch[i].SendAt = gateway.StatusScheduled, gateway.PhaseSchedule, w.Now().Add(time.Minute)
		}
	}
	must(t, w.store.Accept(ctx, batch, nil))
	got, err := w.Purge(ctx, w.tenant.Key)
	if err != nil || got != (gateway.Purged{Canceled: len(batch)}) {
		t.Fatalf("purged %+v, %v", got, err)
	}
	for _, m := range batch {
		first := m.Status
		if now, history := w.read(m), w.history(m); now.Status != gateway.StatusCanceled || !slices.Equal(history, []gateway.Status{first, gateway.StatusCanceled}) {
			t.Fatalf("%+v with history %v", now, history)
		}
	}
	if got, err := w.Purge(ctx, w.tenant.Key); err != nil || got != (gateway.Purged{}) {
		t.Errorf("purged again %+v, %v", got, err)
	}
	for m, want := range map[*gateway.Message]gateway.Status{ended: gateway.StatusSent, inHand: gateway.StatusSending} {
		if now := w.read(m); now.Status != want {
			t.Errorf("want %s: %+v", want, now)
		}
	}
	if m, err := w.store.Message(ctx, other.Key, others.ID); err != nil || m.Status != gateway.StatusQueued {
		t.Errorf("another tenant's message is %+v, %v", m, err)
	}
	if m := w.record(inHand, sent()); m.Status != gateway.StatusSent {
		t.Errorf("what was in hand is %+v", m)
	}
	if waits, err := w.store.Backlog(ctx, w.tenant.Key); err != nil || waits {
		t.Errorf("a backlog is left: %t, %v", waits, err)
	}
}

// TestDisownEndsOnlyWhatAnotherNumberMayHaveDelivered.
func TestDisownEndsOnlyWhatAnotherNumberMayHaveDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uncertain, refused, waiting := w.accept(nil), w.accept(nil), w.accept(nil)
	w.claim(uncertain)
	w.record(uncertain, gateway.Outcome{Kind: gateway.OutcomeRetry, OnWire: true, RetryAt: w.Now().Add(time.Minute)})
	w.claim(refused)
	w.record(refused, gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: w.Now().Add(time.Minute)})
	if got, err := w.Disown(t.Context(), w.tenant.Key); err != nil || got != (gateway.Purged{Unknown: 1}) {
		t.Fatalf("ended %+v, %v", got, err)
	}
	for m, want := range map[*gateway.Message]gateway.Status{
		uncertain: gateway.StatusUnknown, refused: gateway.StatusSending, waiting: gateway.StatusQueued,
	} {
		if now := w.read(m); now.Status != want {
			t.Errorf("want %s: %+v", want, now)
		}
	}
}
