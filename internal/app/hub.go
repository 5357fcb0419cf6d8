package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/backlog"
	"github.com/wapro/hub/internal/bulk"
	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/media"
	"github.com/wapro/hub/internal/metrics"
	"github.com/wapro/hub/internal/queue"
	"github.com/wapro/hub/internal/queue/embedded"
	"github.com/wapro/hub/internal/secret"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/wa"
	"github.com/wapro/hub/internal/wasim"
)

// Options are what is not a setting: where to write, and the paces that tests shorten.
type Options struct {
	Log    *slog.Logger
	Stdout io.Writer // what a person asked for
	Stderr io.Writer // secrets that are shown once, outside the log

	AckTimeout  time.Duration // wait for one acknowledgement; 0: the default of the wa room
	SendTimeout time.Duration // of one send; 0: the default of the wa room
	Reconnect   time.Duration // base of the backoff between connections; 0: the default of the session room
	RetryBase   time.Duration // first backoff; 0: dispatch's default
	FullLane    int           // tickets of a lane that are enough, and
	FullFor     time.Duration // how long that counts; 0: the defaults of the queue room
	KeyLock     time.Duration // of an Idempotency-Key whose request did not settle it; 0: the default of the httpapi room
	PairTimings wa.PairTimings

	Database func(Database) Database // put between the rooms and the store; nil: nothing
	Tickets  func(Tickets) Tickets   // likewise the queue
}

// Hub is one running process of the hub: the API, the worker, or both.
type Hub struct {
	cfg      config.Config
	opts     Options
	log      *slog.Logger
	names    *tenantNames // for log
	metrics  *metrics.Metrics
	instance string // names this process as an owner of leases

	store     *store.Store
	database  Database    // what the rooms see of store
	secrets   *secret.Box // nil: there is no master key
	egress    *egress.Guard
	backlog   *backlog.Limit
	blobs     *media.Store
	redis     redis.UniversalClient
	queue     *queue.Queue
	tickets   Tickets // what the rooms see of queue
	ledger    *ledger.Ledger
	bulks     *bulk.Service
	worker    *worker       // nil in an API that has REDIS_URL
	simulator *wasim.Server // in the sandbox only

	sandboxKeys sandboxKeys

	httpAddr, opsAddr net.Addr

	background context.Context //nolint:containedctx // the life of the hub itself; ended by Stop
	cancel     context.CancelFunc
	tasks      sync.WaitGroup
	failed     chan error
	stops      []stop // run last to first
	stopOnce   sync.Once
	stopErr    error
}

// stop is one step of an ordered stop, with its own time, so that no step can use up another's.
type stop struct {
	name   string
	within time.Duration
	run    func(context.Context) error
}

// The times of an ordered stop. The send in hand gets the most; together they stay below stopTimeout.
const (
	requestsStop = 10 * time.Second // then slow clients are cut off
	sendGrace    = 45 * time.Second // then the send in hand is given up, as after a kill
	sessionsStop = sendGrace + 10*time.Second
	briefStop    = 3 * time.Second
)

