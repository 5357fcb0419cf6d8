package session_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
	"github.com/wapro/hub/internal/store"
)

// deadline bounds every wait of these tests.
const deadline = 2 * time.Minute

// script is a WhatsApp that does what a test says, for what needs no WhatsApp: leases, panics, order of stopping. What
// needs one is tested against the simulator in the tests of wa and of app.
type script struct {
	mu      sync.Mutex
	clients []*scriptedClient
	made    chan *scriptedClient
	onMake  func(gateway.Session) error
	connect func(*scriptedClient) error // called by Connect, in its turn
	send    func(context.Context) (gateway.Sent, error)
}

func newScript() *script {
	return &script{made: make(chan *scriptedClient, 64), connect: (*scriptedClient).accept}
}

func (s *script) factory(_ context.Context, row gateway.Session, on func(context.Context, gateway.ClientEvent) error) (session.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onMake != nil {
		if err := s.onMake(row); err != nil {
			return nil, err
		}
	}
	c := &scriptedClient{script: s, row: row, on: on, connects: make(chan struct{}, 64), gone: make(chan struct{}, 64), logouts: make(chan struct{}, 1)}
	s.clients = append(s.clients, c)
	s.made <- c
	return c, nil
}

type scriptedClient struct {
	script   *script
	row      gateway.Session
	on       func(context.Context, gateway.ClientEvent) error
	connects chan struct{}
	gone     chan struct{} // Disconnect was called
	logouts  chan struct{}
	phone    atomic.Pointer[string] // what Pair was called with
}

func (c *scriptedClient) accept() error {
	c.tell(gateway.ClientEvent{Kind: gateway.ClientConnected, Reason: gateway.ReasonConnected})
	return nil
}

func (c *scriptedClient) tell(e gateway.ClientEvent) { _ = c.on(context.Background(), e) }

func (c *scriptedClient) Connect(context.Context) error {
	c.connects <- struct{}{}
	c.script.mu.Lock()
	connect := c.script.connect
	c.script.mu.Unlock()
	return connect(c)
}

func (c *scriptedClient) Pair(_ context.Context, phone string) error {
	c.phone.Store(&phone)
	c.connects <- struct{}{}
	return nil
}

func (c *scriptedClient) Disconnect() { c.gone <- struct{}{} }

func (c *scriptedClient) Logout(context.Context) error {
	c.logouts <- struct{}{}
	return nil
}

func (c *scriptedClient) Send(ctx context.Context, _ *gateway.Message, fence func(context.Context) error) (gateway.Sent, error) {
	if err := fence(ctx); err != nil {
		return gateway.Sent{}, &gateway.SendError{Cause: gateway.CauseFenced, Err: err}
	}
	return c.script.send(ctx)
}

func (c *scriptedClient) Prepare(context.Context, []string) error { return nil }

// lanes record what is open.
type lanes struct {
	mu     sync.Mutex
	open   map[int64]gateway.Fence
	log    []string
	closed func() // called inside Close
}

func (l *lanes) Open(f gateway.Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[f.TenantKey] = f
	l.log = append(l.log, "open")
}

func (l *lanes) Reconsider(gateway.Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, "reconsider")
}

func (l *lanes) Close(key int64) {
	if l.closed != nil {
		l.closed()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, key)
	l.log = append(l.log, "close")
}

func (l *lanes) isOpen(key int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.open[key]
	return ok
}

// receipts fail as often as they are told to.
type receipts struct {
	mu    sync.Mutex
	fails int
	got   []gateway.Receipt
	own   []string
}

func (r *receipts) Receipt(_ context.Context, _ int64, own []string, receipt gateway.Receipt) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails > 0 {
		r.fails--
		return errors.New("the database is locked")
	}
	r.got, r.own = append(r.got, receipt), own
	return nil
}

