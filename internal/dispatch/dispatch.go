// Package dispatch handles tickets: it claims a message, lets the session send it, judges the outcome and has it
// recorded. It promises that an outcome is never lost while the process lives, that a message is handed to WhatsApp
// only under a claim, and that what the session or a restriction holds up costs no attempt. It imports nothing of the hub
// but the domain.
package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Ledger writes statuses.
type Ledger interface {
	// Claim begins an attempt of the message that ticket entitles to; nil when there is nothing to do. What has expired is
	// ended instead. gateway.ErrFenced when the lease is lost; gateway.ErrNotAlone when the message takes ClaimAlone;
	// *gateway.DoubtfulClaim when the database did not say whether it succeeded.
	Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error)
	// ClaimAlone is Claim while this process has no other message in hand.
	ClaimAlone(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error)
	// Record writes what a claimed attempt came to; repeating it does no harm.
	Record(ctx context.Context, f gateway.Fence, messageID string, o gateway.Outcome) (gateway.Message, error)
}

// Sender is the live session.
type Sender interface {
	// Send sends m under m.WhatsAppID. nil is the proof of I5; every other error is a *gateway.SendError.
	Send(ctx context.Context, f gateway.Fence, m *gateway.Message) (gateway.Sent, error)
	// Prepare asks WhatsApp about people who are about to be written to, beside a send; nothing depends on its success.
	Prepare(ctx context.Context, f gateway.Fence, recipients []string) error
}

// Sessions knows what WhatsApp forbids a number.
type Sessions interface {
	Session(ctx context.Context, tenantKey int64) (gateway.Session, error)
	// SetRestriction stores r under the lease; the zero value lifts it.
	SetRestriction(ctx context.Context, f gateway.Fence, r gateway.Restriction) error
}

// Contacts knows who was written to before, and who is to be next.
type Contacts interface {
	// KnownContact reports whether a person was written to or has written: as Message.To names them, or their JID.
	KnownContact(ctx context.Context, tenantKey int64, to, recipientJID string) (bool, error)
	// NextRecipients lists the people whom the next messages go to, those of at most limit messages of each lane, and tells how many of these
	// go to them.
	NextRecipients(ctx context.Context, tenantKey int64, limit int) (recipients []string, messages int, err error)
}

// Paces knows how fast each tenant may send, and what it sent lately.
type Paces interface {
	Pacing(ctx context.Context, tenantKey int64) (gateway.PacingChoice, error)
	// SentTimes lists when the last messages after since were sent, oldest first, at most the newest limit.
	SentTimes(ctx context.Context, tenantKey int64, since time.Time, limit int) ([]time.Time, error)
	// FirstContactTimes is the same for those to people who were never written to before.
	FirstContactTimes(ctx context.Context, tenantKey int64, since time.Time, limit int) ([]time.Time, error)
	// HeldBefore counts the messages of m's tenant that are held for the same reason, until a time before within (zero: any), and are to go before
	// m: those of higher lanes and the older ones of its own, but none that will have expired by then or whose bulk was stopped. It counts no more than limit.
	HeldBefore(ctx context.Context, m *gateway.Message, reason gateway.Failure, within time.Time, limit int) (int, error)
	// SentTimesTo is the same for one recipient, as Message.To names it, in whatever other way it was written to.
	SentTimesTo(ctx context.Context, tenantKey int64, to string, since time.Time, limit int) ([]time.Time, error)
	// Bulk reads a bulk that was accepted. gateway.CodeNotFound.
	Bulk(ctx context.Context, tenantKey int64, id string) (gateway.Bulk, error)
}

// Files fetches the files that messages name by a URL.
type Files interface {
	// Fetch gives m its file, once and for all. Every error is a *gateway.SendError; nothing was sent then. It returns within a moment, with
	// gateway.CauseFetching while the file is being fetched.
	Fetch(ctx context.Context, f gateway.Fence, m *gateway.Message) error
}

// Previews makes previews of links.
type Previews interface {
	// Preview gives m a preview of its first link if one can be had. It returns within some seconds; the only error is a *gateway.SendError with
	// gateway.CausePreviewing, once for a message and within a moment, while the page is being fetched.
	Preview(ctx context.Context, m *gateway.Message) error
}

// Queue takes delayed tickets.
type Queue interface {
	EnqueueAt(ctx context.Context, ticket gateway.Ticket, at time.Time) error
}