// Start builds a process of the hub and starts it. When it fails, what was started is stopped again.
func Start(ctx context.Context, process config.Process, cfg config.Config, opts Options) (_ *Hub, err error) {
	counters := metrics.New()
	names := &tenantNames{}
	log := countPanics(slog.New(tenantLog{opts.Log.Handler(), names}), counters.Panicked)
	h := &Hub{cfg: cfg, opts: opts, log: log, names: names, metrics: counters, instance: uuid.NewString(), failed: make(chan error, 8)}
	h.egress = egress.New(*cfg.EgressAllowPrivate)
	h.background, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Stop(context.WithoutCancel(ctx)))
		}
	}()
	h.log.Info("starting", "process", string(process), "settings", cfg)
	for _, name := range cfg.WeakKeys() {
		h.log.Warn("this key can be guessed: use 32 random characters", "setting", name)
	}

	api := process == config.ProcessAPI
	for _, step := range []struct {
		name   string
		wanted bool
		run    func(context.Context) error
	}{
		{"lock the data folder", true, h.lockData},
		{"open the database", true, h.openStore},
		{"open the secrets", true, h.openSecrets},
		{"open the blob store", true, h.openBlobs},
		{"open the queue", true, h.openQueue},
		{"open the bulk sends", true, h.openBulks},
		{"create the sandbox's keys", cfg.Sandbox, h.createSandboxKeys},
		{"start the simulator", cfg.Sandbox, h.startSimulator},
		{"create the first keys", api, func(ctx context.Context) error { return h.store.Exclusive(ctx, h.bootstrap) }},
		{"start the webhooks", !api || cfg.Embedded(), h.startWebhooks},
		{"start the worker", !api || cfg.Embedded(), h.startWorker},
		{"start the retention", !api || cfg.Embedded(), h.startRetention},
		{"seal secrets anew", (!api || cfg.Embedded()) && cfg.MasterKeyPrevious != "", h.startResealing},
		{"listen for operations", true, h.serveOps},
		{"listen for requests", api, h.serveAPI},
		{"prepare the sandbox", cfg.Sandbox, h.prepareSandbox},
	} {
		if !step.wanted {
			continue
		}
		if err := step.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return h, nil
}

// Addr is where the API listens.
func (h *Hub) Addr() net.Addr { return h.httpAddr }

// OpsAddr is where the private listener listens.
func (h *Hub) OpsAddr() net.Addr { return h.opsAddr }

// Failed tells of a part that cannot go on, after which the process should stop.
func (h *Hub) Failed() <-chan error { return h.failed }

// Stop stops every part in order (I8): first what lets work in, then what does it, then what it needs. It may be
// called more than once and returns the first call's result.
func (h *Hub) Stop(ctx context.Context) error {
	h.stopOnce.Do(func() {
		h.cancel()
		var errs []error
		for i := len(h.stops) - 1; i >= 0; i-- {
			stepCtx, cancel := context.WithTimeout(ctx, h.stops[i].within)
			if err := h.stops[i].run(stepCtx); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", h.stops[i].name, err))
			}
			cancel()
		}
		h.tasks.Wait()
		h.stopErr = errors.Join(errs...)
	})
	return h.stopErr
}

func (h *Hub) onStop(name string, within time.Duration, run func(context.Context) error) {
	h.stops = append(h.stops, stop{name, within, run})
}

// goes runs task beside the hub until it returns or the hub stops; an error of its own ends the hub.
func (h *Hub) goes(name string, task func(context.Context) error) {
	h.tasks.Go(func() {
		if err := task(h.background); err != nil && h.background.Err() == nil {
			h.failed <- fmt.Errorf("%s: %w", name, err)
		}
	})
}

func (h *Hub) openStore(ctx context.Context) error {
	st, err := store.Open(ctx, h.cfg.DatabaseURL, store.Options{Log: h.log})
	if err != nil {
		return err
	}
	h.store = st
	h.names.lookup = func(ctx context.Context, key int64) (string, error) {
		session, err := st.Session(ctx, key) // each tenant has one
		return session.TenantID, err
	}
	h.onStop("database", briefStop, func(context.Context) error { return st.Close() })
	h.database = meteredDatabase{between[Database](st, h.opts.Database), h.metrics}
	h.backlog = backlog.New(h.database, h.cfg.QueueLimit, time.Now)
	h.ledger = ledger.New(h.database, time.Now)
	if err := st.StampMode(ctx, string(h.cfg.Mode())); err != nil {
		return err
	}
	if h.cfg.Embedded() && h.cfg.SQLite() {
		return st.ReleaseAllSessions(ctx) // the lock says that nobody else is there
	}
	return nil
}

func (h *Hub) openBlobs(context.Context) error {
	blobs, err := media.Open(h.cfg.BlobDir(), h.cfg.MediaInflightBytes, h.store)
	h.blobs = blobs
	return err
}

// redisBuffer is what a connection to Redis reads and writes at once, in bytes.
const redisBuffer = 8 << 10

