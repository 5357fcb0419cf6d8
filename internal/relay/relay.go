// Package relay keeps the queue honest to SQL: it gives lanes the tickets they lost or never got, takes messages from
// processes that died with them in hand, and ends what is too late. It imports the domain and the loop alone and declares what it
// needs. Everything it does may be done twice, by two processes, or again after a crash: SQL decides what counts.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

// Store says what there is to do.
type Store interface {
	// TenantsWithWork lists, under the leases that owner holds, the tenants with unfinished messages.
	TenantsWithWork(ctx context.Context, owner string) ([]gateway.Fence, error)
	// Unfinished lists at most limit tickets of what could be claimed now, due retries first, then the oldest.
	Unfinished(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) ([]gateway.Ticket, error)
	// Postponed counts, up to limit, the messages whose next attempt is still to come.
	Postponed(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) (int, error)
	// Expirable lists messages that wait although they are too late.
	Expirable(ctx context.Context, now time.Time, limit int) ([]gateway.Message, error)
	// InFlightElsewhere lists messages of the fence's tenant in the hands of another process than instance.
	InFlightElsewhere(ctx context.Context, f gateway.Fence, instance string, limit int) ([]gateway.Message, error)
}

// Ledger changes statuses; repeating a call changes nothing.
type Ledger interface {
	Abandon(ctx context.Context, f gateway.Fence, id, instance string) (gateway.Message, error)
	Expire(ctx context.Context, tenantKey int64, id string) error
	// Release queues scheduled messages whose time has come and returns their tickets.
	Release(ctx context.Context, limit int) ([]gateway.Ticket, error)
	// Reconsider makes up to limit messages of a tenant due that are held until later and returns their tickets.
	Reconsider(ctx context.Context, f gateway.Fence, limit int) ([]gateway.Ticket, error)
}

// Queue holds tickets. A ticket that waits already may be enqueued again without effect; one that waits for a time to come is due then.
type Queue interface {
	Enqueue(ctx context.Context, tickets ...gateway.Ticket) error
	// Pending counts the tickets of a lane in every state, delayed ones included.
	Pending(ctx context.Context, tenantKey int64, lane gateway.Priority) (int, error)
}

// Options are the choices of New; zero fields get the default.
type Options struct {
	Instance string        // this process, as it owns leases; required
	Interval time.Duration // between sweeps, 2 s
	Window   int           // tickets that a lane is filled up to, 300
	Bulks    Bulks         // nil: there are none
	// Online tells whether a tenant's lanes are consumed here; nil: those of every tenant are.
	Online func(tenantKey int64) bool
	Clock  func() time.Time // time.Now
	Log    *slog.Logger     // default: nothing is logged
}

const (
	sweepLimit   = 30 * time.Second       // of one sweep; the next one goes on
	expireLimit  = 500                    // messages ended in one sweep
	parallel     = 16                     // changes under way at the same time: they share commits
	probeEvery   = 15                     // sweeps between two probes of a lane that looks full
	probeTickets = 16                     // of one probe
	feedAfter    = 250 * time.Millisecond // between two feedings of a lane that empties fast
	// Sweeps between two looks at a tenant whose lanes nobody consumes. They are filled before they are consumed again (TakeOver); what is
	// looked for until then is what that left undone, and bulks that end meanwhile.
	offlineEvery = 5
)

// Relay is the loop. Its methods may be called from any goroutine.
type Relay struct {
	store  Store
	ledger Ledger
	queue  Queue
	opts   Options
	wake   chan struct{}
	hungry []gateway.Fence // tenants whose lanes empty faster than sweeps come; of the loop alone

	loop loop.Loop

	mu   sync.Mutex
	held map[int64]*gateway.Fence // tenants whose held messages are to be looked at anew, see Reconsider
}

// New makes a Relay that does nothing before Start.
func New(store Store, ledger Ledger, queue Queue, opts Options) (*Relay, error) {
	if opts.Instance == "" {
		return nil, errors.New("relay: Options.Instance is required")
	}
	if opts.Interval <= 0 {
		opts.Interval = 2 * time.Second
	}
	if opts.Window <= 0 {
		opts.Window = 300
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Relay{store: store, ledger: ledger, queue: queue, opts: opts, wake: make(chan struct{}, 1), held: map[int64]*gateway.Fence{}}, nil
}

// Start sweeps at once and then every Interval, until Stop. Of ctx only the values are used. Starting twice, or after
// Stop, is an error.
func (r *Relay) Start(ctx context.Context) error { return r.loop.Start(ctx, "the relay", r.run) }

// Stop ends the loop, in the middle of a sweep if need be, and waits for it until ctx ends. It may be called more
// than once, and without Start.
func (r *Relay) Stop(ctx context.Context) error {
	if err := r.loop.Stop(ctx); err != nil {
		return fmt.Errorf("stop the relay: %w", err)
	}
	return nil
}

// Wake asks for a sweep soon. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // one is asked for already
	}
}

// TakeOver does at once, for a tenant whose lease f was just acquired, what a sweep would do: it takes the messages
// that a dead process had in hand and fills the lanes. Called before the lanes are consumed it keeps their order. An
// error is no reason not to go on: the next sweep repairs what it left.
func (r *Relay) TakeOver(ctx context.Context, f gateway.Fence) error {
	if err := r.takeFromTheDead(ctx, f); err != nil {
		return err
	}
	_, err := r.feed(ctx, f)
	return errors.Join(err, r.refill(ctx, f, false))
}