// Deps are what a Dispatcher works with.
type Deps struct {
	Ledger   Ledger
	Sender   Sender
	Sessions Sessions
	Contacts Contacts
	Paces    Paces
	Queue    Queue
	Files    Files
	Previews Previews

	Clock   func() time.Time // default time.Now
	Rand    func() float64   // in [0, 1); default math/rand
	Log     *slog.Logger     // default: discard
	Pacing  gateway.Pacing   // of tenants that chose nothing
	Options Options
}

// Options are the times of a Dispatcher. Zero fields mean the default.
type Options struct {
	SendTimeout time.Duration // of a text; media get uploadBase and the time of their bytes on top; default 60 s
	RetryBase   time.Duration // bound of the first backoff, doubled each time; default 1 s
	RetryCap    time.Duration // bound of any backoff; default 5 min
	HoldBase    time.Duration // first hold of a restricted message; default 1 h
	HoldCap     time.Duration // longest hold; default 24 h
	StorePause  time.Duration // between tries when the database does not answer; default 1 s
	AloneWait   time.Duration // for all other sends of the process to end, before one that must be alone; default 30 s
}

const (
	uploadBase   = 60 * time.Second
	uploadRate   = 128 << 10 // bytes per second that a slow line uploads
	recordLimit  = 10 * time.Second
	lastRecord   = 3 * time.Second // for the last try, when the handler was told to end
	enqueueLimit = time.Second
	fetchPause   = 2 * time.Second // before a message is looked at again whose file or page is being fetched
)

// Dispatcher handles the tickets of all tenants of this process.
type Dispatcher struct {
	Deps
	floor  floor
	life   context.Context //nolint:containedctx // of what is recorded beside the sends
	end    context.CancelFunc
	behind sync.WaitGroup // outcomes that are recorded beside the sends

	mu         sync.Mutex
	unrecorded map[int64]map[string]gateway.Outcome // by tenant and message: could not be written yet
	recording  map[int64]chan struct{}              // by tenant: closed when the outcome that is written beside the next send is written
	pacers     map[int64]*pacer                     // by tenant
}

// New makes a Dispatcher; Stop ends it.
func New(deps Deps) *Dispatcher {
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Rand == nil {
		deps.Rand = rand.Float64
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	o := &deps.Options
	for _, d := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{
		{&o.SendTimeout, 60 * time.Second},
		{&o.RetryBase, time.Second},
		{&o.RetryCap, 5 * time.Minute},
		{&o.HoldBase, time.Hour},
		{&o.HoldCap, 24 * time.Hour},
		{&o.StorePause, time.Second},
		{&o.AloneWait, 30 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.fallback
		}
	}
	d := &Dispatcher{
		Deps:       deps,
		floor:      floor{changed: make(chan struct{})},
		unrecorded: make(map[int64]map[string]gateway.Outcome),
		recording:  make(map[int64]chan struct{}),
		pacers:     make(map[int64]*pacer),
	}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Handle does what ticket asks for under the lease fence, and says what becomes of the ticket. It returns soon after ctx
// ends; an outcome that could not be recorded by then is kept and recorded when the tenant's next ticket comes. That a message was sent
// may still be being recorded when it returns, see Settled.
func (d *Dispatcher) Handle(ctx context.Context, fence gateway.Fence, ticket gateway.Ticket) gateway.Verdict {
	if err := d.recordLeft(ctx, fence); err != nil {
		return gateway.Verdict{Kind: gateway.VerdictGiveBack}
	}
	rest, err := d.pace(ctx, fence, ticket.Lane)
	if err != nil || rest.For > 0 {
		return gateway.Verdict{Kind: gateway.VerdictGiveBack, Rest: rest}
	}
	verdict, err := d.beside(ctx, fence, ticket)
	if errors.Is(err, gateway.ErrNotAlone) {
		verdict, err = d.alone(ctx, fence, ticket)
	}
	switch {
	// Without a database no other ticket can be claimed either: they keep their places.
	case errors.Is(err, gateway.ErrFenced), errors.Is(err, gateway.ErrQueueClosed), errors.Is(err, errNoFloor), errors.Is(err, &gateway.Error{Code: gateway.CodeUnavailable}), err != nil && ctx.Err() != nil:
		return gateway.Verdict{Kind: gateway.VerdictGiveBack}
	case err != nil:
		// Not given back: a message that cannot be read must not block those behind it.
		d.Log.Warn("could not claim, trying again", "messageId", ticket.MessageID, "error", err)
		return gateway.Verdict{Kind: gateway.VerdictRetry, Delay: d.Options.StorePause}
	}
	if verdict.Kind != gateway.VerdictGiveBack { // that keeps the tenant back by itself
		verdict.Rest = d.rest(fence.TenantKey)
	}
	return verdict
}

// handle claims, attempts and records; apart: before it returns, whatever the outcome. Its error is that of the claim: nothing was done.
func (d *Dispatcher) handle(ctx context.Context, fence gateway.Fence, ticket gateway.Ticket, claim claimFunc, apart bool) (gateway.Verdict, error) {
	m, err := claim(ctx, fence, ticket, fence.Owner)
	if doubt, ok := errors.AsType[*gateway.DoubtfulClaim](err); ok {
		// It is given back before the next claim. When the claim had no effect, neither has that.
		d.keep(fence.TenantKey, doubt.MessageID, gateway.Outcome{Kind: gateway.OutcomeWait, Failure: noDatabase()})
	}
	if m == nil || err != nil {
		return gateway.Verdict{Kind: gateway.VerdictDone}, err
	}
	prepared := d.lookAhead(ctx, fence, m)
	defer prepared()
	outcome := d.attempt(ctx, fence, m)
	d.log(m, outcome)
	if apart || !d.mayFollow(ctx, m, outcome) {
		return d.settle(ctx, fence, ticket, m.ID, outcome), nil
	}
	d.settleBeside(ctx, fence, m, outcome)
	if m.ID == ticket.MessageID {
		return gateway.Verdict{Kind: gateway.VerdictDone}, nil
	}
	return gateway.Verdict{Kind: gateway.VerdictAgain}, nil
}

// settle records an outcome and says what becomes of the ticket that led to it.
func (d *Dispatcher) settle(ctx context.Context, fence gateway.Fence, ticket gateway.Ticket, id string, o gateway.Outcome) gateway.Verdict {
	stored, err := d.record(ctx, fence, id, o)
	switch {
	case errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}):
		return gateway.Verdict{Kind: gateway.VerdictDone} // its tenant was deleted
	case err != nil:
		d.keep(fence.TenantKey, id, o)
		return gateway.Verdict{Kind: gateway.VerdictGiveBack}
	}
	return d.verdict(ctx, ticket, &stored)
}

