package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
)

// flakyStore is a database that can be made to fail.
type flakyStore struct {
	session.Store
	down    atomic.Bool
	renewed atomic.Pointer[time.Time] // when leases were last renewed, at the earliest
}

var errDown = errors.New("the database is down")

func (s *flakyStore) RenewSessions(ctx context.Context, owner string, ttl time.Duration) ([]gateway.Fence, error) {
	if s.down.Load() {
		return nil, errDown
	}
	asked := time.Now()
	held, err := s.Store.RenewSessions(ctx, owner, ttl)
	if err == nil {
		s.renewed.Store(&asked)
	}
	return held, err
}

func (s *flakyStore) AcquireSessions(ctx context.Context, owner string, ttl time.Duration, limit int) ([]gateway.Session, error) {
	if s.down.Load() {
		return nil, errDown
	}
	return s.Store.AcquireSessions(ctx, owner, ttl, limit)
}

func (s *flakyStore) UpdateSession(ctx context.Context, f gateway.Fence, apply func(*gateway.Session)) (gateway.Session, error) {
	if s.down.Load() {
		return gateway.Session{}, errDown
	}
	return s.Store.UpdateSession(ctx, f, apply)
}

func TestSessionIsHandedOverWhenItsOwnerStops(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	first := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	second := b.supervisor("two")
	second.Start(t.Context())
	t.Cleanup(func() { _ = second.Stop(context.Background()) })
	b.stop()
	b.state(gateway.SessionOffline, gateway.ReasonShutdown)
	wait(t, "the end of the first client", first.gone)
	if c := b.client(); c.row.Owner != "two" || c.row.Epoch != first.row.Epoch+1 {
		t.Errorf("taken over as %+v", c.row)
	}
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

func TestStoppingFinishesTheSendInHandBeforeItDisconnects(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
	b.lanes.closed = func() {
		if len(c.gone) != 0 {
			t.Error("disconnected while a message was in hand")
		}
		if s, err := b.store.Session(context.Background(), b.tenant.Key); err != nil || s.Owner != "one" {
			t.Errorf("the lease was released while a message was in hand: %+v, %v", s, err)
		}
	}
	b.stop()
	wait(t, "the disconnect", c.gone)
	b.stop() // a second time does nothing
	s, err := b.store.Session(t.Context(), b.tenant.Key)
	if err != nil || s.Owner != "" || s.State != gateway.SessionOffline || s.Reason != gateway.ReasonShutdown {
		t.Errorf("after the stop: %+v, %v", s, err)
	}
}

func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
	hang := make(chan struct{})
	b.lanes.closed = func() { <-hang }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.sup.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop with a hanging handler: %v", err)
	}
	close(hang)
	eventually(t, "the end", func() bool { return !b.sup.Online(b.tenant.Key) })
}

func TestStopWithoutStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	if err := b.sup.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	b.sup.Start(t.Context())
	if len(b.script.made) != 0 {
		t.Error("started after it was stopped")
	}
}

// TestWorkerThatCannotRenewDisconnects, and while its lease still holds: a machine that stands still in the wrong moment may be late, but not
// each time.
func TestWorkerThatCannotRenewDisconnects(t *testing.T) {
	t.Parallel()
	const ttl, tries = 9 * time.Second, 3 // it lets go after two thirds
	flaky := &flakyStore{}
	b := newBench(t, jid, func(d *session.Deps) { flaky.Store, d.Store = d.Store, flaky; d.LeaseTTL = ttl })
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	for try := 1; ; try++ {
		flaky.down.Store(true)
		wait(t, "the disconnect", c.gone)
		late := time.Since(*flaky.renewed.Load()) - ttl
		eventually(t, "closed lanes", func() bool { return !b.lanes.isOpen(b.tenant.Key) })
		flaky.down.Store(false)
		if c = b.client(); c.row.JID != jid {
			t.Errorf("came back as %+v", c.row)
		}
		b.state(gateway.SessionOnline, gateway.ReasonConnected)
		if late < 0 {
			return
		}
		if try == tries {
			t.Fatalf("disconnected %s after the end of its lease, and too late %d times in a row", late, tries)
		}
	}
}

