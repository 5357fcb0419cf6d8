package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Store keeps sessions, leases and commands.
type Store interface {
	Session(ctx context.Context, tenantKey int64) (gateway.Session, error)
	AcquireSessions(ctx context.Context, owner string, ttl time.Duration, limit int) ([]gateway.Session, error)
	RenewSessions(ctx context.Context, owner string, ttl time.Duration) ([]gateway.Fence, error)
	ReleaseSessions(ctx context.Context, owner string) error
	ReleaseSession(ctx context.Context, fence gateway.Fence) error
	CheckFence(ctx context.Context, fence gateway.Fence) error
	UpdateSession(ctx context.Context, fence gateway.Fence, apply func(*gateway.Session)) (gateway.Session, error)
	TakeCommands(ctx context.Context, owner string) ([]gateway.Command, error)
	AddCommand(ctx context.Context, c gateway.Command) error
	// Backlog reports whether messages of the tenant wait.
	Backlog(ctx context.Context, tenantKey int64) (bool, error)

	// SeeWorker says that w lives and goes on doing so for ttl; RetireWorker, that it takes no more sessions.
	SeeWorker(ctx context.Context, w gateway.Worker, ttl time.Duration) error
	RetireWorker(ctx context.Context, id string) error
	// Shares tells who holds how many sessions; an orphan is one that nobody has held for longer than patience.
	Shares(ctx context.Context, patience time.Duration) (gateway.Shares, error)
	// Spare lists up to limit sessions of owner in the order in which to hand them over.
	Spare(ctx context.Context, owner string, limit int) ([]gateway.Fence, error)
}

// Client is a WhatsApp client of one session. All but Send are called by one goroutine at a time.
type Client interface {
	// Connect returns when the connection stands; events tell what becomes of it. After an event that reports its end, or
	// after Disconnect, it may be called again.
	Connect(ctx context.Context) error
	// Pair is Connect for a session without a number; it reports codes, and then the number. With a phone (E.164 digits)
	// it reports the one code that this phone is to enter, else QR codes.
	Pair(ctx context.Context, phone string) error
	// Disconnect closes the connection without an event.
	Disconnect()
	// Logout unlinks the device, as far as the connection allows, and deletes its keys. The client is of no use after it.
	Logout(ctx context.Context) error
	Send(ctx context.Context, m *gateway.Message, fence func(context.Context) error) (gateway.Sent, error)
	// Prepare asks about people who are about to be written to, so that their first messages need not.
	Prepare(ctx context.Context, recipients []string) error
}

// ClientFactory makes the client of a session under the lease that the session states, with the keys of its JID, or with new ones when
// it has none; gateway.ErrNoKeys when there are none for its JID.
type ClientFactory func(ctx context.Context, s gateway.Session, on func(context.Context, gateway.ClientEvent) error) (Client, error)

// Lanes are a tenant's queues. Open lets them be consumed under fence, and opened again they rest no longer; Close ends that and waits for
// the message in hand. Reconsider says that what messages rest or are held for has changed; it returns soon.
type Lanes interface {
	Reconsider(fence gateway.Fence)
	Open(fence gateway.Fence)
	Close(tenantKey int64)
}

// Receipts records what recipients confirm. It has committed when it returns nil; own are the names of the session itself.
type Receipts interface {
	Receipt(ctx context.Context, tenantKey int64, own []string, r gateway.Receipt) error
}

// Inbound stores what a number receives. It has committed when it returns nil, and may keep what it is given. A message may come again.
type Inbound interface {
	ReceiveInbound(ctx context.Context, m *gateway.Inbound) error
}

// Queries answers what WhatsApp is asked on behalf of a tenant. client is nil when the session is not online; ctx ends with it.
type Queries interface {
	Answer(ctx context.Context, client Client, tenantKey int64, query string)
}

