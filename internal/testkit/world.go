// Package testkit boots hubs for tests: in this process against a simulator, or as programs that can be killed. It
// talks to them over HTTP only, as customers do.
package testkit

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/app"
	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/wa"
	"github.com/wapro/hub/internal/wasim"
)

// OwnNumber is the number that World pairs tenant algo with.
const OwnNumber = "15550009999"

// rootKey is the private root key of every simulator of a test process: whatsmeow trusts one root per process.
var rootKey = [32]byte{31: 64, 0: 8, 1: 77} //nolint:gochecknoglobals // a constant that Go cannot spell

// quiet keeps libsignal, which logs for the whole process, out of the tests' output.
var quiet = sync.OnceFunc(func() { wa.SetProcessDefaults(slog.New(slog.DiscardHandler)) }) //nolint:gochecknoglobals // once per process

// World is a hub, in this process but for what its shape needs beside it, and a simulator, with tenant algo and its key.
type World struct {
	*Sandbox
	Admin *Client // with the admin key
	API   *Client // with algo's key

	t        testing.TB
	dir      string
	shape    Shape
	options  app.Options
	lease    time.Duration
	whatsapp []string // the settings that point at the simulator
	environ  []string
	hubs     []*app.Hub // workers first: they stop last
}

// Option changes how a World is started.
type Option func(*World)

// WithTimeouts shortens how long a send may take and how long an acknowledgement is waited for.
func WithTimeouts(ack, send time.Duration) Option {
	return func(w *World) { w.options.AckTimeout, w.options.SendTimeout = ack, send }
}

// WithKeyLock shortens how long an Idempotency-Key stays busy whose request did not settle it. It must be longer than a request takes from there on.
func WithKeyLock(d time.Duration) Option {
	return func(w *World) { w.options.KeyLock = d }
}

// WithLease makes leases end that soon; the workers of a World look after theirs three times in it. Else they last for as long as a busy machine
// may stand still.
func WithLease(d time.Duration) Option {
	return func(w *World) { w.lease = d }
}

// WithFullLanes lets lanes have enough at n tickets, for as long as d once that was seen.
func WithFullLanes(n int, d time.Duration) Option {
	return func(w *World) { w.options.FullLane, w.options.FullFor = n, d }
}

// WithFailures puts something between the rooms of each hub and its store and queue.
func WithFailures(database func(app.Database) app.Database, tickets func(app.Tickets) app.Tickets) Option {
	return func(w *World) { w.options.Database, w.options.Tickets = database, tickets }
}

// Start starts a World whose tenant algo is not paired yet.
func Start(t testing.TB, shape Shape, options ...Option) *World {
	t.Helper()
	quiet()
	w := &World{t: t, dir: t.TempDir(), shape: shape, lease: time.Minute}
	w.options = app.Options{
		Log: logger(t), Stdout: t.Output(), Stderr: t.Output(), RetryBase: 100 * time.Millisecond, Reconnect: 100 * time.Millisecond,
	}
	for _, o := range options {
		o(w)
	}
	if shape.simulatorProcess {
		w.runSimulator()
	} else {
		w.startSimulator()
	}
	w.environ = shape.environ(t, w.dir)
	w.StartHub()
	t.Cleanup(w.StopHub)
	return w
}

// Paired starts a World whose tenant algo is paired with OwnNumber and online.
func Paired(t testing.TB, shape Shape, options ...Option) *World {
	t.Helper()
	w := Start(t, shape, options...)
	w.Pair("algo", OwnNumber)
	return w
}

// startSimulator runs the simulator in this process.
func (w *World) startSimulator() {
	w.t.Helper()
	sim, err := wasim.Start(w.t.Context(), wasim.Config{RootKey: rootKey, ReadDelay: 20 * time.Millisecond, SlowDelay: 2 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	routes := httptest.NewServer(sim.Handler())
	w.t.Cleanup(func() {
		routes.Close()
		if err := sim.Close(); err != nil {
			w.t.Errorf("close the simulator: %v", err)
		}
	})
	root := sim.RootKey()
	w.Sandbox = &Sandbox{t: w.t, client: NewClient("", routes.URL)}
	w.whatsapp = []string{"WHATSAPP_SERVER=" + sim.Addr(), "WHATSAPP_ROOT_KEY=" + hex.EncodeToString(root[:])}
}

// runSimulator runs the simulator as a program, on a state that has this process' root key already.
func (w *World) runSimulator() {
	w.t.Helper()
	dir := filepath.Join(w.dir, "simulator")
	sim, err := wasim.Start(w.t.Context(), wasim.Config{Dir: dir, RootKey: rootKey})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := sim.Close(); err != nil {
		w.t.Fatal(err)
	}
	program := runSimulator(w.t, w.dir)
	w.Sandbox, w.whatsapp = program.Sandbox, program.WhatsApp()
}

// Environ is the environment of the hub's processes.
func (w *World) Environ() []string {
	return append([]string{
		"HTTP_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "BLOB_URL=file://" + filepath.Join(w.dir, "media"),
		"ADMIN_API_KEY=" + AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY=" + TenantKey,
		"EGRESS_ALLOW_PRIVATE=true", // receivers and files of tests are on this host
		"RATE_LIMIT=1000000",        // what a test counts is not how quick the machine is
		"LEASE_TTL=" + w.lease.String(),
	}, append(w.whatsapp, w.environ...)...)
}

// StartHub starts the hub's processes on the World's data.
func (w *World) StartHub() {
	w.t.Helper()
	environ := w.Environ()
	start := func(process config.Process) *app.Hub {
		cfg, err := config.Load(process, environ)
		if err != nil {
			w.t.Fatal(err)
		}
		hub, err := app.Start(w.t.Context(), process, cfg, w.options)
		if err != nil {
			w.t.Fatal(err)
		}
		w.hubs = append(w.hubs, hub)
		return hub
	}
	for range w.shape.workers {
		start(config.ProcessWorker)
	}
	var bases []string
	for range w.shape.apis {
		bases = append(bases, "http://"+start(config.ProcessAPI).Addr().String())
	}
	w.Admin, w.API = NewClient(AdminKey, bases...), NewClient(TenantKey, bases...)
}

// StopHub stops the hub's processes in order, each within patience.
func (w *World) StopHub() {
	for i := len(w.hubs) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := w.hubs[i].Stop(ctx); err != nil {
			w.t.Errorf("stop the hub: %v", err)
		}
		cancel()
	}
	w.hubs = nil
}

// Pair pairs a tenant over the API, with the simulated phone of number scanning the code, and waits until it is online.
func (w *World) Pair(tenant, number string) {
	w.t.Helper()
	w.Scan(w.Admin.PairingCode(w.t, tenant), number)
	w.Admin.AwaitSession(w.t, tenant, "online")
}

// AddTenant creates a tenant and a key for it over the API, and pairs it with number unless that is empty.
func (w *World) AddTenant(id, number string) *Client {
	w.t.Helper()
	w.Admin.JSON(w.t, http.MethodPost, "/admin/tenants", map[string]string{"id": id}, http.StatusCreated, nil)
	var key struct {
		Key string `json:"key"`
	}
	w.Admin.JSON(w.t, http.MethodPost, "/admin/tenants/"+id+"/keys", map[string]string{}, http.StatusCreated, &key)
	if number != "" {
		w.Pair(id, number)
	}
	return w.Admin.WithKey(key.Key)
}

// logger shows the hub's log of a failed test.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
