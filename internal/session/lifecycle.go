package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
)

// receiptTries is how often a receipt or a message is recorded before it is left to WhatsApp, which delivers it again with the next
// connection; receiptPause lies between.
const (
	receiptTries = 3
	receiptPause = 100 * time.Millisecond
	// lateReceipts is how many of those are kept beside, and lateReceiptPause the longest pause between tries.
	lateReceipts     = 1024
	lateReceiptPause = 10 * time.Second
)

// begin takes up the session from what its row says: whoever owned it before may have died anywhere.
func (a *actor) begin(ctx context.Context) {
	switch {
	case a.session.JID == "" && a.session.State == gateway.SessionLoggedOut:
	case a.session.JID == "" && a.session.State == gateway.SessionUnpaired:
	case a.session.JID == "":
		reason := gateway.ReasonNeverPaired
		if a.session.State == gateway.SessionPairing {
			reason = gateway.ReasonPairingFailed
		}
		a.setState(ctx, gateway.SessionUnpaired, reason)
	case a.session.State == gateway.SessionBanned && a.s.deps.Clock().Before(a.session.Restriction.Until):
		a.holdBan(ctx)
	default:
		a.connect(ctx)
	}
}

// obey carries a command out.
func (a *actor) obey(ctx context.Context, c gateway.Command) {
	switch c.Kind {
	case gateway.CommandConnect:
		a.connectByCommand(ctx, c.Phone)
	case gateway.CommandLogout:
		a.logout(ctx)
	case gateway.CommandQueue:
		a.save(ctx) // which reads what the API wrote
	case gateway.CommandPacing:
		a.reconsider()
	case gateway.CommandQuery:
		a.answer(c.Query) //nolint:contextcheck // it outlives the command
	default:
		a.log.Warn("unknown command", "command", string(c.Kind))
	}
}

// answer has a question answered beside the actor, by the client that is online, if there is one.
func (a *actor) answer(query string) {
	if a.s.deps.Queries == nil {
		return
	}
	ctx, client := a.ctx, Client(nil)
	if l := a.live.Load(); l != nil {
		ctx, client = l.ctx, l.client
	}
	a.s.tasks.Go(func() {
		a.contained(func() { a.s.deps.Queries.Answer(ctx, client, a.fence.TenantKey, query) })
	})
}

// connectByCommand pairs a session without a number: by a code that phone enters, by QR codes when phone is empty. A pairing in
// progress goes on when it is that very one, so that asking twice does not make a code void that somebody is typing.
func (a *actor) connectByCommand(ctx context.Context, phone string) {
	switch {
	case a.session.JID == "" && a.session.State == gateway.SessionPairing && a.session.PairingPhone == phone:
	case a.session.JID == "":
		a.pair(ctx, phone)
	case a.session.State == gateway.SessionOnline, a.session.State == gateway.SessionConnecting:
	default:
		a.failures, a.replacedAt, a.refreshed = 0, time.Time{}, false
		a.connect(ctx)
	}
}

// logout closes the lanes, unlinks the device and forgets the number.
func (a *actor) logout(ctx context.Context) {
	a.never()
	a.live.Store(nil)
	a.closeLanes()
	a.waitForLanes()
	if a.session.JID != "" {
		if err := a.unlink(ctx); err != nil {
			a.log.Error("log out", "error", err)
		}
	}
	a.drop()
	a.session.JID, a.session.LID = "", ""
	a.setState(ctx, gateway.SessionUnpaired, gateway.ReasonLogoutByUser)
}

func (a *actor) unlink(ctx context.Context) error {
	l, err := a.open(ctx)
	if errors.Is(err, gateway.ErrNoKeys) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.s.deps.Timings.LogoutTimeout)
	defer cancel()
	return l.client.Logout(ctx)
}

// open is the session's client, made when there is none.
func (a *actor) open(ctx context.Context) (*link, error) {
	if a.link != nil {
		return a.link, nil
	}
	l := &link{}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.own.Store(a.names())
	makeCtx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	client, err := a.s.deps.Clients(makeCtx, a.session, func(eventCtx context.Context, event gateway.ClientEvent) error {
		if event.Kind == gateway.ClientReceipt {
			return a.receipt(eventCtx, l, event.Receipt)
		}
		if event.Kind == gateway.ClientMessage {
			return a.inbound(eventCtx, l, event.Inbound)
		}
		a.post(func() {
			if a.link == l { // else it is about a client that is gone
				a.take(ctx, l, event)
			}
		})
		return nil
	})
	if err != nil {
		l.cancel()
		return nil, fmt.Errorf("make the client: %w", err)
	}
	l.client = client
	a.link = l
	return l, nil
}