func (r *Relay) run(ctx context.Context) {
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	for n := int64(0); ; n++ {
		if err := r.sweep(ctx, n); err != nil && ctx.Err() == nil {
			r.opts.Log.WarnContext(ctx, "the relay could not finish its sweep, the next one goes on", "error", err)
		}
		if !r.wait(ctx, tick.C) {
			return
		}
	}
}

// wait returns when it is time for the next sweep, false when the loop has to end. Meanwhile it feeds lanes that empty fast.
func (r *Relay) wait(ctx context.Context, sweep <-chan time.Time) bool {
	for {
		var feed <-chan time.Time
		if len(r.hungry) > 0 {
			feed = time.After(feedAfter)
		}
		select {
		case <-sweep:
			return true
		case <-r.wake:
			return true
		case <-feed:
			r.hungry = r.feedAgain(ctx, r.hungry)
		case <-ctx.Done():
			return false
		}
	}
}

// sweep does everything once. What fails for one tenant does not keep the others from their turn, except when the
// queue itself is away: then every further tenant would wait for it in vain.
func (r *Relay) sweep(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	problems := []error{r.release(ctx), r.expire(ctx), r.reconsider(ctx), r.tidy(ctx)}
	r.hungry = r.hungry[:0]
	tenants, err := r.store.TenantsWithWork(ctx, r.opts.Instance)
	if err != nil {
		return errors.Join(append(problems, err)...)
	}
	for _, f := range tenants {
		if r.opts.Online != nil && !r.opts.Online(f.TenantKey) && n%offlineEvery != f.TenantKey%offlineEvery {
			continue
		}
		err := r.takeFromTheDead(ctx, f)
		if err == nil {
			more, problem := r.feed(ctx, f)
			if more {
				r.hungry = append(r.hungry, f)
			}
			err = errors.Join(problem, r.refill(ctx, f, n%probeEvery == f.TenantKey%probeEvery))
		}
		if err != nil && !errors.Is(err, gateway.ErrFenced) {
			problems = append(problems, err)
		}
		if errors.Is(err, errQueue) || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(problems...)
}

// takeFromTheDead abandons what other processes had in hand of a tenant that is ours now, and gives each a ticket: the
// one it had may lie with the dead process, where the queue counts it for another minute.
func (r *Relay) takeFromTheDead(ctx context.Context, f gateway.Fence) error {
	messages, err := r.store.InFlightElsewhere(ctx, f, r.opts.Instance, r.opts.Window)
	if err != nil {
		return err
	}
	var tickets []gateway.Ticket
	for _, m := range messages {
		after, err := r.ledger.Abandon(ctx, f, m.ID, r.opts.Instance)
		if err != nil {
			return err
		}
		if !after.Status.Final() {
			tickets = append(tickets, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
		}
		r.opts.Log.InfoContext(ctx, "took over a message from a process that ended",
			"tenant", m.TenantID, "message", m.ID, "process", m.InFlight, "status", after.Status, "deaths", after.Deaths)
	}
	if len(tickets) == 0 {
		return nil
	}
	if err := r.queue.Enqueue(ctx, tickets...); err != nil {
		return fmt.Errorf("%w: %w", errQueue, err)
	}
	return nil
}

// errQueue marks a failure of the queue.
var errQueue = errors.New("the queue does not answer")

// refill gives each lane that holds fewer tickets than it has work, counted up to the window, tickets for its oldest
// work. Those that wait in the queue already are not doubled by it, so a lane never holds many more tickets than the
// window plus its delayed ones.
func (r *Relay) refill(ctx context.Context, f gateway.Fence, probe bool) error {
	for _, lane := range gateway.Priorities() {
		// The count of tickets comes first: what is finished in between is then missing from the tickets as well, and
		// at worst a lane looks fuller than it is until the next sweep.
		pending, err := r.queue.Pending(ctx, f.TenantKey, lane)
		if err != nil {
			return fmt.Errorf("%w: %w", errQueue, err)
		}
		tickets, err := r.store.Unfinished(ctx, f.TenantKey, lane, r.opts.Window)
		if err != nil {
			return err
		}
		full, err := r.full(ctx, f.TenantKey, lane, pending, len(tickets))
		if err != nil {
			return err
		}
		if full {
			if !probe {
				continue
			}
			// Many tickets of other messages can hide that a due retry has none.
			tickets = tickets[:min(len(tickets), probeTickets)]
		}
		if len(tickets) == 0 {
			continue
		}
		if err := r.queue.Enqueue(ctx, tickets...); err != nil {
			return fmt.Errorf("%w: %w", errQueue, err)
		}
	}
	return nil
}

// full tells whether the tickets of a lane suffice for its work. Tickets of messages that are held or back off are
// among the pending ones, and must not pass for those of messages that could go out now.
func (r *Relay) full(ctx context.Context, tenantKey int64, lane gateway.Priority, pending, work int) (bool, error) {
	if pending < work {
		return false, nil
	}
	if work == 0 {
		return true, nil
	}
	limit := 10 * r.opts.Window
	postponed, err := r.store.Postponed(ctx, tenantKey, lane, limit)
	if err != nil {
		return false, err
	}
	return postponed < limit && pending-postponed >= work, nil
}

// expire ends what is too late, of every tenant: also of those whose session nobody owns.
func (r *Relay) expire(ctx context.Context) error {
	late, err := r.store.Expirable(ctx, r.opts.Clock(), expireLimit)
	if err != nil {
		return err
	}
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		problems []error
		slots    = make(chan struct{}, parallel)
	)
	for _, m := range late {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.ledger.Expire(ctx, m.TenantKey, m.ID); err != nil && !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(problems...)
}
