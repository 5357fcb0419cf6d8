package queue

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

// Paces of asynq's servers.
const (
	// taskCheck is how often a server with nothing to do asks again; it bounds its shutdown too.
	taskCheck    = 200 * time.Millisecond
	taskCheckMax = time.Second
	// Each of these pauses grows by so much for every server that runs, so that all of them together ask Redis no more
	// than some hundred times a second however many tenants are busy.
	taskCheckShare    = 2 * time.Millisecond
	delayedCheckShare = 10 * time.Millisecond
	// abortAfter is asynq's shutdown timeout. A consumer shuts asynq down only when no handler runs any more, so all
	// that is left then is a task to be put back; the time lets a task that has just ended be marked as done.
	abortAfter = 250 * time.Millisecond
	retryAfter = time.Second // for what failed between asynq and us
)

// errBack ends the handling of a task that has gone back to the queue already; asynq does not look at it any more.
var errBack = errors.New("given back")

// retryLater makes asynq handle a task again at a time.
type retryLater struct{ at time.Time }

func (e *retryLater) Error() string { return "again at " + e.at.UTC().Format(time.RFC3339) }

// consumer is one life of a tenant's asynq server. A task that must keep its place is not returned to asynq
// but parked: it blocks until the server is shut down, which puts it back at the head of its queue.
type consumer struct {
	key    int64
	handle Handler
	opts   Options
	log    *slog.Logger
	peers  int                                         // servers that run, this one included
	lanes  []gateway.Priority                          // that it serves
	until  time.Time                                   // another lane may be served then; zero: none waits
	again  func(context.Context, gateway.Ticket) error // to the tail

	life   context.Context //nolint:containedctx // the life of the handlers
	cancel context.CancelFunc

	turn     chan struct{}     // held by the one handler that runs
	stopping chan struct{}     // closed: no handler begins any more
	over     chan struct{}     // closed: asynq is down, parked tasks may end
	gaveBack chan struct{}     // cap 1: the session went away
	ended    chan struct{}     // cap 1: a task was handled
	rest     chan gateway.Rest // cap 1: a lane is to rest
}

// ending is how the life of a consumer ended.
type ending struct {
	gaveBack bool
	rest     gateway.Rest
}

func newConsumer(ctx context.Context, key int64, h Handler, opts Options, peers int, lanes []gateway.Priority, until time.Time,
	again func(context.Context, gateway.Ticket) error,
) *consumer {
	c := &consumer{
		key: key, handle: h, opts: opts, log: opts.Log.With("tenantKey", key), peers: peers, lanes: lanes, until: until, again: again,
		turn:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		over:     make(chan struct{}),
		gaveBack: make(chan struct{}, 1),
		ended:    make(chan struct{}, 1),
		rest:     make(chan gateway.Rest, 1),
	}
	c.life, c.cancel = context.WithCancel(ctx)
	return c
}

// run consumes its lanes until closing is closed, a handler gives its ticket back or lets a lane rest, another lane may be served, or
// nothing is left to do.
func (c *consumer) run(client redis.UniversalClient, empty func(context.Context) bool, closing <-chan struct{}) (end ending) {
	defer c.cancel()
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		// One at a time: WhatsApp's client sends one message at a time anyway, and order is promised.
		Concurrency:              1,
		Queues:                   queueWeights(c.key, c.lanes),
		StrictPriority:           true,
		TaskCheckInterval:        min(taskCheck+time.Duration(c.peers)*taskCheckShare, taskCheckMax),
		DelayedTaskCheckInterval: c.opts.DelayedCheck + time.Duration(c.peers)*delayedCheckShare,
		ShutdownTimeout:          abortAfter,
		// Attempts are counted in SQL. asynq never counts one, and so never gives a ticket up.
		IsFailure:      func(error) bool { return false },
		RetryDelayFunc: retryDelay,
		Logger:         asynqLog{c.log},
		LogLevel:       asynq.WarnLevel,
	})
	if err := server.Start(c); err != nil {
		c.log.Error("a tenant's server did not start", "error", err)
		return ending{gaveBack: true}
	}
	// What the last handler says while everything stops counts too.
	defer func() {
		c.shutDown(server)
		select {
		case end.rest = <-c.rest:
		default:
		}
	}()

	idle := time.NewTimer(c.opts.IdleAfter)
	defer idle.Stop()
	var more <-chan time.Time
	if !c.until.IsZero() {
		timer := time.NewTimer(time.Until(c.until))
		defer timer.Stop()
		more = timer.C
	}
	for {
		select {
		case <-closing:
			return end
		case <-c.gaveBack:
			end.gaveBack = true
			return end
		case <-more:
			return end
		case end.rest = <-c.rest:
			return end
		case <-c.ended:
			idle.Reset(c.opts.IdleAfter)
		case <-idle.C:
			// Stopping is safe at any moment, and whoever stops looks once more afterwards: an answer that is
			// outdated at once does no harm.
			if len(c.turn) == 0 && empty(c.life) {
				return end
			}
			idle.Reset(c.opts.IdleAfter)
		}
	}
}

