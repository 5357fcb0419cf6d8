package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

const (
	webhookTask = "webhook"
	// The lanes of webhooks, each with a server of its own: those that keep failing, and so take long, hold no place that another could use.
	webhookLane, failingLane = "webhooks", "webhooks:failing"
	// webhookBucket is for how long a ticket keeps others of the same webhook out; after a kill its id would stay taken for a minute.
	webhookBucket = 5 * time.Second
)

// WebhookOptions tune Webhooks. Zero fields mean the default.
type WebhookOptions struct {
	Log            *slog.Logger  // default: discard
	Concurrency    int           // webhooks that are delivered to at a time, of each lane; default 64
	EnqueueTimeout time.Duration // default 1 s
	IdleAfter      time.Duration // how long a lane's server stays up without work; default 5 s
	Grace          time.Duration // how long Stop lets handlers finish; default 3 s
}

// Webhooks hands tickets that name a webhook to the workers: look what there is to deliver to it now. It promises nothing but that a ticket that is
// added while Redis stays up is handled at least once; what there is to deliver is SQL's, which is swept. A worker without work costs Redis nothing.
type Webhooks struct {
	client *asynq.Client
	redis  redis.UniversalClient // for servers
	opts   WebhookOptions

	mu      sync.Mutex
	handle  func(ctx context.Context, id string) // nil: not started
	stopped bool
	life    context.Context //nolint:containedctx // of the handlers
	end     context.CancelFunc
	lanes   map[string]*webhookServer
	loops   sync.WaitGroup
}

// webhookServer is a lane as this process serves it.
type webhookServer struct {
	kick chan struct{}  // cap 1: there may be work
	runs sync.WaitGroup // handlers
	mu   sync.Mutex
	busy int
}

// NewWebhooks makes Webhooks on client, which stays the caller's to close, after Stop.
func NewWebhooks(client redis.UniversalClient, opts WebhookOptions) *Webhooks {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = 64
	}
	if opts.EnqueueTimeout <= 0 {
		opts.EnqueueTimeout = time.Second
	}
	if opts.IdleAfter <= 0 {
		opts.IdleAfter = 5 * time.Second
	}
	if opts.Grace <= 0 {
		opts.Grace = 3 * time.Second
	}
	return &Webhooks{client: asynq.NewClientFromRedisClient(client), redis: newServerClient(client), opts: opts}
}

// Start handles tickets with handle, whose context ends with Stop. Of ctx only the values are used. Starting twice is an error.
func (w *Webhooks) Start(ctx context.Context, handle func(ctx context.Context, id string)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.handle != nil || w.stopped {
		return errors.New("start the webhooks: they were started before")
	}
	w.handle = handle
	w.life, w.end = context.WithCancel(context.WithoutCancel(ctx))
	w.lanes = map[string]*webhookServer{}
	for _, lane := range []string{webhookLane, failingLane} {
		s := &webhookServer{kick: make(chan struct{}, 1)}
		w.lanes[lane] = s
		w.loops.Go(func() { w.serve(w.life, lane, s) })
	}
	return nil
}

// Stop begins no handler any more, ends the context of those that run and waits for them until ctx ends. It may be called more than once, and
// without Start.
func (w *Webhooks) Stop(ctx context.Context) error {
	w.mu.Lock()
	w.stopped = true
	if w.end != nil {
		w.end()
	}
	w.mu.Unlock()
	if err := waitFor(ctx, &w.loops); err != nil {
		return fmt.Errorf("stop the webhooks: %w", err)
	}
	return nil
}

// Add adds a ticket for each webhook, unless it has one, and has them served here too. When it fails some may have been added.
func (w *Webhooks) Add(ctx context.Context, due []gateway.DueWebhook) error {
	for _, d := range due {
		lane := webhookLane
		if d.Failing {
			lane = failingLane
		}
		id := d.ID + "@" + strconv.FormatInt(time.Now().UnixNano()/int64(webhookBucket), 36)
		err := bounded(ctx, w.opts.EnqueueTimeout, "enqueue a webhook", func(ctx context.Context) error {
			_, err := w.client.EnqueueContext(ctx, asynq.NewTask(webhookTask, []byte(d.ID)),
				asynq.Queue(lane), asynq.TaskID(id), asynq.MaxRetry(3), asynq.Timeout(taskTimeout))
			if errors.Is(err, asynq.ErrTaskIDConflict) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		w.mu.Lock()
		if s := w.lanes[lane]; s != nil {
			notify(s.kick)
		}
		w.mu.Unlock()
	}
	return nil
}

// serve runs a server while there is work.
func (w *Webhooks) serve(ctx context.Context, lane string, s *webhookServer) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
			w.serveOnce(ctx, lane, s)
		}
	}
}

func (w *Webhooks) serveOnce(ctx context.Context, lane string, s *webhookServer) {
	server := asynq.NewServerFromRedisClient(w.redis, asynq.Config{
		Concurrency: w.opts.Concurrency, Queues: map[string]int{lane: 1}, TaskCheckInterval: taskCheck, ShutdownTimeout: abortAfter,
		IsFailure: func(error) bool { return false }, RetryDelayFunc: retryDelay, Logger: asynqLog{w.opts.Log}, LogLevel: asynq.WarnLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error { // asynq's context ends when Redis was away
		s.runs.Add(1)
		s.count(1)
		defer s.runs.Done()
		defer s.count(-1)
		w.run(ctx, string(task.Payload()))
		return nil // what is left to do is found in SQL
	}))
	if err != nil {
		w.opts.Log.Error("the server of webhooks did not start", "lane", lane, "error", err)
		return
	}
	defer func() {
		server.Stop()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.opts.Grace)
		defer cancel()
		if err := waitFor(grace, &s.runs); err != nil {
			w.opts.Log.Warn("deliveries to webhooks take long to stop", "lane", lane)
		}
		server.Shutdown()
	}()
	idle := time.NewTicker(w.opts.IdleAfter)
	defer idle.Stop()
	for worked := true; ; {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
			worked = true
		case <-idle.C:
			if !worked && s.count(0) == 0 {
				return
			}
			worked = false
		}
	}
}

func (s *webhookServer) count(d int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy += d
	return s.busy
}

// run contains a panic: it is one webhook's.
func (w *Webhooks) run(ctx context.Context, id string) {
	defer func() {
		if p := recover(); p != nil {
			w.opts.Log.ErrorContext(ctx, "panic while delivering to a webhook", "webhook", id, "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
		}
	}()
	if ctx.Err() == nil {
		w.handle(ctx, id)
	}
}