func TestEmbeddedHubKeepsItsSessionsWhileTheDatabaseFails(t *testing.T) {
	t.Parallel()
	flaky := &flakyStore{}
	b := newBench(t, jid, func(d *session.Deps) {
		flaky.Store, d.Store = d.Store, flaky
		d.LeaseTTL, d.Embedded = 6*time.Second, true // a busy machine must renew it in time before
	})
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	flaky.down.Store(true)
	quiet := time.NewTimer(5 * time.Second) // a worker among others would have let go after two thirds
	defer quiet.Stop()
	select {
	case <-c.gone:
		t.Error("disconnected although nobody else could take over")
	case <-quiet.C:
	}
	flaky.down.Store(false)
}

func TestSessionTakenByAnotherWorkerIsDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid, func(d *session.Deps) {
		d.Timings.Find = time.Hour    // else it would take its session back
		d.LeaseTTL = 15 * time.Second // it finds out when it renews
	})
	b.start()
	c := b.client()
	fence := c.row.Fence()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	// The lease runs out and another worker takes it: what a paused process finds when it wakes up.
	if err := b.store.ReleaseSessions(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	taken, err := b.store.AcquireSessions(t.Context(), "other", time.Minute, 10)
	if err != nil || len(taken) != 1 {
		t.Fatalf("took %d sessions, %v", len(taken), err)
	}
	var failed *gateway.SendError
	if _, err := b.sup.Send(t.Context(), fence, &gateway.Message{}); !errors.As(err, &failed) || failed.Cause != gateway.CauseFenced {
		t.Errorf("a send without a lease: %v", err)
	}
	wait(t, "the disconnect", c.gone)
	eventually(t, "closed lanes", func() bool { return !b.lanes.isOpen(b.tenant.Key) })
	s, err := b.store.Session(t.Context(), b.tenant.Key)
	if err != nil || s.Owner != "other" || s.State != gateway.SessionOnline {
		t.Errorf("the worker that lost the lease wrote the row: %+v, %v", s, err)
	}
}

func TestSendsNeedTheFenceAndTheConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.script.send = func(context.Context) (gateway.Sent, error) {
		return gateway.Sent{RecipientJID: "1@s.whatsapp.net"}, nil
	}
	dialled := make(chan struct{})
	b.script.connect = func(c *scriptedClient) error {
		<-dialled
		return c.accept()
	}
	b.start()
	fence := b.client().row.Fence()
	cause := func(f gateway.Fence) gateway.SendCause {
		_, err := b.sup.Send(t.Context(), f, &gateway.Message{})
		if err == nil {
			return ""
		}
		var failed *gateway.SendError
		if !errors.As(err, &failed) {
			t.Fatalf("the error %v has no cause", err)
		}
		return failed.Cause
	}
	if got := cause(fence); got != gateway.CauseOffline {
		t.Errorf("before the login: %q", got)
	}
	close(dialled)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	eventually(t, "the session online", func() bool { return b.sup.Online(b.tenant.Key) })
	if got := cause(fence); got != "" {
		t.Errorf("online: %q", got)
	}
	for name, change := range map[string]func(*gateway.Fence){
		"an old epoch":   func(f *gateway.Fence) { f.Epoch-- },
		"another owner":  func(f *gateway.Fence) { f.Owner = "two" },
		"another tenant": func(f *gateway.Fence) { f.TenantKey++ },
	} {
		other := fence
		change(&other)
		if got := cause(other); got != gateway.CauseFenced {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPanicOfOneSessionStaysWithIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	other, err := b.store.CreateTenant(t.Context(), "other", "")
	if err != nil {
		t.Fatal(err)
	}
	var panics atomic.Int32
	b.script.onMake = func(row gateway.Session) error {
		if row.TenantID == "algo" && panics.Add(1) <= 2 {
			panic("a bug")
		}
		return nil
	}
	b.start()
	if err := b.store.AddCommand(t.Context(), gateway.Command{TenantKey: other.Key, Kind: gateway.CommandConnect}); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(deadline)
	online, pairing := false, false
	for !online || !pairing {
		select {
		case s := <-b.changes:
			online = online || s.TenantID == "algo" && s.State == gateway.SessionOnline
			pairing = pairing || s.TenantID == "other" && s.State == gateway.SessionPairing
		case <-timeout:
			t.Fatalf("algo online %t, other pairing %t", online, pairing)
		}
	}
	if n := panics.Load(); n < 3 {
		t.Errorf("panicked %d times", n)
	}
}