// verdict follows from what the message waits for now. The message need not be the ticket's own: then the ticket has
// not had its turn yet.
func (d *Dispatcher) verdict(ctx context.Context, ticket gateway.Ticket, m *gateway.Message) gateway.Verdict {
	own := m.ID == ticket.MessageID
	if m.Status.Final() {
		if own {
			return gateway.Verdict{Kind: gateway.VerdictDone}
		}
		return gateway.Verdict{Kind: gateway.VerdictAgain}
	}
	if m.Status == gateway.StatusQueued && m.InFlight == "" {
		return gateway.Verdict{Kind: gateway.VerdictAgain} // the database lost its claim
	}
	switch m.Phase {
	case gateway.PhaseBackoff, gateway.PhaseHeld:
		if own {
			return gateway.Verdict{Kind: gateway.VerdictRetry, Delay: max(0, m.NextAttemptAt.Sub(d.Clock()))}
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueLimit)
		defer cancel()
		delayed := gateway.Ticket{TenantKey: ticket.TenantKey, MessageID: m.ID, Lane: m.Priority}
		if err := d.Queue.EnqueueAt(ctx, delayed, m.NextAttemptAt); err != nil {
			d.Log.Warn("could not enqueue a retry; the relay will", "messageId", m.ID, "error", err)
		}
		return gateway.Verdict{Kind: gateway.VerdictAgain}
	case gateway.PhaseOffline:
		// The next claim in this lane takes the message up again, whichever ticket leads to it.
		return gateway.Verdict{Kind: gateway.VerdictGiveBack}
	default:
		return gateway.Verdict{Kind: gateway.VerdictDone} // in other hands by now
	}
}

