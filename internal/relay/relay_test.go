package relay_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/relay"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
	"github.com/wapro/hub/internal/testkit/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// queue is a queue that keeps every ticket once, as the real one does, and can be away.
type queue struct {
	mu      sync.Mutex
	away    bool
	tickets []gateway.Ticket
	delayed map[int64]int // tickets that wait for their time, by tenant
	calls   int           // of Enqueue, with at least one ticket
	added   chan struct{} // a signal after each call that added something
}

func newQueue() *queue { return &queue{delayed: map[int64]int{}, added: make(chan struct{}, 1000)} }

var errAway = errors.New("connection refused")

func (q *queue) Enqueue(_ context.Context, tickets ...gateway.Ticket) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	if q.away {
		return errAway
	}
	for _, t := range tickets {
		if !slices.Contains(q.tickets, t) {
			q.tickets = append(q.tickets, t)
		}
	}
	q.added <- struct{}{}
	return nil
}

func (q *queue) Pending(_ context.Context, tenantKey int64, lane gateway.Priority) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.away {
		return 0, errAway
	}
	n := q.delayed[tenantKey]
	for _, t := range q.tickets {
		if t.TenantKey == tenantKey && t.Lane == lane {
			n++
		}
	}
	return n, nil
}

// take removes and returns everything.
func (q *queue) take() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := []string{}
	for _, t := range q.tickets {
		ids = append(ids, t.MessageID)
	}
	q.tickets = nil
	return ids
}

func (q *queue) set(change func(*queue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q)
}

// world is a relay over a real store and ledger.
type world struct {
	*fakeclock.Clock
	*relay.Relay
	t      *testing.T
	store  *store.Store
	ledger *ledger.Ledger
	queue  *queue
	tenant gateway.Tenant
	fence  gateway.Fence
	made   int
}

func newWorld(t *testing.T, opts relay.Options) *world {
	t.Helper()
	w := &world{t: t, Clock: fakeclock.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), queue: newQueue()}
	var err error
	w.store, err = store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{Clock: w.Now})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.tenant, err = w.store.CreateTenant(t.Context(), "algo", "")
	must(t, err)
	w.ledger = ledger.New(w.store, w.Now)
	w.fence = w.acquire("me")
	opts.Instance, opts.Clock = "me", w.Now
	w.Relay, err = relay.New(w.store, w.ledger, w.queue, opts)
	must(t, err)
	return w
}

func (w *world) acquire(owner string) gateway.Fence {
	w.t.Helper()
	sessions, err := w.store.AcquireSessions(w.t.Context(), owner, time.Minute, 10)
	must(w.t, err)
	if len(sessions) == 0 {
		w.t.Fatalf("%s acquired nothing", owner)
	}
	return gateway.Fence{TenantKey: sessions[0].TenantKey, Owner: owner, Epoch: sessions[0].Epoch}
}

func (w *world) accept(lane gateway.Priority, n int) []string {
	w.t.Helper()
	var batch []*gateway.Message
	var ids []string
	for range n {
		w.made++
		m := &gateway.Message{
			ID: fmt.Sprintf("m%04d", w.made), TenantKey: w.tenant.Key, To: "4915550000001", Type: gateway.TypeText, Text: "hello",
			Priority: lane, WhatsAppID: fmt.Sprintf("3EB0%04d", w.made), Status: gateway.StatusQueued,
			CreatedAt: w.Now(), ExpiresAt: w.Now().Add(time.Hour),
		}
		batch, ids = append(batch, m), append(ids, m.ID)
	}
	must(w.t, w.store.Accept(w.t.Context(), batch, nil))
	return ids
}

func (w *world) claim(f gateway.Fence, id string) {
	w.t.Helper()
	m, err := w.ledger.Claim(w.t.Context(), f, gateway.Ticket{TenantKey: w.tenant.Key, MessageID: id}, f.Owner)
	must(w.t, err)
	if m == nil || m.ID != id {
		w.t.Fatalf("claimed %+v, want %s", m, id)
	}
}

func (w *world) record(id string, o gateway.Outcome) {
	w.t.Helper()
	_, err := w.ledger.Record(w.t.Context(), w.fence, id, o)
	must(w.t, err)
}

func (w *world) start() {
	w.t.Helper()
	must(w.t, w.Start(w.t.Context()))
	w.t.Cleanup(func() { must(w.t, w.Stop(context.WithoutCancel(w.t.Context()))) })
}

func (w *world) takeOver() {
	w.t.Helper()
	must(w.t, w.TakeOver(w.t.Context(), w.fence))
}

