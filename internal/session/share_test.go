package session_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
)

// orderlyLanes checks that lanes are closed while the lease is held, and opened by its owner only.
type orderlyLanes struct {
	*lanes
	b     *bench
	owner string
}

func (l orderlyLanes) Open(f gateway.Fence) {
	if f.Owner != l.owner || l.isOpen(f.TenantKey) {
		l.b.t.Errorf("%s opens the lanes of %+v", l.owner, f)
	}
	l.lanes.Open(f)
}

func (l orderlyLanes) Close(key int64) {
	if s, err := l.b.store.Session(context.Background(), key); err != nil || s.Owner != l.owner {
		l.b.t.Errorf("the lanes of session %d are closed after its lease was released: %+v, %v", key, s, err)
	}
	l.lanes.Close(key)
}

// newCrowd prepares n paired tenants.
func newCrowd(t *testing.T, n int) *bench {
	t.Helper()
	b := newBench(t, jid)
	for i := range n - 1 {
		if _, err := b.store.CreateTenant(t.Context(), fmt.Sprint("tenant", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	taken, err := b.store.AcquireSessions(t.Context(), "before", time.Minute, n)
	if err != nil || len(taken) != n {
		t.Fatalf("took %d sessions, %v", len(taken), err)
	}
	for _, row := range taken {
		if _, err := b.store.UpdateSession(t.Context(), row.Fence(), func(s *gateway.Session) { s.JID, s.State = jid, gateway.SessionOnline }); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.store.ReleaseSessions(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	return b
}

// join starts another worker; leave stops it.
func (b *bench) join(name string) (leave func()) {
	b.t.Helper()
	sup := b.supervisor(name, func(d *session.Deps) {
		d.Lanes, d.OnChange = orderlyLanes{b.lanes, b, name}, nil
		d.LeaseTTL = 10 * time.Second // a worker that took the share of another one hands nothing over for that long
	})
	sup.Start(b.t.Context())
	leave = func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := sup.Stop(ctx); err != nil {
			b.t.Error(err)
		}
	}
	b.t.Cleanup(leave)
	return leave
}

// held counts the sessions that are online by owner, and how often sessions changed hands so far.
func (b *bench) held() (online map[string]int, moves int64) {
	b.t.Helper()
	tenants, err := b.store.Tenants(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	online = map[string]int{}
	for _, tenant := range tenants {
		s, err := b.store.Session(b.t.Context(), tenant.Key)
		if err != nil {
			b.t.Fatal(err)
		}
		if s.Owner != "" && s.State == gateway.SessionOnline && b.lanes.isOpen(tenant.Key) {
			online[s.Owner]++
		}
		moves += s.Epoch
	}
	return online, moves
}

// awaitShares waits until the workers named hold all n sessions online, evenly, and returns how often sessions changed hands so far.
func (b *bench) awaitShares(n int, workers ...string) (moves int64) {
	b.t.Helper()
	eventually(b.t, fmt.Sprint("even shares of ", workers), func() bool {
		var online map[string]int
		online, moves = b.held()
		sum, lowest, highest := 0, n, 0
		for _, worker := range workers {
			sum += online[worker]
			lowest, highest = min(lowest, online[worker]), max(highest, online[worker])
		}
		return sum == n && highest-lowest <= 1
	})
	return moves
}

// rests checks that no session changes hands for some looks.
func (b *bench) rests(moves int64) {
	b.t.Helper()
	<-time.After(15 * fast().Find)
	if _, now := b.held(); now != moves {
		b.t.Errorf("%d sessions changed hands although the shares were even", now-moves)
	}
}

func TestWorkersShareSessionsEvenly(t *testing.T) {
	t.Parallel()
	b := newCrowd(t, 7)
	b.join("one")
	alone := b.awaitShares(7, "one")
	leave := b.join("two")
	two := b.awaitShares(7, "one", "two")
	if two-alone > 7 { // three must; a lease may run out on a busy machine
		t.Errorf("%d sessions changed hands to share 7 between two", two-alone)
	}
	b.rests(two)
	b.join("three")
	three := b.awaitShares(7, "one", "two", "three")
	if three-two > 7 {
		t.Errorf("%d sessions changed hands to share 7 among three", three-two)
	}
	b.rests(three)
	leave()
	b.rests(b.awaitShares(7, "one", "three"))
}

func TestShareOfADeadWorkerIsTakenAndKept(t *testing.T) {
	t.Parallel()
	b := newCrowd(t, 4)
	// It counts as live, but takes nothing.
	if err := b.store.SeeWorker(t.Context(), gateway.Worker{ID: "ghost"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	b.join("one")
	b.rests(b.awaitShares(4, "one"))
}

func TestCommandIsNotLostInAHandOver(t *testing.T) {
	t.Parallel()
	b := newCrowd(t, 2)
	closing, goOn := make(chan struct{}, 16), make(chan struct{})
	b.join("one")
	b.awaitShares(2, "one")
	b.lanes.closed = func() {
		select {
		case closing <- struct{}{}:
		case <-goOn:
		}
		<-goOn
	}
	b.join("two")
	wait(t, "the hand-over", closing)
	tenants, err := b.store.Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range tenants {
		if err := b.store.AddCommand(t.Context(), gateway.Command{TenantKey: tenant.Key, Kind: gateway.CommandLogout}); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the logout of the session that stays", closing)
	close(goOn)
	eventually(t, "both logged out", func() bool {
		for _, tenant := range tenants {
			if s, err := b.store.Session(t.Context(), tenant.Key); err != nil || s.JID != "" {
				return false
			}
		}
		return true
	})
}
