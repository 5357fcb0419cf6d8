// Package queue is the work list: tickets that say "look at this message now", as asynq tasks in Redis. It is the only
// importer of asynq. It promises order within a lane, strict priority between a tenant's lanes, one handler at a time per
// tenant, and that a tenant without due work costs nothing. It does not promise to keep a ticket: Redis may be wiped,
// SQL is the truth and the relay room gives back what was lost. A ticket may also be handled twice; the claim in SQL
// decides which handling counts.
package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

// Handler does what a ticket asks for. Its context is canceled only when its tenant is closed and the grace is over.
// It must not call Close or Stop, which wait for it.
type Handler func(context.Context, gateway.Ticket) gateway.Verdict

// Options tune a Queue. Zero fields mean the default.
type Options struct {
	Log *slog.Logger // default: discard

	// EnqueueTimeout bounds each call that touches Redis on a caller's behalf; default 1 s.
	EnqueueTimeout time.Duration
	// Grace is how long Close lets the handler in hand finish before it cancels its context; default 90 s, longer than
	// a send.
	Grace time.Duration
	// AbortGrace is how long a handler whose context was canceled may still take; default 5 s. Then its ticket goes back
	// while it may still be running.
	AbortGrace time.Duration
	// IdleAfter is how long a tenant's server stays up without work; default 100 ms.
	IdleAfter time.Duration
	// DelayedCheck is how often a running server looks for delayed tickets that are due, while few servers run;
	// default 500 ms.
	DelayedCheck time.Duration
	// GiveBackPause is how long a tenant rests after VerdictGiveBack if nobody closes or opens it; default 1 s.
	GiveBackPause time.Duration
	// PanicDelay is when a ticket whose handler panicked is handled again; default 5 s.
	PanicDelay time.Duration
	// SweepEvery is how often lost wake-up signals are looked for; default 5 s.
	SweepEvery time.Duration
	// FullLane is how many tickets that wait in a lane are enough, see Wanted; default 10,000. FullFor is how long that counts; default
	// 250 ms, in which no session sends thousands of messages.
	FullLane int
	FullFor  time.Duration
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FullLane <= 0 {
		o.FullLane = 10_000
	}
	for _, d := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{
		{&o.EnqueueTimeout, time.Second},
		{&o.Grace, 90 * time.Second},
		{&o.AbortGrace, 5 * time.Second},
		{&o.IdleAfter, 100 * time.Millisecond},
		{&o.DelayedCheck, 500 * time.Millisecond},
		{&o.GiveBackPause, time.Second},
		{&o.PanicDelay, 5 * time.Second},
		{&o.SweepEvery, 5 * time.Second},
		{&o.FullFor, 250 * time.Millisecond},
	} {
		if *d.field <= 0 {
			*d.field = d.fallback
		}
	}
	return o
}

// Queue hands tickets from whoever enqueues them to the process that opened their tenant. All methods may be called
// at any time and concurrently; tickets can be enqueued without Start.
type Queue struct {
	redis  redis.UniversalClient
	server redis.UniversalClient // what asynq's servers get: no connection of their own
	opts   Options
	log    *slog.Logger

	kick chan struct{} // cap 1: dirty is not empty

	fullMu sync.Mutex
	full   map[laneKey]time.Time // lanes that hold enough tickets, and until when that counts

	mu      sync.Mutex
	tenants map[int64]*tenant
	dirty   map[int64]struct{} // tenants to look at
	running int                // servers
	life    context.Context    //nolint:containedctx // the life of the loops and handlers; nil before Start
	end     context.CancelFunc
	stopped bool
	loops   sync.WaitGroup
	runs    sync.WaitGroup
}

// tenant is a tenant that was opened here, or whose run has not ended yet. The fields are guarded by Queue.mu.
type tenant struct {
	key       int64
	handle    Handler       // nil: closed
	busy      bool          // looked at or consumed right now; at most one goroutine does either
	woken     bool          // something came while busy
	notBefore time.Time     // resting after a give-back
	rests     rests         // lanes that rest
	lastRun   time.Time     // end of the last run
	timer     *time.Timer   // wakes it when a delayed ticket is due
	closing   chan struct{} // closed to end the present run; nil when there is none
	ended     chan struct{} // closed when the present run has ended
}