// Deps are what a Supervisor needs. Zero values of the optional ones mean the defaults.
type Deps struct {
	Store    Store
	Clients  ClientFactory
	Lanes    Lanes
	Receipts Receipts
	Inbound  Inbound
	Queries  Queries
	Instance string // names this process as an owner of leases
	Host     string // this and PID tell people which process that is
	PID      int

	Clock    func() time.Time // time.Now
	Log      *slog.Logger     // slog.Default
	LeaseTTL time.Duration    // 15 s
	Embedded bool             // nobody else could own the sessions: none is shared, and they are kept while the database does not answer
	Timings  Timings

	// OnChange is told every stored change of a session, in order for each; it must be quick.
	OnChange func(gateway.Session)
	// LeaseLost is told of each session that is let go because its lease is lost; it must be quick. May be nil.
	LeaseLost func()
	// RefreshVersion fetches the current client version; asked once when WhatsApp calls ours outdated. May be nil.
	RefreshVersion func(context.Context) error
}

// Timings are the paces of a Supervisor; zero fields mean the defaults.
type Timings struct {
	Find           time.Duration // between looks for sessions without an owner, and at the shares of all workers; 1 s
	Commands       time.Duration // between looks for commands; 250 ms
	BackoffBase    time.Duration // delay of the second reconnect, doubling; 1 s
	BackoffCap     time.Duration // longest delay; 60 s
	Stable         time.Duration // a connection that lived this long starts the backoff anew; 30 s
	ConnectTimeout time.Duration // from the dial to the login; 60 s
	ReplacedWindow time.Duration // being replaced twice within it means that another program is meant to be there; 10 min
	DefaultBan     time.Duration // a ban without an announced end; 1 h
	LogoutTimeout  time.Duration // 15 s
}

func (t Timings) withDefaults() Timings {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Find, time.Second)
	set(&t.Commands, 250*time.Millisecond)
	set(&t.BackoffBase, time.Second)
	set(&t.BackoffCap, time.Minute)
	set(&t.Stable, 30*time.Second)
	set(&t.ConnectTimeout, time.Minute)
	set(&t.ReplacedWindow, 10*time.Minute)
	set(&t.DefaultBan, time.Hour)
	set(&t.LogoutTimeout, 15*time.Second)
	return t
}

// dialing bounds how many sessions connect at the same time.
const dialing = 32

// Supervisor owns the sessions of this process.
type Supervisor struct {
	deps  Deps
	log   *slog.Logger
	dials chan struct{}
	kick  chan struct{}

	startOnce, stopOnce sync.Once
	cancel              context.CancelFunc
	looped              chan struct{} // closed when the loop has ended

	// The loop's.
	started time.Time
	resting time.Time // until then nothing is handed over

	mu     sync.Mutex
	actors map[int64]*actor
	tasks  sync.WaitGroup // the actors
}

// New makes a Supervisor; Start starts it.
func New(deps Deps) *Supervisor {
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.LeaseTTL <= 0 {
		deps.LeaseTTL = 15 * time.Second
	}
	if deps.OnChange == nil {
		deps.OnChange = func(gateway.Session) {}
	}
	deps.Timings = deps.Timings.withDefaults()
	return &Supervisor{
		deps:   deps,
		log:    deps.Log,
		dials:  make(chan struct{}, dialing),
		kick:   make(chan struct{}, 1),
		looped: make(chan struct{}),
		actors: make(map[int64]*actor),
	}
}

// Start takes this worker's share of the sessions and keeps to it until Stop. A second call does nothing.
func (s *Supervisor) Start(ctx context.Context) {
	s.startOnce.Do(func() {
		ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			defer close(s.looped)
			s.loop(ctx)
		}()
	})
}

// Stop hands every session over: its lanes are closed, which waits for the send in hand, it is disconnected, and its lease is
// released, so that the others need not wait for the slowest. When ctx ends first, Stop returns its error, and what is left runs out with the leases. A second call, and one
// without a Start, does nothing.
func (s *Supervisor) Stop(ctx context.Context) (err error) {
	s.startOnce.Do(func() { close(s.looped) })
	s.stopOnce.Do(func() { err = s.stop(ctx) })
	return err
}