// attempt sends m unless a restriction forbids it, and judges what came of it.
func (d *Dispatcher) attempt(ctx context.Context, fence gateway.Fence, m *gateway.Message) (outcome gateway.Outcome) {
	defer func() {
		if p := recover(); p != nil { // else the message would stay in this process' hand until it ends
			d.Log.Error("the handling of a message panicked", "tenant", m.TenantID, "messageId", m.ID, "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
			failed := &gateway.SendError{Cause: gateway.CauseInternal, OnWire: true, Err: errors.New("panic around the send")}
			outcome = d.at(m, classify(failed), d.Clock().Add(d.backoff(m.Attempts)))
		}
	}()
	var restriction gateway.Restriction
	if m.Restricted {
		session, err := d.Sessions.Session(ctx, fence.TenantKey)
		if err != nil {
			d.Log.Warn("could not read the session", "messageId", m.ID, "error", err)
			return gateway.Outcome{Kind: gateway.OutcomeWait, Failure: noDatabase()}
		}
		restriction = session.Restriction
	}
	restricted := restriction.Kind == gateway.RestrictionFirstContacts
	first := (restricted || d.capsFirstContacts(m.TenantKey)) && d.firstContact(ctx, m)
	if restricted && first && d.forbidden(restriction, m) {
		return d.at(m, heldOutcome(restriction), restriction.Until)
	}
	if own, kept := d.keepBack(ctx, m, first); kept {
		return own
	}

	var sent gateway.Sent
	var err error
	if m.ToFetch() != nil {
		err = d.Files.Fetch(ctx, fence, m)
	}
	if m.WantsPreview() && !m.Uncertain { // what may have arrived goes out as it did
		err = d.Previews.Preview(ctx, m)
	}
	if err == nil {
		sent, err = d.send(ctx, fence, m)
	}
	if err == nil {
		if restricted && first {
			d.lift(ctx, fence)
		}
		sent.FirstContact = first
		d.paced(m.TenantKey, first)
		return gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &sent}
	}
	failed := asSendError(err)
	if failed.OnWire {
		d.paced(m.TenantKey, false)
	}
	outcome = classify(failed)
	switch outcome.Kind {
	case gateway.OutcomeRetry:
		return d.at(m, outcome, d.Clock().Add(d.backoff(m.Attempts)))
	case gateway.OutcomeHold:
		if failed.Cause == gateway.CauseFetching || failed.Cause == gateway.CausePreviewing {
			return d.at(m, outcome, d.Clock().Add(fetchPause))
		}
		if now, err := d.Sessions.Session(ctx, fence.TenantKey); err == nil { // WhatsApp may have told more while it was sent
			restriction = now.Restriction
		}
		return d.at(m, outcome, d.restrict(ctx, fence, m, failed, restriction))
	default:
		return outcome
	}
}

func noDatabase() gateway.Failure {
	return gateway.Failure{Code: gateway.CodeStorage, Message: "The hub's database did not answer.", Retryable: true}
}

// send bounds a send and contains its panic (I6).
func (d *Dispatcher) send(ctx context.Context, fence gateway.Fence, m *gateway.Message) (sent gateway.Sent, err error) {
	limit := d.Options.SendTimeout
	if m.Media != nil {
		limit += uploadBase + time.Duration(m.Media.Size/uploadRate)*time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			d.Log.Error("a send panicked", "tenant", m.TenantID, "messageId", m.ID, "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
			err = &gateway.SendError{Cause: gateway.CauseInternal, OnWire: true, Err: errors.New("panic during the send")}
		}
	}()
	return d.Sender.Send(ctx, fence, m)
}

func asSendError(err error) *gateway.SendError {
	if e, ok := errors.AsType[*gateway.SendError](err); ok {
		return e
	}
	// A sender that does not say what happened may have sent.
	return &gateway.SendError{Cause: gateway.CauseInternal, OnWire: true, Err: err}
}

// at sets when an outcome is followed by the next attempt: not beyond the message's end, where it expires.
func (d *Dispatcher) at(m *gateway.Message, o gateway.Outcome, at time.Time) gateway.Outcome {
	if !m.ExpiresAt.IsZero() && at.After(m.ExpiresAt) {
		at = m.ExpiresAt
	}
	o.RetryAt = at.UTC()
	return o
}

// backoff is exponential with full jitter: a random part of the bound for the attempt that failed, the first being 1.
func (d *Dispatcher) backoff(attempt int) time.Duration {
	bound := d.Options.RetryBase
	for range attempt - 1 {
		if bound *= 2; bound >= d.Options.RetryCap {
			bound = d.Options.RetryCap
			break
		}
	}
	return time.Duration(d.Rand() * float64(bound))
}

func (d *Dispatcher) log(m *gateway.Message, o gateway.Outcome) {
	if o.Kind == gateway.OutcomeSent {
		d.Log.Debug("sent", "messageId", m.ID, "attempt", m.Attempts)
		return
	}
	d.Log.Info("not sent", "messageId", m.ID, "attempt", m.Attempts, "outcome", string(o.Kind), "code", string(o.Failure.Code),
		"onWire", o.OnWire, "retryAt", o.RetryAt)
}