// New makes a Queue on client, which stays the caller's to close, after Stop.
func New(client redis.UniversalClient, opts Options) *Queue {
	opts = opts.withDefaults()
	return &Queue{
		redis:   client,
		server:  newServerClient(client),
		opts:    opts,
		log:     opts.Log,
		kick:    make(chan struct{}, 1),
		full:    make(map[laneKey]time.Time),
		tenants: make(map[int64]*tenant),
		dirty:   make(map[int64]struct{}),
	}
}

// Start begins to consume what is open. It needs no reachable Redis. Of ctx only the values are used: Stop is what
// ends a Queue, because a handler in hand must be able to finish. Starting twice is an error.
func (q *Queue) Start(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.life != nil || q.stopped {
		return fmt.Errorf("start the queue: it was started before")
	}
	q.life, q.end = context.WithCancel(context.WithoutCancel(ctx))
	q.loops.Go(func() { q.watch(q.life) })
	q.loops.Go(func() { q.listen(q.life) })
	return nil
}

// Stop closes every tenant as Close does, all at once, and ends the loops. Afterwards nothing is consumed any more;
// tickets can still be enqueued. It returns ctx's error when handlers are still running at its end. It may be called
// more than once.
func (q *Queue) Stop(ctx context.Context) error {
	q.mu.Lock()
	q.stopped = true
	for _, t := range q.tenants {
		q.closeLocked(t)
	}
	end := q.end
	q.mu.Unlock()

	err := waitFor(ctx, &q.runs)
	if end != nil {
		end()
	}
	if err == nil {
		err = waitFor(ctx, &q.loops)
	}
	if err != nil {
		return fmt.Errorf("stop the queue: %w", err)
	}
	return nil
}

// waitFor waits for wg or the end of ctx, whichever comes first.
func waitFor(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ping tells whether Redis answers.
func (q *Queue) Ping(ctx context.Context) error {
	return bounded(ctx, q.opts.EnqueueTimeout, "ping redis", func(ctx context.Context) error {
		return q.redis.Ping(ctx).Err()
	})
}

// Open lets the tenant's tickets be consumed from now on: a server starts when there is work and stops when there is
// none. Opening an open tenant replaces its handler once the one in hand has finished.
func (q *Queue) Open(tenantKey int64, h Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	t := q.tenants[tenantKey]
	if t == nil {
		t = &tenant{key: tenantKey}
		q.tenants[tenantKey] = t
	}
	q.endRunLocked(t)
	t.handle, t.notBefore, t.lastRun, t.rests = h, time.Time{}, time.Time{}, rests{}
	q.markLocked(t)
}

// Close ends the consuming of the tenant's tickets. It waits for the handler in hand, Options.Grace and AbortGrace at
// most; a ticket that was not used up is back in its place when Close returns. Closing what is not open does nothing.
func (q *Queue) Close(tenantKey int64) {
	q.mu.Lock()
	t := q.tenants[tenantKey]
	if t == nil {
		q.mu.Unlock()
		return
	}
	ended := t.ended
	q.closeLocked(t)
	q.mu.Unlock()
	if ended == nil {
		return
	}
	// The margin is for asynq's own shutdown, which may wait for Redis.
	limit := time.NewTimer(q.opts.Grace + q.opts.AbortGrace + 5*time.Second)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
		q.log.Warn("a tenant's queue did not stop in time", "tenantKey", tenantKey)
	}
}

func (q *Queue) closeLocked(t *tenant) {
	t.handle = nil
	if t.timer != nil {
		t.timer.Stop()
	}
	q.endRunLocked(t)
	q.forgetLocked(t)
}

func (q *Queue) endRunLocked(t *tenant) {
	if t.closing != nil {
		close(t.closing)
		t.closing = nil
	}
}

// forgetLocked drops a closed tenant unless someone still works on it.
func (q *Queue) forgetLocked(t *tenant) {
	if t.handle == nil && !t.busy {
		delete(q.tenants, t.key)
	}
}

// bounded runs f with a deadline that holds even when the Redis client does not honour its context while it dials.
// When it returns early, f ends by itself within the client's own timeouts.
func bounded(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- f(ctx) }()
	select {
	case err := <-result:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
}