func (w *world) wantTickets(want ...string) {
	w.t.Helper()
	if got := w.queue.take(); !slices.Equal(got, want) {
		w.t.Fatalf("tickets %v, want %v", got, want)
	}
}

// eventually polls until condition holds.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(2 * time.Minute) // the race detector on a busy machine
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("never came: %s", what)
		}
	}
}

func (w *world) status(id string) gateway.Status {
	w.t.Helper()
	m, err := w.store.Message(w.t.Context(), w.tenant.Key, id)
	must(w.t, err)
	return m.Status
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEmptiedQueueIsFilledFromSQL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: 10 * time.Millisecond})
	bulk := w.accept(gateway.PriorityBulk, 3)
	high := w.accept(gateway.PriorityHigh, 2)
	normal := w.accept(gateway.PriorityNormal, 1)
	want := slices.Concat(high, normal, bulk) // lane by lane, oldest first
	w.start()
	for range 3 { // Redis is wiped again and again
		got := []string{}
		w.eventually("all tickets", func() bool {
			got = append(got, w.queue.take()...)
			return len(got) >= len(want)
		})
		slices.Sort(got)
		if unique := slices.Compact(got); len(unique) != len(want) {
			t.Fatalf("tickets %v, want %v", unique, want)
		}
	}
}

func TestLaneIsFilledUpToItsWindowOldestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Window: 5})
	ids := w.accept(gateway.PriorityBulk, 12)
	w.takeOver()
	w.takeOver() // the second time there is nothing to add
	if w.queue.calls != 1 {
		t.Fatalf("the queue was asked %d times", w.queue.calls)
	}
	w.wantTickets(ids[:5]...)
	w.claim(w.fence, ids[0])
	w.record(ids[0], gateway.Outcome{Kind: gateway.OutcomeSent})
	w.takeOver()
	w.wantTickets(ids[1:6]...)
}

func TestFullLaneIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: time.Millisecond})
	w.accept(gateway.PriorityNormal, 4)
	w.takeOver()
	before := w.queue.calls
	w.start()
	for range 10 { // each sweep looks; a probe may ask once in fifteen, for what is there already
		w.Wake()
	}
	w.eventually("a probe", func() bool {
		w.queue.mu.Lock()
		defer w.queue.mu.Unlock()
		return w.queue.calls > before
	})
	if n := len(w.queue.take()); n != 4 {
		t.Fatalf("4 messages have %d tickets", n)
	}
}

// 300 tickets of held messages must not pass for tickets of messages that could go out.
func TestHeldMessagesDoNotStarveTheirLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Window: 5})
	ids := w.accept(gateway.PriorityBulk, 12)
	for _, id := range ids[:6] {
		w.claim(w.fence, id)
		w.record(id, gateway.Outcome{Kind: gateway.OutcomeHold, RetryAt: w.Now().Add(time.Hour)})
	}
	w.queue.set(func(q *queue) { q.delayed[w.tenant.Key] = 6 })
	w.takeOver()
	w.wantTickets(ids[6:11]...)
}

func TestDueRetryWhoseTicketIsLostComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{})
	ids := w.accept(gateway.PriorityNormal, 3)
	w.claim(w.fence, ids[0])
	w.record(ids[0], gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: w.Now().Add(time.Minute)})
	w.claim(w.fence, ids[1])
	w.takeOver()
	w.wantTickets(ids[2]) // not due, and in hand
	w.Advance(time.Minute)
	w.takeOver()
	w.wantTickets(ids[0], ids[2])
}

func TestMessagesOfADeadProcessAreTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{})
	ids := w.accept(gateway.PriorityNormal, 4)
	for _, id := range ids[:2] {
		w.claim(w.fence, id)
	}
	must(t, w.store.ReleaseSessions(t.Context(), "me"))
	dead := w.acquire("dead")
	w.claim(dead, ids[2])
	must(t, w.store.ReleaseSessions(t.Context(), "dead"))
	w.fence = w.acquire("me")
	// The dead process's ticket is still counted by the queue; the message gets one all the same.
	w.queue.set(func(q *queue) { q.delayed[w.tenant.Key] = 50 })
	w.takeOver()
	w.wantTickets(ids[2])
	m, err := w.store.Message(t.Context(), w.tenant.Key, ids[2])
	must(t, err)
	if m.Deaths != 1 || !m.Uncertain || m.InFlight != "" {
		t.Fatalf("taken over as %+v", m)
	}
	for _, id := range ids[:2] { // our own are in hand
		m, err := w.store.Message(t.Context(), w.tenant.Key, id)
		must(t, err)
		if m.Deaths != 0 || m.InFlight != "me" {
			t.Fatalf("ours became %+v", m)
		}
	}
	w.claim(w.fence, ids[2]) // ahead of what is newer

	stale := w.fence
	stale.Epoch--
	if err := w.TakeOver(t.Context(), stale); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("took over without the lease: %v", err)
	}
}

func TestSweepTakesOverWhatTakeOverMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: time.Millisecond})
	id := w.accept(gateway.PriorityNormal, 1)[0]
	must(t, w.store.ReleaseSessions(t.Context(), "me"))
	w.claim(w.acquire("dead"), id)
	must(t, w.store.ReleaseSessions(t.Context(), "dead"))
	w.fence = w.acquire("me")
	w.start()
	w.eventually("the ticket", func() bool { return slices.Contains(w.queue.take(), id) })
}

func TestLateMessagesExpireWhoeverOwnsTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: time.Millisecond})
	ids := w.accept(gateway.PriorityNormal, 40)
	w.claim(w.fence, ids[0])
	must(t, w.store.ReleaseSessions(t.Context(), "me"))
	w.start()
	w.Advance(2 * time.Hour)
	w.eventually("expiry", func() bool {
		for _, id := range ids[1:] {
			if w.status(id) != gateway.StatusExpired {
				return false
			}
		}
		return true
	})
	if got := w.status(ids[0]); got != gateway.StatusSending {
		t.Fatalf("the message in hand became %s", got)
	}
}

func TestRelayOutlivesTheQueuesAbsence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: time.Millisecond})
	w.queue.set(func(q *queue) { q.away = true })
	ids := w.accept(gateway.PriorityNormal, 2)
	if err := w.TakeOver(t.Context(), w.fence); !errors.Is(err, errAway) {
		t.Fatalf("got %v", err)
	}
	w.start()
	w.Wake()
	w.queue.set(func(q *queue) { q.away = false })
	<-w.queue.added
	w.wantTickets(ids...)
}

func TestOnlyTenantsWhoseLeaseWeHoldAreServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: time.Millisecond})
	must(t, w.store.ReleaseSessions(t.Context(), "me"))
	w.acquire("other")
	w.accept(gateway.PriorityNormal, 3)
	mine, err := w.store.CreateTenant(t.Context(), "mine", "")
	must(t, err)
	w.tenant = mine
	w.fence = w.acquire("me")
	id := w.accept(gateway.PriorityNormal, 1)[0]
	w.start()
	<-w.queue.added
	w.wantTickets(id)
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	if _, err := relay.New(nil, nil, nil, relay.Options{}); err == nil {
		t.Fatal("made without the name of its instance")
	}
	w := newWorld(t, relay.Options{})
	must(t, w.Start(t.Context()))
	if err := w.Start(t.Context()); err == nil {
		t.Fatal("started twice")
	}
	must(t, w.Stop(t.Context()))
	must(t, w.Stop(t.Context()))
	if err := w.Start(t.Context()); err == nil {
		t.Fatal("started after the end")
	}
	w.Wake()

	never := newWorld(t, relay.Options{})
	must(t, never.Stop(t.Context()))
}

// A thousand tenants that are not paired, each with something that waits, kept the worker busy for a third of a core: their lanes were
// compared with SQL every two seconds, though nobody consumes them.
func TestTenantsWhoseLanesNobodyConsumesAreLookedAtSeldom(t *testing.T) {
	t.Parallel()
	const sweeps = 50
	var (
		w      *world
		asked  atomic.Int64
		looked atomic.Int64 // in the first sweeps: counted by the sweep after them, for others follow while a slow machine gets to the test
		online atomic.Bool
	)
	calls := func() (n int) {
		w.queue.set(func(q *queue) { n = q.calls })
		return n
	}
	w = newWorld(t, relay.Options{Interval: 2 * time.Millisecond, Online: func(int64) bool {
		if n := asked.Add(1); n == sweeps+1 {
			looked.Store(int64(calls()))
		} else if n <= sweeps || online.Load() {
			w.queue.take() // so that a look at the tenant shows in a ticket
		}
		return online.Load()
	}})
	w.accept(gateway.PriorityNormal, 1)
	w.start()
	w.eventually("so many sweeps", func() bool { return looked.Load() > 0 })
	if n := looked.Load(); n < sweeps/5 || n > sweeps/5+1 {
		t.Errorf("looked at %d times in %d sweeps", n, sweeps)
	}
	begun := calls()
	online.Store(true)
	w.eventually("each sweep looks", func() bool { return calls() > begun+10 })
}