// shutDown ends the server in the order that keeps the promises: no new task, then the handler in hand, then asynq.
func (c *consumer) shutDown(server *asynq.Server) {
	close(c.stopping)
	server.Stop()
	if !c.takeTurn(c.opts.Grace) {
		c.cancel()
		if !c.takeTurn(c.opts.AbortGrace) {
			c.log.Warn("a handler ignores that its context was canceled; its ticket goes back while it runs")
		}
	}
	server.Shutdown()
	close(c.over)
}

func (c *consumer) takeTurn(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case c.turn <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// ProcessTask is asynq's way in. asynq's context is not handed on: it ends when Redis was away for long, which is no
// reason to give a send up. asynq then believes that the task is lost and may start the next one: the turn keeps
// that waiting.
func (c *consumer) ProcessTask(_ context.Context, task *asynq.Task) error {
	select {
	case c.turn <- struct{}{}:
	case <-c.stopping:
		return c.park()
	}
	select {
	case <-c.stopping:
		<-c.turn
		return c.park()
	default:
	}
	verdict, err := c.process(task)
	resting := verdict.Rest.For > 0
	if resting {
		select {
		case c.rest <- verdict.Rest:
		default: // the one before ends the run already, and the lane is asked again afterwards
		}
	}
	<-c.turn
	notify(c.ended)
	if verdict.Kind != gateway.VerdictGiveBack {
		return err
	}
	if !resting {
		notify(c.gaveBack)
	}
	return c.park()
}

func (c *consumer) park() error {
	<-c.over
	return errBack
}

func (c *consumer) process(task *asynq.Task) (verdict gateway.Verdict, err error) {
	var ticket gateway.Ticket
	if err := json.Unmarshal(task.Payload(), &ticket); err != nil || ticket.TenantKey != c.key {
		c.log.Error("dropped a ticket that cannot be read", "error", err)
		return verdict, nil
	}
	loop.Do(func() { verdict = c.call(ticket) }) // asynq begins a goroutine for each task
	switch verdict.Kind {
	case gateway.VerdictAgain:
		if err := c.again(c.life, ticket); err != nil {
			c.log.Warn("could not put a ticket to the tail, it comes back later", "error", err)
			return verdict, &retryLater{time.Now().Add(retryAfter)}
		}
	case gateway.VerdictRetry:
		return verdict, &retryLater{time.Now().Add(verdict.Delay)}
	case gateway.VerdictGiveBack, gateway.VerdictDone:
	}
	return verdict, nil
}

// call runs the handler and contains its panic: one tenant's must not end the others (I6).
func (c *consumer) call(ticket gateway.Ticket) (verdict gateway.Verdict) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("a handler panicked", "messageId", ticket.MessageID, "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
			verdict = gateway.Verdict{Kind: gateway.VerdictRetry, Delay: c.opts.PanicDelay}
		}
	}()
	return c.handle(c.life, ticket)
}

// retryDelay is the delay that ends at or after the wanted time although asynq cuts due times off to the second.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	at := time.Now().Add(retryAfter)
	if later, ok := errors.AsType[*retryLater](err); ok {
		at = later.at
	} else if errors.Is(err, asynq.ErrLeaseExpired) {
		return 0 // its process died or Redis was away: it has waited long enough
	}
	return time.Until(ceilSecond(at)) + time.Millisecond
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