func (a *actor) names() *[]string {
	names := []string{}
	for _, jid := range []string{a.session.JID, a.session.LID} {
		if jid != "" {
			names = append(names, gateway.BareJID(jid))
		}
	}
	return &names
}

// connect dials, after confirming the lease.
func (a *actor) connect(ctx context.Context) {
	a.never()
	l, err := a.open(ctx)
	switch {
	case errors.Is(err, gateway.ErrNoKeys):
		a.log.Error("the number must be paired anew", "error", err)
		a.session.JID, a.session.LID = "", ""
		a.setState(ctx, gateway.SessionLoggedOut, gateway.ReasonDeviceRemoved)
		return
	case err != nil:
		a.log.Error("connect", "error", err)
		a.reconnect(ctx, gateway.ReasonConnectFailed)
		return
	}
	if a.session.State != gateway.SessionOffline || a.session.Reason == gateway.ReasonShutdown {
		a.setState(ctx, gateway.SessionConnecting, gateway.ReasonConnecting)
	}
	a.dial(ctx, l, l.client.Connect)
}

// pair dials for a new number; see connectByCommand for phone.
func (a *actor) pair(ctx context.Context, phone string) {
	a.never()
	a.drop()
	l, err := a.open(ctx)
	if err != nil {
		a.log.Error("pair", "error", err)
		a.pairFailed(ctx, gateway.ReasonPairingFailed)
		return
	}
	reason := gateway.ReasonScanQR
	if phone != "" {
		reason = gateway.ReasonEnterCode
	}
	a.session.PairingCode, a.session.PairingExpiresAt, a.session.PairingPhone = "", time.Time{}, phone
	a.unsaved = true // be the state the same: the code is another one's
	a.setState(ctx, gateway.SessionPairing, reason)
	a.dial(ctx, l, func(ctx context.Context) error { return l.client.Pair(ctx, phone) })
}

// dial runs a client's Connect or Pair beside the actor, and gives it up when nothing comes of it in time.
func (a *actor) dial(ctx context.Context, l *link, dial func(context.Context) error) {
	a.attempt++
	attempt := a.attempt
	timeout := a.s.deps.Timings.ConnectTimeout
	a.later(timeout, func() {
		a.log.Warn("no login in time", "after", timeout)
		a.dialFailed(ctx, l)
	})
	go func() {
		var err error
		if a.contained(func() { err = a.dialNow(l, timeout, dial) }) { //nolint:contextcheck // a dial ends with its client
			err = errors.New("panic while connecting")
		}
		if err == nil {
			return
		}
		a.post(func() {
			if a.link != l || a.attempt != attempt {
				return
			}
			if errors.Is(err, gateway.ErrFenced) {
				a.lost = true
				return
			}
			a.log.Warn("connect", "error", err)
			a.dialFailed(ctx, l)
		})
	}()
}