func (s *Supervisor) stop(ctx context.Context) error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	<-s.looped // no session starts any more
	// First, so that the others know that the sessions are theirs to take. Unsaid, they find out with the end of our leases.
	if err := s.deps.Store.RetireWorker(ctx, s.deps.Instance); err != nil {
		s.log.Warn("retire", "error", err)
	}
	s.mu.Lock()
	for _, a := range s.actors {
		a.end(handOver)
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("stop sessions: %w", ctx.Err())
	}
	if err := s.deps.Store.ReleaseSessions(ctx, s.deps.Instance); err != nil {
		return fmt.Errorf("release the leases: %w", err)
	}
	return nil
}

// Kick makes the supervisor look for free sessions and for commands at once.
func (s *Supervisor) Kick() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Send sends m through the live client of fence's session. The error is a *gateway.SendError: CauseFenced when the
// session is not, or no longer, ours under that fence, CauseOffline when it is not online, else what the client says.
func (s *Supervisor) Send(ctx context.Context, fence gateway.Fence, m *gateway.Message) (gateway.Sent, error) {
	client, err := s.online(fence)
	if err != nil {
		return gateway.Sent{}, err
	}
	return client.Send(ctx, m, func(ctx context.Context) error {
		// The claim has just checked the lease, and what is written before the wire checks it again. An upload may have come between.
		if age := s.deps.Clock().Sub(m.UpdatedAt); m.InFlight == fence.Owner && age >= 0 && age < justClaimed {
			return nil
		}
		return s.deps.Store.CheckFence(ctx, fence)
	})
}

// justClaimed is for how long after its claim a message is sent without another look at the lease before it is encrypted.
const justClaimed = time.Second

// Prepare has the live client of fence's session ask about people who are about to be written to. Nothing depends on its success; the
// error is one of Send's.
func (s *Supervisor) Prepare(ctx context.Context, fence gateway.Fence, recipients []string) error {
	client, err := s.online(fence)
	if err != nil {
		return err
	}
	return client.Prepare(ctx, recipients)
}

// online is the live client of fence's session.
func (s *Supervisor) online(fence gateway.Fence) (Client, error) {
	s.mu.Lock()
	a := s.actors[fence.TenantKey]
	s.mu.Unlock()
	if a == nil || a.fence != fence {
		return nil, &gateway.SendError{Cause: gateway.CauseFenced, Err: gateway.ErrFenced}
	}
	l := a.live.Load()
	if l == nil {
		return nil, &gateway.SendError{Cause: gateway.CauseOffline, Err: errNotOnline}
	}
	return l.client, nil
}

var errNotOnline = errors.New("the session is not online")

// Online reports whether the session of tenantKey is this process's and online.
func (s *Supervisor) Online(tenantKey int64) bool {
	s.mu.Lock()
	a := s.actors[tenantKey]
	s.mu.Unlock()
	return a != nil && a.live.Load() != nil
}

// SetRestriction stores what WhatsApp forbids the number for a time. gateway.ErrFenced.
func (s *Supervisor) SetRestriction(ctx context.Context, fence gateway.Fence, r gateway.Restriction) error {
	stored, err := s.deps.Store.UpdateSession(ctx, fence, func(row *gateway.Session) { row.Restriction = r })
	if err != nil {
		return fmt.Errorf("store the restriction: %w", err)
	}
	s.deps.OnChange(stored)
	return nil
}

// ClearRestriction removes the restriction, its count included. gateway.ErrFenced.
func (s *Supervisor) ClearRestriction(ctx context.Context, fence gateway.Fence) error {
	return s.SetRestriction(ctx, fence, gateway.Restriction{})
}

// backoff is the delay before reconnecting after failures in a row, the first included: none, then BackoffBase doubling up to
// BackoffCap, each by up to a quarter more or less so that many sessions do not come back in step.
func (t Timings) backoff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := t.BackoffCap
	if shift := failures - 1; shift < 20 {
		d = min(d, t.BackoffBase<<shift)
	}
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}
