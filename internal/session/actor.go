package session

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// ending is how an actor ends.
type ending int

const (
	fenced   ending = iota // the lease is lost: disconnect at once, write nothing
	handOver               // finish the send in hand, disconnect, say so, and release the lease
)

// storeTimeout bounds one use of the database; saveRetry is when a row that could not be written is tried again.
const (
	storeTimeout = 5 * time.Second
	saveRetry    = time.Second
)

// judging is how long it may take until all that was held is judged anew. A session that is handed over before leaves that to the next owner.
const judging = 30 * time.Second

// inboxSize bounds what waits for an actor. A sender finding it full waits, which only ever delays that very session.
const inboxSize = 64

// link is one client of a session, from its making to its end.
type link struct {
	client Client
	cancel context.CancelFunc       // ends a dial
	ctx    context.Context          //nolint:containedctx // the life of the client
	own    atomic.Pointer[[]string] // the session's own names, for receipts

	mu        sync.Mutex
	late      []recording // of what could not be recorded yet
	recording bool        // recordLate runs
}

// recording stores something that came from WhatsApp.
type recording func(context.Context) error

// actor owns one session. What is posted to it is done one by one, by a goroutine that is there only while there is something to do: thousands of
// sessions that idle keep no stack. Its fields belong to what is posted, but for those said to be shared.
type actor struct {
	s      *Supervisor
	ctx    context.Context //nolint:containedctx // the life of the actor, for what is done later
	log    *slog.Logger
	fence  gateway.Fence
	tenant string

	// Shared.
	live     atomic.Pointer[link] // the client that sends may use, nil when not online
	inbox    chan func()
	commandC chan gateway.Command
	ended    atomic.Bool
	leaving  atomic.Bool // ended, and to be handed over
	done     chan struct{}

	mu      sync.Mutex
	working bool // its goroutine is there

	session gateway.Session // as we want it stored
	unsaved bool
	ban     *gateway.Restriction // to be stored with the next save
	holding bool                 // the queue is to be held with the next save
	lost    bool                 // the store said that the fence is lost

	link        *link
	lanesOpen   bool
	lanesClosed chan struct{} // closed when the closing in progress is done, nil when there is none

	alarm *time.Timer // the one thing to do later, nil when there is none
	retry *time.Timer // of a save, nil when there is none

	attempt     int // counts dials, so that the failure of an old one is not taken for that of the current one
	failures    int
	connectedAt time.Time
	replacedAt  time.Time
	paced       time.Time // when what is held was last to be judged anew, see release
	refreshed   bool      // the client version was fetched anew since WhatsApp last took one
}

// newActor makes an actor that does nothing before run.
func newActor(ctx context.Context, s *Supervisor, session gateway.Session) *actor {
	return &actor{
		s:        s,
		ctx:      ctx,
		log:      s.log.With("tenant", session.TenantID),
		fence:    session.Fence(),
		tenant:   session.TenantID,
		inbox:    make(chan func(), inboxSize),
		commandC: make(chan gateway.Command, 8),
		done:     make(chan struct{}),
		working:  true,
		session:  session,
	}
}

// end asks the actor to end; done is closed when it has. The first way asked for counts.
func (a *actor) end(how ending) {
	a.mu.Lock()
	if !a.ended.Load() {
		a.leaving.Store(how == handOver)
		a.ended.Store(true)
	}
	a.mu.Unlock()
	a.wake()
}

func (a *actor) ending() bool { return a.ended.Load() }

// command passes a command on. False: there is no room for it.
func (a *actor) command(c gateway.Command) bool {
	select {
	case a.commandC <- c:
		a.wake()
		return true
	default:
		return false
	}
}

// post has do done. It waits for room, unless the actor has ended.
func (a *actor) post(do func()) {
	select {
	case a.inbox <- do:
		a.wake()
	case <-a.done:
	}
}

// wake has the goroutine look for what was left for it.
func (a *actor) wake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.working {
		a.working = true
		go a.work()
	}
}