func (a *actor) dialNow(l *link, timeout time.Duration, dial func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	select {
	case a.s.dials <- struct{}{}:
		defer func() { <-a.s.dials }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := a.s.deps.Store.CheckFence(ctx, a.fence); err != nil {
		return err
	}
	return dial(ctx)
}

func (a *actor) dialFailed(ctx context.Context, l *link) {
	if a.session.JID == "" {
		a.pairFailed(ctx, gateway.ReasonConnectFailed)
		return
	}
	l.client.Disconnect()
	a.reconnect(ctx, gateway.ReasonConnectFailed)
}

// flapping bounds the failures that are counted against a session whose logins succeed but do not last: its messages
// must not wait for a minute because the line broke a few times.
const flapping = 2

// reconnect waits for the backoff, offline for reason, then connects.
func (a *actor) reconnect(ctx context.Context, reason gateway.SessionReason) {
	a.offline()
	now := a.s.deps.Clock()
	switch {
	case a.connectedAt.IsZero():
	case now.Sub(a.connectedAt) >= a.s.deps.Timings.Stable:
		a.failures = 0
	default:
		a.failures = min(a.failures, flapping)
	}
	a.connectedAt = time.Time{}
	delay := a.s.deps.Timings.backoff(a.failures)
	a.failures++
	a.setState(ctx, gateway.SessionOffline, reason)
	a.later(delay, func() { a.connect(ctx) })
}

// offline lets no send begin any more. One in flight goes on: with a quick reconnect it is completed.
func (a *actor) offline() {
	a.live.Store(nil)
	a.closeLanes()
}

// hold stays in a state until a command, or the next owner, changes it.
func (a *actor) hold(ctx context.Context, state gateway.SessionState, reason gateway.SessionReason) {
	a.never()
	a.drop()
	a.setState(ctx, state, reason)
}

// receipt records what a recipient confirmed.
func (a *actor) receipt(ctx context.Context, l *link, r *gateway.Receipt) error {
	if r == nil {
		return nil
	}
	return a.record(ctx, l, func(ctx context.Context) error {
		return a.s.deps.Receipts.Receipt(ctx, a.fence.TenantKey, *l.own.Load(), *r)
	})
}

// inbound stores what the number has received.
func (a *actor) inbound(ctx context.Context, l *link, m *gateway.Inbound) error {
	if m == nil || a.s.deps.Inbound == nil {
		return nil
	}
	received := *m
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	received.ID, received.TenantKey, received.TenantID, received.ReceivedAt = id.String(), a.fence.TenantKey, a.tenant, a.s.deps.Clock().UTC()
	return a.record(ctx, l, func(ctx context.Context) error {
		again := received // of a failed try nothing is kept
		return a.s.deps.Inbound.ReceiveInbound(ctx, &again)
	})
}

// record stores what came from WhatsApp, in a goroutine of the client's: the acknowledgement waits for it.
func (a *actor) record(ctx context.Context, l *link, do recording) (err error) {
	for try := 1; ; try++ {
		if err = do(ctx); err == nil {
			return nil
		}
		if try == receiptTries {
			a.keepLate(l, do)
			return err
		}
		pause := time.NewTimer(receiptPause << (try - 1))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// recordLate records, for as long as the client lives, what was not acknowledged: WhatsApp delivers it again, but
// with the next connection only, which may be days away. It ends when nothing is left.
func (a *actor) recordLate(l *link) {
	for pause := receiptPause; ; {
		do, ok := l.nextLate()
		if !ok {
			return
		}
		if do(l.ctx) == nil {
			pause = receiptPause
			continue
		}
		a.keepLate(l, do) // behind the others, which it must not hold up
		pause = min(2*pause, lateReceiptPause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// keepLate keeps a recording for recordLate, which it starts when it does not run; one too many is left to WhatsApp.
func (a *actor) keepLate(l *link, do recording) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil || len(l.late) >= lateReceipts {
		return
	}
	l.late = append(l.late, do)
	if !l.recording {
		l.recording = true
		a.s.tasks.Go(func() {
			if a.contained(func() { a.recordLate(l) }) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.recording = false // the next one starts it again
			}
		})
	}
}

// nextLate takes the recording that waits longest. False, with which recordLate ends: there is none, or the client has ended.
func (l *link) nextLate() (do recording, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.late) == 0 || l.ctx.Err() != nil {
		l.late, l.recording = nil, false
		return nil, false
	}
	do, l.late = l.late[0], l.late[1:]
	return do, true
}

// end ends what goes on for the client; nothing is begun for it any more.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
}

// take turns an event into what follows from it.
func (a *actor) take(ctx context.Context, l *link, event gateway.ClientEvent) {
	if event.Detail != "" {
		a.log.Info("session event", "event", string(event.Kind), "detail", event.Detail)
	}
	switch event.Kind {
	case gateway.ClientConnected:
		a.connected(ctx, l, event)
	case gateway.ClientDisconnected, gateway.ClientConnectError:
		a.reconnect(ctx, event.Reason)
	case gateway.ClientLoggedOut:
		a.session.JID, a.session.LID = "", ""
		a.hold(ctx, gateway.SessionLoggedOut, event.Reason)
	case gateway.ClientReplaced:
		a.replaced(ctx)
	case gateway.ClientBanned:
		a.banned(ctx, event.Until)
	case gateway.ClientRestricted:
		a.restricted(ctx, event.Until)
	case gateway.ClientOutdated:
		a.outdated(ctx)
	case gateway.ClientPairCode:
		a.session.PairingCode, a.session.PairingExpiresAt = event.Code, event.Until
		a.never() // the client ends the show of codes
		a.save(ctx)
	case gateway.ClientPaired:
		a.paired(ctx, event)
	case gateway.ClientPairFailed:
		a.pairFailed(ctx, event.Reason)
	case gateway.ClientReceipt, gateway.ClientMessage: // see open
	}
}

func (a *actor) connected(ctx context.Context, l *link, event gateway.ClientEvent) {
	a.never()
	a.connectedAt = a.s.deps.Clock()
	a.refreshed = false
	if event.LID != "" {
		a.session.LID = event.LID
	}
	l.own.Store(a.names())
	if a.session.Restriction.Kind == gateway.RestrictionBan {
		a.ban = &gateway.Restriction{}
	}
	a.session.LastNumber = a.session.Number()
	a.setState(ctx, gateway.SessionOnline, gateway.ReasonConnected)
	if a.lost {
		return
	}
	a.live.Store(l)
	a.openLanes()
}

// replaced reconnects once, for a worker that was slow to give the session up may have been the other program. Replaced again soon,
// there is a program that is meant to be there: it is not fought.
func (a *actor) replaced(ctx context.Context) {
	now := a.s.deps.Clock()
	again := !a.replacedAt.IsZero() && now.Sub(a.replacedAt) < a.s.deps.Timings.ReplacedWindow
	a.replacedAt = now
	if again {
		a.hold(ctx, gateway.SessionReplaced, gateway.ReasonReplaced)
		return
	}
	a.failures = max(a.failures, 1)
	a.reconnect(ctx, gateway.ReasonReplaced)
}

func (a *actor) banned(ctx context.Context, until time.Time) {
	if until.IsZero() {
		until = a.s.deps.Clock().Add(a.s.deps.Timings.DefaultBan).UTC()
	}
	a.ban = &gateway.Restriction{Kind: gateway.RestrictionBan, Until: until, Count: a.session.Restriction.Count + 1}
	a.session.Restriction = *a.ban
	a.hold(ctx, gateway.SessionBanned, gateway.ReasonTemporaryBan)
	a.holdBan(ctx)
}

// restricted notes until when WhatsApp forbids first contacts, by its own word; the zero time lifts that. A ban forbids more
// and stays. What could not be stored is found out again by the next first contact.
func (a *actor) restricted(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stored, err := a.s.deps.Store.UpdateSession(ctx, a.fence, func(row *gateway.Session) {
		r := &row.Restriction
		switch {
		case r.Kind == gateway.RestrictionBan:
		case !until.IsZero():
			*r = gateway.Restriction{
				Kind: gateway.RestrictionFirstContacts, Until: until, Count: max(r.Count, gateway.RestrictionFirm), Code: gateway.CodeReachOutLimited,
			}
		case r.Code == gateway.CodeReachOutLimited:
			*r = gateway.Restriction{}
		}
	})
	if err != nil {
		a.log.Warn("store a restriction", "error", err)
		return
	}
	a.session.Restriction = stored.Restriction
	a.s.deps.OnChange(stored)
	a.reconsider() // those that wait for the end that we had guessed
}

// holdBan waits for the end of the ban, then connects by itself.
func (a *actor) holdBan(ctx context.Context) {
	left := a.session.Restriction.Until.Sub(a.s.deps.Clock())
	a.later(max(left, 0), func() {
		a.failures = 0
		a.connect(ctx)
	})
}

// outdated fetches the current client version, once, and tries again; then it holds.
func (a *actor) outdated(ctx context.Context) {
	refresh := a.s.deps.RefreshVersion
	if refresh == nil || a.refreshed {
		a.hold(ctx, gateway.SessionOutdated, gateway.ReasonClientOutdated)
		return
	}
	a.refreshed = true
	a.hold(ctx, gateway.SessionOutdated, gateway.ReasonClientOutdated)
	go func() {
		var err error
		if a.contained(func() { err = refresh(ctx) }) || err != nil {
			a.log.Warn("fetch the current client version", "error", err)
			return
		}
		a.post(func() {
			if a.session.State == gateway.SessionOutdated {
				a.connect(ctx)
			}
		})
	}()
}

// paired stores the new number and logs in with it. What waits was accepted for the number before: from another one it goes out
// only when the operator says so.
func (a *actor) paired(ctx context.Context, event gateway.ClientEvent) {
	a.drop()
	a.session.JID, a.session.LID = event.JID, event.LID
	a.failures = 0
	if before := a.session.LastNumber; before != "" && before != a.session.Number() && a.backlog(ctx) {
		a.log.Warn("another number was paired while messages waited: they are held")
		a.holding, a.session.QueueHeld = true, true
	}
	a.setState(ctx, gateway.SessionConnecting, gateway.ReasonConnecting)
	a.connect(ctx)
}

// backlog reports whether messages wait; when that cannot be found out, they do.
func (a *actor) backlog(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	waits, err := a.s.deps.Store.Backlog(ctx, a.fence.TenantKey)
	if err != nil {
		a.log.Warn("look for a backlog", "error", err)
	}
	return waits || err != nil
}

func (a *actor) pairFailed(ctx context.Context, reason gateway.SessionReason) {
	a.hold(ctx, gateway.SessionUnpaired, reason)
}
