package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
	"github.com/wapro/hub/internal/testkit/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// world is a dispatcher over a real store and ledger, with a scripted session and a clock that stands still.
type world struct {
	*fakeclock.Clock
	*dispatch.Dispatcher
	t      *testing.T
	store  *store.Store
	ledger *brokenLedger
	queue  *delayed
	tenant gateway.Tenant
	fence  gateway.Fence
	made   int
	log    bytes.Buffer

	mu   sync.Mutex
	send func(context.Context, *gateway.Message) (gateway.Sent, error)
	sent []string // ids of messages handed to the session

	unread error // of Session

	prepare  func(context.Context) error // nil: succeeds
	prepared [][]string                  // whom the session was to ask about
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, dispatch.Options{})
}

func newWorldWith(t *testing.T, options dispatch.Options) *world {
	t.Helper()
	w := &world{t: t, Clock: fakeclock.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), queue: &delayed{}}
	var err error
	w.store, err = store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{Clock: w.Now})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.tenant, err = w.store.CreateTenant(t.Context(), "algo", "")
	must(t, err)
	sessions, err := w.store.AcquireSessions(t.Context(), "worker", time.Minute, 10)
	must(t, err)
	w.fence = sessions[0].Fence()
	w.ledger = &brokenLedger{Ledger: ledger.New(w.store, w.Now)}
	options.SendTimeout, options.StorePause = 5*time.Second, 5*time.Millisecond
	w.Dispatcher = dispatch.New(dispatch.Deps{
		Ledger: w.ledger, Sender: w, Sessions: w, Contacts: w.store, Paces: w.store, Queue: w.queue, Clock: w.Now,
		Rand:    func() float64 { return 0.5 },
		Log:     slog.New(slog.NewJSONHandler(&w.log, nil)),
		Options: options,
	})
	t.Cleanup(func() { must(t, w.Stop(context.Background())) })
	w.succeed()
	return w
}

// Send is the scripted session.
func (w *world) Send(ctx context.Context, _ gateway.Fence, m *gateway.Message) (gateway.Sent, error) {
	w.mu.Lock()
	w.sent = append(w.sent, m.ID)
	send := w.send
	w.mu.Unlock()
	return send(ctx, m)
}

// Prepare is the scripted session's, too.
func (w *world) Prepare(ctx context.Context, _ gateway.Fence, recipients []string) error {
	w.mu.Lock()
	w.prepared = append(w.prepared, recipients)
	prepare := w.prepare
	w.mu.Unlock()
	if prepare == nil {
		return nil
	}
	return prepare(ctx)
}

func (w *world) answer(send func(context.Context, *gateway.Message) (gateway.Sent, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send = send
}

func (w *world) succeed() {
	w.answer(func(_ context.Context, m *gateway.Message) (gateway.Sent, error) {
		to := m.To
		if !gateway.IsJID(to) {
			to = gateway.UserJID(to)
		}
		return gateway.Sent{RecipientJID: to, At: w.Now()}, nil
	})
}

func (w *world) fail(e gateway.SendError) {
	if e.Err == nil {
		e.Err = errors.New("scripted")
	}
	w.answer(func(context.Context, *gateway.Message) (gateway.Sent, error) { return gateway.Sent{}, &e })
}

func (w *world) sends() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent)
}

func (w *world) Session(ctx context.Context, tenantKey int64) (gateway.Session, error) {
	if w.unread != nil {
		return gateway.Session{}, w.unread
	}
	return w.store.Session(ctx, tenantKey)
}

func (w *world) SetRestriction(ctx context.Context, f gateway.Fence, r gateway.Restriction) error {
	_, err := w.store.UpdateSession(ctx, f, func(s *gateway.Session) { s.Restriction = r })
	return err
}

func (w *world) restriction() gateway.Restriction {
	w.t.Helper()
	s, err := w.store.Session(w.t.Context(), w.tenant.Key)
	must(w.t, err)
	return s.Restriction
}