// run owns the session until end. It returns when there is nothing to do for now.
func (a *actor) run() {
	if !a.ended.Load() {
		a.step(func() { a.begin(a.ctx) })
	}
	a.work()
}

// work does what there is to do, and after an end the last things.
func (a *actor) work() {
	for {
		if a.ended.Load() {
			a.finish(a.ctx)
			a.s.forget(a)
			close(a.done)
			a.s.tasks.Done()
			return // nobody works again
		}
		do := a.next()
		if do == nil {
			return
		}
		a.step(do)
	}
}

// next takes what waits longest; nil when nothing does, and then the goroutine must end.
func (a *actor) next() func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case do := <-a.inbox:
		return do
	case command := <-a.commandC:
		return func() { a.obey(a.ctx, command) }
	default:
	}
	if a.ended.Load() {
		return func() {}
	}
	a.working = false
	return nil
}

// step does one thing. After a panic the session is taken up anew, with the backoff of a lost connection.
func (a *actor) step(do func()) {
	if a.contained(do) {
		a.contained(a.drop)
		a.failures++
		delay := a.s.deps.Timings.backoff(a.failures)
		a.contained(func() { a.restart(a.ctx, delay) })
	}
	if a.lost {
		a.end(fenced)
	}
}

// restart takes the session up again some time after a panic.
func (a *actor) restart(ctx context.Context, delay time.Duration) {
	a.later(delay, func() { a.begin(ctx) })
	if a.session.JID != "" {
		a.setState(ctx, gateway.SessionOffline, gateway.ReasonConnectFailed)
	}
}

// contained runs do and reports whether it panicked, which is logged: one session's panic is its own (I6).
func (a *actor) contained(do func()) (panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			panicked = true
			a.log.Error("panic in a session", "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
		}
	}()
	do()
	return false
}

// finish ends the session's life in this process.
func (a *actor) finish(ctx context.Context) {
	how := fenced
	if a.leaving.Load() && !a.lost {
		how = handOver
	}
	a.contained(func() {
		a.never()
		if how == fenced {
			// Somebody else may connect any moment: the send in hand is cut off rather than waited for.
			a.drop()
			return
		}
		a.closeLanes()
		a.waitForLanes()
		a.drop()
		switch a.session.State {
		case gateway.SessionOnline, gateway.SessionConnecting, gateway.SessionOffline:
			a.setState(ctx, gateway.SessionOffline, gateway.ReasonShutdown)
		case gateway.SessionPairing:
			a.setState(ctx, gateway.SessionUnpaired, gateway.ReasonPairingFailed)
		default: // what holds goes on holding
		}
		if a.unsaved {
			a.save(ctx)
		}
	})
	if a.retry != nil {
		a.retry.Stop()
	}
	if how == handOver && !a.lost {
		a.contained(func() { a.release(ctx) })
	}
}

// release gives the lease up, with the commands that came too late to be carried out here. One that stays held, because the
// database does not answer, is found by the next renewal, or runs out.
func (a *actor) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for len(a.commandC) > 0 {
		a.s.putBack(ctx, <-a.commandC)
	}
	if !a.paced.IsZero() && a.s.deps.Clock().Sub(a.paced) < judging {
		a.s.putBack(ctx, gateway.Command{TenantKey: a.fence.TenantKey, Kind: gateway.CommandPacing}) // it may not have been done yet
	}
	if err := a.s.deps.Store.ReleaseSession(ctx, a.fence); err != nil {
		a.log.Warn("release the lease of a session", "error", err)
	}
}

// drop disconnects and forgets the client, then closes the lanes.
func (a *actor) drop() {
	a.live.Store(nil)
	if l := a.link; l != nil {
		a.link = nil
		l.end()
		l.client.Disconnect()
	}
	a.closeLanes()
	a.waitForLanes()
}

// Lanes.

