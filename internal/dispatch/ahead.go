package dispatch

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// This file has WhatsApp asked about the next people of a backlog while a message is being sent: many in one query instead of each in
// queries of its own right before its first message, which take longer than that message itself.

const (
	aheadMost   = 50              // people at once
	aheadLeast  = 2               // sends from one look at what waits to the next, when little does
	aheadAgain  = 25              // the same after a failure
	aheadTime   = 5 * time.Minute // nobody is asked about whose turn the pacing lets come later
	aheadWithin = 5 * time.Second // the queries; the sends behind wait for their end
)

// lookAhead begins to ask about the next people, if it is time to, and returns what waits for the end of it.
func (d *Dispatcher) lookAhead(ctx context.Context, fence gateway.Fence, m *gateway.Message) (finish func()) {
	if strings.HasSuffix(m.To, "@g.us") {
		return func() {} // its members may be the next ones, and it begins sessions with them itself
	}
	limit := d.upcoming(m.TenantKey)
	if limit == 0 {
		return func() {}
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				d.Log.Error("asking about the next contacts panicked", "tenant", m.TenantID, "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
				done <- errors.New("panic")
			}
		}()
		done <- d.prepareNext(ctx, fence, m, limit)
	}()
	return func() {
		err := <-done
		refused, ok := errors.AsType[*gateway.SendError](err)
		switch {
		case ok && classify(refused).Kind == gateway.OutcomeHold:
			d.refusedAhead(ctx, fence, m, refused)
		case err != nil:
			d.Log.Debug("the next contacts could not be asked about; their sends will", "tenant", m.TenantID, "error", err)
		}
	}
}

// upcoming is how many of the next messages of a tenant are to be looked at now, 0 when it is not time to look.
func (d *Dispatcher) upcoming(tenantKey int64) int {
	p := d.pacer(tenantKey)
	now := d.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ahead--; p.ahead > 0 {
		return 0
	}
	limit := aheadMost
	if most := p.pacing.FirstContactsPerDay; most > 0 { // anybody may turn out to be one, the message in hand too
		today := 0
		for _, at := range p.firsts {
			if at.After(now.Add(-aDay)) {
				today++
			}
		}
		limit = max(0, min(limit, most-today-1))
	}
	gap, pace, at := p.pacing.Delay+p.pacing.RandomDelay/2, p.pace, now
	pace.Sent = slices.Clone(pace.Sent)
	for n := range limit {
		pace.Last, pace.Gap, pace.Sent = at, gap, append(pace.Sent, at)
		if at = p.pacing.Next(gateway.PriorityNormal, pace, at); at.After(now.Add(aheadTime)) {
			limit = n
			break
		}
	}
	p.ahead = aheadAgain
	return limit
}

func (d *Dispatcher) prepareNext(ctx context.Context, fence gateway.Fence, m *gateway.Message, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, aheadWithin)
	defer cancel()
	if m.Restricted {
		session, err := d.Sessions.Session(ctx, fence.TenantKey)
		if err != nil || session.Restriction.Kind == gateway.RestrictionFirstContacts {
			return err
		}
	}
	recipients, messages, err := d.Contacts.NextRecipients(ctx, fence.TenantKey, limit)
	recipients = slices.DeleteFunc(recipients, func(to string) bool { return to == m.To }) // who is being asked about by the send
	if err == nil && len(recipients) > 0 {
		err = d.Sender.Prepare(ctx, fence, recipients)
	}
	if err == nil {
		p := d.pacer(fence.TenantKey)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ahead = max(aheadLeast, messages/2)
	}
	return err
}

// refusedAhead restricts a number whose queries WhatsApp refuses to answer, as the send of m would have if it had asked.
func (d *Dispatcher) refusedAhead(ctx context.Context, fence gateway.Fence, m *gateway.Message, refused *gateway.SendError) {
	session, err := d.Sessions.Session(ctx, fence.TenantKey)
	if err != nil {
		d.Log.Warn("could not read the session", "tenant", m.TenantID, "error", err)
		return
	}
	d.restrict(ctx, fence, m, refused, session.Restriction)
}
