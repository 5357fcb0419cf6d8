// Package testkit boots hubs for tests: in this process against a simulator, or as programs that can be killed. It
// talks to them over HTTP only, as customers do.
package testkit

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
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

// World is an embedded hub and a simulator in this process, with tenant algo and its key.
type World struct {
	Sim   *wasim.Server
	Hub   *app.Hub
	Admin *Client // with the admin key
	API   *Client // with algo's key

	t       testing.TB
	dir     string
	options app.Options
}

// Option changes how a World is started.
type Option func(*World)

// WithTimeouts shortens how long a send may take and how long an acknowledgement is waited for.
func WithTimeouts(ack, send time.Duration) Option {
	return func(w *World) { w.options.AckTimeout, w.options.SendTimeout = ack, send }
}

// Start starts a World whose tenant algo is not paired yet.
func Start(t testing.TB, options ...Option) *World {
	t.Helper()
	quiet()
	w := &World{t: t, dir: t.TempDir()}
	w.options = app.Options{Log: logger(t), Stdout: t.Output(), Stderr: t.Output(), RetryBase: 100 * time.Millisecond}
	for _, o := range options {
		o(w)
	}
	sim, err := wasim.Start(t.Context(), wasim.Config{RootKey: rootKey, ReadDelay: 20 * time.Millisecond, SlowDelay: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w.Sim = sim
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	w.StartHub()
	t.Cleanup(w.StopHub)
	return w
}

// Paired starts a World whose tenant algo is paired with OwnNumber and online.
func Paired(t testing.TB, options ...Option) *World {
	t.Helper()
	w := Start(t, options...)
	w.Pair("algo", OwnNumber)
	return w
}

// StartHub starts the hub on the World's data.
func (w *World) StartHub() {
	w.t.Helper()
	public := w.Sim.RootKey()
	cfg, err := config.Load(config.ProcessAPI, []string{
		"HTTP_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "LEASE_TTL=2s",
		"WHATSAPP_SERVER=" + w.Sim.Addr(), "WHATSAPP_ROOT_KEY=" + hex.EncodeToString(public[:]),
		"DATABASE_URL=sqlite://" + filepath.Join(w.dir, "hub.db"), "BLOB_URL=file://" + filepath.Join(w.dir, "media"),
		"ADMIN_API_KEY=" + AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY=" + TenantKey,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.Hub, err = app.Start(w.t.Context(), config.ProcessAPI, cfg, w.options); err != nil {
		w.t.Fatal(err)
	}
	base := "http://" + w.Hub.Addr().String()
	w.Admin, w.API = &Client{Base: base, Key: AdminKey}, &Client{Base: base, Key: TenantKey}
}

// StopHub stops the hub in order, within 30 s.
func (w *World) StopHub() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.Hub.Stop(ctx); err != nil {
		w.t.Errorf("stop the hub: %v", err)
	}
}

// Pair pairs a tenant over the API, with the simulated phone of number scanning the code, and waits until it is online.
func (w *World) Pair(tenant, number string) {
	w.t.Helper()
	if err := w.Sim.Pair(w.t.Context(), w.Admin.PairingCode(w.t, tenant), number); err != nil {
		w.t.Fatal(err)
	}
	w.Admin.AwaitSession(w.t, tenant, "online")
}

// Script scripts a fault of the simulator.
func (w *World) Script(f wasim.Fault) {
	w.t.Helper()
	if _, err := w.Sim.Script(f); err != nil {
		w.t.Fatal(err)
	}
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
	return &Client{Base: w.Admin.Base, Key: key.Key}
}

// logger shows the hub's log of a failed test.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
