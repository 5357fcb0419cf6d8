package dispatch_test

import (
	"context"
	"testing"
	"time"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit"
)

// another adds a tenant to the world and returns its lease.
func (w *world) another(id string) (gateway.Tenant, gateway.Fence) {
	w.t.Helper()
	tenant, err := w.store.CreateTenant(w.t.Context(), id, "")
	must(w.t, err)
	sessions, err := w.store.AcquireSessions(w.t.Context(), "worker", time.Minute, 10)
	must(w.t, err)
	return tenant, sessions[0].Fence()
}

// suspicious gives m as many deaths as make it be tried alone.
func (w *world) suspicious(m *gateway.Message) {
	w.t.Helper()
	_, err := w.store.Update(w.t.Context(), m.TenantKey, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.Deaths = gateway.AloneAfter
		return nil, nil
	})
	must(w.t, err)
}

// TestTwoDeathsMakeAMessageAlone: it is claimed while no other message of the process is in hand, of whichever tenant, and none
// is claimed before it is recorded.
func TestTwoDeathsMakeAMessageAlone(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, dispatch.Options{AloneWait: 50 * time.Millisecond})
	beta, betasFence := w.another("beta")
	suspect, other, third := w.accept(alice), w.acceptFor(beta, bob), w.acceptFor(beta, carol)
	w.suspicious(suspect)

	sending, goOn := make(chan string), make(chan struct{})
	w.answer(func(_ context.Context, m *gateway.Message) (gateway.Sent, error) {
		sending <- m.ID
		<-goOn
		return gateway.Sent{RecipientJID: gateway.UserJID(m.To), At: w.Now()}, nil
	})
	handle := func(fence gateway.Fence, m *gateway.Message) chan gateway.Verdict {
		verdict := make(chan gateway.Verdict, 1)
		go func() {
			verdict <- w.Handle(context.WithoutCancel(t.Context()), fence, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
		}()
		return verdict
	}
	is := func(got gateway.Verdict, want gateway.VerdictKind) {
		t.Helper()
		if got.Kind != want {
			t.Fatalf("verdict %+v, want %d", got, want)
		}
	}

	othersVerdict := handle(betasFence, other)
	<-sending
	is(<-handle(w.fence, suspect), gateway.VerdictGiveBack)
	if m := w.stored(suspect); m.InFlight != "" || m.Attempts != 0 {
		t.Fatalf("claimed beside another message: %+v", m)
	}
	goOn <- struct{}{}
	is(<-othersVerdict, gateway.VerdictDone)

	var suspectsVerdict chan gateway.Verdict
	testkit.Eventually(t, 30*time.Second, func() (bool, string) { // others were given time after the wait that was in vain
		suspectsVerdict = handle(w.fence, suspect)
		select {
		case id := <-sending:
			return id == suspect.ID, "another message is sent: " + id
		case got := <-suspectsVerdict:
			is(got, gateway.VerdictGiveBack)
			return false, "the message is not tried"
		}
	})
	is(<-handle(betasFence, third), gateway.VerdictGiveBack)
	if m := w.stored(third); m.Status != gateway.StatusQueued {
		t.Fatalf("claimed while another message is alone: %+v", m)
	}
	goOn <- struct{}{}
	is(<-suspectsVerdict, gateway.VerdictDone)

	thirdsVerdict := handle(betasFence, third)
	<-sending
	goOn <- struct{}{}
	is(<-thirdsVerdict, gateway.VerdictDone)
	for _, m := range []*gateway.Message{suspect, other, third} {
		if got := w.stored(m); got.Status != gateway.StatusSent || got.Attempts != 1 {
			t.Errorf("%+v", got)
		}
	}
}

// TestWhoWaitsToBeAloneGoesBeforeNewcomers, else a busy process would never try it.
func TestWhoWaitsToBeAloneGoesBeforeNewcomers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	beta, betasFence := w.another("beta")
	gamma, gammasFence := w.another("gamma")
	suspect, other := w.accept(alice), w.acceptFor(beta, bob)
	w.suspicious(suspect)

	sending, goOn := make(chan string, 1), make(chan struct{})
	w.answer(func(_ context.Context, m *gateway.Message) (gateway.Sent, error) {
		if m.ID == suspect.ID || m.ID == other.ID {
			sending <- m.ID
			<-goOn
		}
		return gateway.Sent{RecipientJID: gateway.UserJID(m.To), At: w.Now()}, nil
	})
	done := make(chan gateway.Verdict, 2)
	handle := func(fence gateway.Fence, m *gateway.Message) gateway.Verdict {
		return w.Handle(context.WithoutCancel(t.Context()), fence, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
	}
	go func() { done <- handle(betasFence, other) }()
	<-sending
	go func() { done <- handle(w.fence, suspect) }()
	testkit.Eventually(t, 30*time.Second, func() (bool, string) {
		return handle(gammasFence, w.acceptFor(gamma, carol)).Kind == gateway.VerdictGiveBack, "newcomers pass"
	})
	close(goOn)
	if id := <-sending; id != suspect.ID {
		t.Errorf("%s is sent before the one that waited", id)
	}
	for range 2 {
		if verdict := <-done; verdict.Kind != gateway.VerdictDone {
			t.Errorf("verdict %+v", verdict)
		}
	}
}

// TestFloorIsLeftAfterAPanic: whatever the ledger does, the other tenants go on.
func TestFloorIsLeftAfterAPanic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, deaths := range []int{0, gateway.AloneAfter} {
		m := w.accept(alice)
		if deaths > 0 {
			w.suspicious(m)
		}
		w.ledger.panicNext(deaths > 0)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the queue contains and counts this panic: it must get there")
				}
			}()
			w.handle(m)
		}()
		if verdict := w.handle(m); verdict.Kind != gateway.VerdictDone || w.stored(m).Status != gateway.StatusSent {
			t.Errorf("after %d deaths: %+v, %+v", deaths, verdict, w.stored(m))
		}
	}
}
