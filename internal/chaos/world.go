package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// shape is a way to run the hub.
type shape string

const (
	onPostgres shape = "postgres" // two or more APIs and workers, Postgres, Redis
	embedded   shape = "embedded" // one process
)

// world is a hub that is being broken, and its simulator.
type world struct {
	options
	shape shape
	t     testing.TB
	epoch time.Time // when the messages began

	hub, sandbox *client
	workers      []*node // on Postgres
	apis         []*node // embedded: the hub itself
	postgres     *service
	redis        *service

	ctx     context.Context //nolint:containedctx // the life of the world; ended by stop
	cancel  context.CancelFunc
	keepers sync.WaitGroup

	strangers []chan string // by tenant: numbers that nobody wrote to before, for its next messages
	contacts  atomic.Int64
	offered   chan struct{} // closed when the last message was accepted
}

// service is Postgres or Redis. One fault has it at a time; others wait for their turn.
type service struct {
	*services.Server
	mu sync.Mutex
}

// startWorld starts a hub with its tenants paired and online.
func startWorld(t testing.TB, o options, s shape) *world {
	w := &world{options: o, shape: s, t: t, strangers: make([]chan string, o.tenants), offered: make(chan struct{})}
	for i := range w.strangers {
		w.strangers[i] = make(chan string, 100)
	}
	w.ctx, w.cancel = context.WithCancel(t.Context())
	ready := false
	defer func() { // Fatal ends this goroutine without a result
		if !ready {
			w.stop()
		}
	}()
	sim := testkit.StartSimulator(t)
	base := "http://" + sim.Process.Listening("sandbox")
	w.sandbox = newClient(testkit.AdminKey, func() []string { return []string{base} })
	w.hub = newClient(testkit.AdminKey, w.addresses)

	dir := t.TempDir()
	environ := append(sim.WhatsApp(), "BLOB_URL=file://"+filepath.Join(dir, "media"), "ADMIN_API_KEY="+testkit.AdminKey, "LEASE_TTL="+o.lease.String())
	if s == embedded {
		w.apis = []*node{{name: "hub", program: "api", environ: append(environ, "DATABASE_URL=sqlite://"+filepath.Join(dir, "hub.db"))}}
	} else {
		w.postgres, w.redis = &service{Server: services.PostgresServer(t)}, &service{Server: services.RedisServer(t)}
		environ = append(environ, "DATABASE_URL="+w.postgres.URL, "REDIS_URL="+w.redis.URL)
		for i := range o.workers {
			w.apis = append(w.apis, &node{name: fmt.Sprintf("api-%d", i+1), program: "api", environ: environ})
			w.workers = append(w.workers, &node{name: fmt.Sprintf("worker-%d", i+1), program: "worker", environ: environ})
		}
	}
	for _, n := range w.nodes() {
		w.keepers.Go(func() { w.keep(n) })
	}
	w.pairAll(sim)
	ready = true
	return w
}

func (w *world) nodes() []*node { return append(append([]*node{}, w.apis...), w.workers...) }

// addresses are where APIs listen now.
func (w *world) addresses() []string {
	var bases []string
	for _, n := range w.apis {
		if addr := n.address(); addr != "" {
			bases = append(bases, "http://"+addr)
		}
	}
	return bases
}

// pairAll creates the tenants and pairs each with a number of its own.
func (w *world) pairAll(sim *testkit.Simulator) {
	testkit.Eventually(w.t, time.Minute, func() (bool, string) {
		return len(w.addresses()) == len(w.apis), fmt.Sprintf("%d of %d APIs listen", len(w.addresses()), len(w.apis))
	})
	admin := testkit.NewClient(testkit.AdminKey, w.addresses()...)
	for i := range w.tenants {
		admin.JSON(w.t, http.MethodPost, "/admin/tenants", map[string]string{"id": tenantID(i)}, http.StatusCreated, nil)
		sim.Scan(admin.PairingCode(w.t, tenantID(i)), tenantNumber(i))
	}
	for i := range w.tenants {
		admin.AwaitSession(w.t, tenantID(i), "online")
	}
}

func tenantID(i int) string     { return fmt.Sprintf("tenant-%03d", i) }
func tenantNumber(i int) string { return fmt.Sprintf("1555003%04d", i) }

// stop ends every process of the hub.
func (w *world) stop() {
	w.cancel()
	w.keepers.Wait()
}

func (w *world) logf(format string, args ...any) {
	w.t.Logf("%-8s %s", w.shape, fmt.Sprintf(format, args...))
}

// pause waits for d; false when the world ends before.
func (w *world) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// node is one place where a program of the hub runs, and runs again when it ended, as under a supervisor.
type node struct {
	name, program string
	environ       []string

	mu      sync.Mutex
	process *testkit.Process // nil between two
	starts  int
}

// keep runs a node's program until the world ends.
func (w *world) keep(n *node) {
	for w.ctx.Err() == nil {
		p := testkit.RunProgram(w.t, n.program, nil, n.environ...)
		n.set(p)
		select {
		case <-p.Done():
		case <-w.ctx.Done():
			p.Kill()
		}
		n.set(nil)
		w.keepLog(n, p)
		w.pause(100 * time.Millisecond)
	}
}

func (n *node) set(p *testkit.Process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = p
	if p != nil {
		n.starts++
	}
}

// current is the node's process, waited for while there is none; nil when the world ends.
func (w *world) current(n *node) *testkit.Process {
	for {
		n.mu.Lock()
		p := n.process
		n.mu.Unlock()
		if p != nil || !w.pause(20*time.Millisecond) {
			return p
		}
	}
}

// address is where the node's process listens for requests, empty while it does not.
func (n *node) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return ""
	}
	return n.process.Address("requests")
}

// up waits until the node runs another process than p, which serves: APIs answer requests, workers are ready.
func (w *world) up(n *node, p *testkit.Process) {
	for {
		n.mu.Lock()
		now := n.process
		n.mu.Unlock()
		if now != nil && now != p && now.Address("operations") != "" || !w.pause(20*time.Millisecond) {
			return
		}
	}
}

func (w *world) keepLog(n *node, p *testkit.Process) {
	if w.logs == "" {
		return
	}
	n.mu.Lock()
	name := fmt.Sprintf("%s-%s-%03d.log", w.shape, n.name, n.starts)
	n.mu.Unlock()
	if err := os.MkdirAll(w.logs, 0o750); err != nil {
		w.t.Errorf("keep a log: %v", err)
	}
	if err := os.WriteFile(filepath.Join(w.logs, name), []byte(p.Stderr()), 0o600); err != nil {
		w.t.Errorf("keep a log: %v", err)
	}
}