func (w *world) accept(to string, change ...func(*gateway.Message)) *gateway.Message {
	w.t.Helper()
	return w.acceptFor(w.tenant, to, change...)
}

func (w *world) acceptFor(tenant gateway.Tenant, to string, change ...func(*gateway.Message)) *gateway.Message {
	w.t.Helper()
	w.made++
	m := w.newMessage(tenant, to)
	for _, c := range change {
		c(m)
	}
	must(w.t, w.store.Accept(w.t.Context(), []*gateway.Message{m}, nil))
	return m
}

func (w *world) newMessage(tenant gateway.Tenant, to string) *gateway.Message {
	return &gateway.Message{
		ID: fmt.Sprintf("m%03d", w.made), TenantKey: tenant.Key, TenantID: tenant.ID, To: to,
		Type: gateway.TypeText, Text: "hello", Priority: gateway.PriorityNormal, WhatsAppID: fmt.Sprintf("3EB0%03d", w.made),
		Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting, CreatedAt: w.Now(), ExpiresAt: w.Now().Add(100 * time.Hour),
	}
}

// Handle returns when what came of it is recorded, so that the tests can look at it.
func (w *world) Handle(ctx context.Context, f gateway.Fence, ticket gateway.Ticket) gateway.Verdict {
	verdict := w.Dispatcher.Handle(ctx, f, ticket)
	if err := w.Settled(context.WithoutCancel(ctx), f.TenantKey); err != nil {
		w.t.Error(err)
	}
	return verdict
}

func (w *world) handle(m *gateway.Message) gateway.Verdict {
	w.t.Helper()
	return w.Handle(w.t.Context(), w.fence, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
}

func (w *world) stored(m *gateway.Message) gateway.Message {
	w.t.Helper()
	got, err := w.store.Message(w.t.Context(), m.TenantKey, m.ID)
	must(w.t, err)
	return got
}

// brokenLedger fails to record as often as it is told to.
type brokenLedger struct {
	*ledger.Ledger
	mu       sync.Mutex
	failures int
	persist  bool   // the outcome is written although an error is returned
	broke    func() // called at each failure; nil: nothing
	panics   bool   // the next claim panics
	alone    bool   // the next claim of one that must be alone
}

var errBroken = errors.New("the database does not answer")

func (l *brokenLedger) breakNext(n int, persist bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures, l.persist = n, persist
}

// panicNext makes the next claim panic, or the next one that is to be alone.
func (l *brokenLedger) panicNext(alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.panics, l.alone = !alone, alone
}

func (l *brokenLedger) Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error) {
	l.mayPanic(&l.panics)
	return l.Ledger.Claim(ctx, f, ticket, instance)
}

func (l *brokenLedger) ClaimAlone(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error) {
	l.mayPanic(&l.alone)
	return l.Ledger.ClaimAlone(ctx, f, ticket, instance)
}

func (l *brokenLedger) mayPanic(now *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *now {
		*now = false
		panic("a bug")
	}
}

func (l *brokenLedger) Record(ctx context.Context, f gateway.Fence, id string, o gateway.Outcome) (gateway.Message, error) {
	l.mu.Lock()
	broken, persist := l.failures > 0, l.persist
	if broken {
		l.failures--
		if l.broke != nil {
			l.broke()
		}
	}
	l.mu.Unlock()
	if broken && !persist {
		return gateway.Message{}, errBroken
	}
	m, err := l.Ledger.Record(ctx, f, id, o)
	if broken {
		return gateway.Message{}, errBroken
	}
	return m, err
}

// delayed takes delayed tickets.
type delayed struct {
	mu      sync.Mutex
	tickets map[string]time.Time
}

func (q *delayed) EnqueueAt(_ context.Context, ticket gateway.Ticket, at time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tickets == nil {
		q.tickets = make(map[string]time.Time)
	}
	q.tickets[ticket.MessageID] = at
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