func (h *Hub) openQueue(ctx context.Context) error {
	var disconnect func() error
	if h.cfg.Embedded() {
		client, stopRedis, err := embedded.Start()
		if err != nil {
			return err
		}
		h.redis, disconnect = client, func() error { stopRedis(); return nil }
	} else {
		options, err := redis.ParseURL(h.cfg.RedisURL)
		if err != nil {
			return fmt.Errorf("read REDIS_URL: %w", err)
		}
		// A ticket has a few hundred bytes; by default each connection would hold 64 KiB, and each for pipelines four times that.
		options.ReadBufferSize, options.WriteBufferSize = redisBuffer, redisBuffer
		options.PipelineReadBufferSize, options.PipelineWriteBufferSize = 4*redisBuffer, 4*redisBuffer
		client := redis.NewClient(options)
		h.redis, disconnect = client, client.Close
	}
	h.onStop("redis", briefStop, func(context.Context) error { return disconnect() })
	h.queue = queue.New(h.redis, queue.Options{Log: h.log, Grace: sendGrace, FullLane: h.opts.FullLane, FullFor: h.opts.FullFor})
	h.tickets = between[Tickets](h.queue, h.opts.Tickets)
	if err := h.queue.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	h.onStop("queue", briefStop, h.queue.Stop)
	return nil
}

// checkURL tells what is wrong with a URL that somebody wants the hub to call.
func (h *Hub) checkURL(raw string) error {
	_, err := h.egress.Check(raw)
	return err
}

func (h *Hub) openBulks(context.Context) error {
	h.bulks = bulk.New(bulk.Deps{
		Store: meteredBulks{h.store, h.metrics}, Ledger: h.ledger, Media: h.blobs, ParseRecipient: intake.ParseRecipient, CheckURL: h.checkURL, Admit: h.backlog.Admit, Log: h.log, Dir: h.blobs.Scratch(),
		Wake: func() {
			if h.worker != nil { // else the worker finds it with its next sweep
				h.worker.relay.Wake()
			}
		},
	})
	return nil
}

// listen serves on addr until the hub stops; stop lets the requests in hand finish and cuts off those that do not.
func (h *Hub) listen(ctx context.Context, name, addr string, serve func(net.Listener) error, stop func(context.Context) error) (net.Addr, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	h.goes(name, func(context.Context) error {
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	h.onStop(name, requestsStop, func(ctx context.Context) error {
		err := stop(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			h.log.Warn("requests that did not end in time were cut off", "name", name)
			return nil
		}
		return err
	})
	h.log.Info("listening", "name", name, "addr", listener.Addr().String())
	return listener.Addr(), nil
}

func (h *Hub) serveOps(ctx context.Context) (err error) {
	h.watch()
	server := &http.Server{Handler: opsHandler(h.probes(), h.metrics.Handler()), ReadHeaderTimeout: 5 * time.Second}
	h.opsAddr, err = h.listen(ctx, "operations", h.cfg.OpsAddr, server.Serve, func(ctx context.Context) error {
		return errors.Join(server.Shutdown(ctx), server.Close())
	})
	return err
}

// probes are the dependencies of readiness: without the database nothing can be promised; Redis and sessions may be
// away for a while and messages wait.
func (h *Hub) probes() []probe {
	return []probe{
		{name: "database", required: true, check: func(ctx context.Context) (string, error) { return "", h.store.Ping(ctx) }},
		{name: "redis", check: func(ctx context.Context) (string, error) { return "", h.queue.Ping(ctx) }},
		{name: "sessions", check: h.reportSessions},
	}
}

// reportSessions tells how many sessions are in which state: "offline 1, online 12".
func (h *Hub) reportSessions(ctx context.Context) (string, error) {
	states, err := h.store.SessionStates(ctx)
	if err != nil {
		return "", err
	}
	var report []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		report = append(report, fmt.Sprintf("%s %d", state, states[state]))
	}
	return cmp.Or(strings.Join(report, ", "), "none"), nil
}