// openLanes lets messages come, once the session is online, its queue neither paused nor held, and an earlier closing done.
func (a *actor) openLanes() {
	if a.lanesOpen || a.lanesClosed != nil || a.live.Load() == nil || a.session.QueuePaused || a.session.QueueHeld {
		return
	}
	a.lanesOpen = true
	a.s.deps.Lanes.Open(a.fence)
}

// reconsider has everything judged anew that rests or is held.
func (a *actor) reconsider() {
	a.paced = a.s.deps.Clock()
	a.s.deps.Lanes.Reconsider(a.fence)
	if a.lanesOpen {
		a.s.deps.Lanes.Open(a.fence)
	}
}

// closeLanes lets no further message come. It does not wait for the one in hand: that may be waiting for the connection that
// this goroutine has to restore.
func (a *actor) closeLanes() {
	if !a.lanesOpen {
		return
	}
	a.lanesOpen = false
	closed := make(chan struct{})
	a.lanesClosed = closed
	go func() {
		a.contained(func() { a.s.deps.Lanes.Close(a.fence.TenantKey) })
		close(closed)
		a.post(func() {
			if a.lanesClosed == closed { // else somebody waited for it
				a.lanesClosed = nil
				a.openLanes()
			}
		})
	}()
}

func (a *actor) waitForLanes() {
	if a.lanesClosed != nil {
		<-a.lanesClosed
		a.lanesClosed = nil
	}
}

// Timer.

// later does something after d, instead of what was to be done later before.
func (a *actor) later(d time.Duration, do func()) {
	a.never()
	var alarm *time.Timer
	alarm = time.AfterFunc(d, func() {
		a.post(func() {
			if a.alarm == alarm { // else it was too late to stop it
				a.alarm = nil
				do()
			}
		})
	})
	a.alarm = alarm
}

func (a *actor) never() {
	if a.alarm != nil {
		a.alarm.Stop()
		a.alarm = nil
	}
}

// Row.

// setState changes the state, clears what belongs to the old one, and stores it.
func (a *actor) setState(ctx context.Context, state gateway.SessionState, reason gateway.SessionReason) {
	if a.session.State == state && a.session.Reason == reason && !a.unsaved && a.ban == nil && !a.holding {
		return
	}
	if a.session.State != state {
		a.session.Since = a.s.deps.Clock().UTC()
	}
	a.session.State, a.session.Reason = state, reason
	if state != gateway.SessionPairing {
		a.session.PairingCode, a.session.PairingExpiresAt, a.session.PairingPhone = "", time.Time{}, ""
	}
	a.save(ctx)
}

// save stores the row. What fails is tried again later; a lost fence ends the actor.
func (a *actor) save(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	want := a.session
	stored, err := a.s.deps.Store.UpdateSession(ctx, a.fence, func(row *gateway.Session) {
		row.State, row.Reason, row.Since = want.State, want.Reason, want.Since
		row.JID, row.LID, row.LastNumber = want.JID, want.LID, want.LastNumber
		row.QueueHeld = row.QueueHeld || a.holding
		row.PairingCode, row.PairingExpiresAt, row.PairingPhone = want.PairingCode, want.PairingExpiresAt, want.PairingPhone
		if a.ban != nil {
			row.Restriction = *a.ban
		}
	})
	switch {
	case errors.Is(err, gateway.ErrFenced):
		a.lost = true
	case err != nil:
		a.unsaved = true
		a.saveLater()
		a.log.Warn("store the state of a session", "state", string(want.State), "error", err)
	default:
		a.unsaved, a.ban, a.holding = false, nil, false
		a.session = stored
		a.s.deps.OnChange(stored)
		if stored.QueuePaused || stored.QueueHeld {
			a.closeLanes()
		} else {
			a.openLanes()
		}
	}
}

// saveLater saves again after a while.
func (a *actor) saveLater() {
	if a.retry != nil {
		a.retry.Stop()
	}
	var retry *time.Timer
	retry = time.AfterFunc(saveRetry, func() {
		a.post(func() {
			if a.retry == retry {
				a.retry = nil
				a.save(a.ctx)
			}
		})
	})
	a.retry = retry
}