// bench is a supervisor over a real database and a script.
type bench struct {
	t        *testing.T
	store    *store.Store
	script   *script
	lanes    *lanes
	receipts *receipts
	changes  chan gateway.Session
	sup      *session.Supervisor
	tenant   gateway.Tenant
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// leaseTTL is of the leases that no test waits for: a machine that is busy enough to renew a short one too late would end the session in
// the middle of a test, as it should.
const leaseTTL = time.Minute

// fast are the paces of these tests.
func fast() session.Timings {
	return session.Timings{
		Find: 20 * time.Millisecond, Commands: 10 * time.Millisecond,
		BackoffBase: 10 * time.Millisecond, BackoffCap: 50 * time.Millisecond, Stable: time.Hour,
	}
}

// newBench prepares tenant "algo", paired when jid is not empty, and a supervisor that is not started.
func newBench(t *testing.T, jid string, change ...func(*session.Deps)) *bench {
	t.Helper()
	b := &bench{
		t: t, store: openStore(t), script: newScript(), lanes: &lanes{open: map[int64]gateway.Fence{}},
		receipts: &receipts{}, changes: make(chan gateway.Session, 1024),
	}
	var err error
	if b.tenant, err = b.store.CreateTenant(t.Context(), "algo", ""); err != nil {
		t.Fatal(err)
	}
	if jid != "" {
		b.row(func(row *gateway.Session) {
			row.JID, row.LID, row.State = jid, "777@lid", gateway.SessionOnline
		})
	}
	b.sup = b.supervisor("one", change...)
	return b
}

// row changes the session's row as an earlier owner would have.
func (b *bench) row(apply func(*gateway.Session)) {
	b.t.Helper()
	ctx := b.t.Context()
	taken, err := b.store.AcquireSessions(ctx, "before", time.Minute, 10)
	if err != nil || len(taken) == 0 {
		b.t.Fatalf("take the session: %d, %v", len(taken), err)
	}
	if _, err := b.store.UpdateSession(ctx, taken[0].Fence(), apply); err != nil {
		b.t.Fatal(err)
	}
	if err := b.store.ReleaseSessions(ctx, "before"); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) supervisor(instance string, change ...func(*session.Deps)) *session.Supervisor {
	deps := session.Deps{
		Store: b.store, Clients: b.script.factory, Lanes: b.lanes, Receipts: b.receipts, Instance: instance,
		Log: slog.New(slog.DiscardHandler), LeaseTTL: leaseTTL, Timings: fast(),
		OnChange: func(s gateway.Session) { b.changes <- s },
	}
	for _, f := range change {
		f(&deps)
	}
	return session.New(deps)
}

func (b *bench) start() {
	b.t.Helper()
	b.sup.Start(b.t.Context())
	b.t.Cleanup(b.stop)
}

func (b *bench) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := b.sup.Stop(ctx); err != nil {
		b.t.Error(err)
	}
}

// client waits for the next client that is made.
func (b *bench) client() *scriptedClient {
	b.t.Helper()
	select {
	case c := <-b.script.made:
		return c
	case <-time.After(deadline):
		b.t.Fatal("no client was made")
		return nil
	}
}

// state waits until the session is stored in state with reason.
func (b *bench) state(state gateway.SessionState, reason gateway.SessionReason) gateway.Session {
	b.t.Helper()
	timeout := time.After(deadline)
	var last gateway.Session
	for {
		select {
		case s := <-b.changes:
			if s.State == state && s.Reason == reason {
				return s
			}
			last = s
		case <-timeout:
			b.t.Fatalf("the session is %s (%s), want %s (%s)", last.State, last.Reason, state, reason)
		}
	}
}

func (b *bench) command(kind gateway.CommandKind) { b.ask(kind, "") }

func (b *bench) ask(kind gateway.CommandKind, phone string) {
	b.t.Helper()
	if err := b.store.AddCommand(b.t.Context(), gateway.Command{TenantKey: b.tenant.Key, Kind: kind, Phone: phone}); err != nil {
		b.t.Fatal(err)
	}
	b.sup.Kick()
}

// wait receives from c.
func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatalf("waited for %s", what)
	}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(deadline)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited for: %s", what)
		}
	}
}
