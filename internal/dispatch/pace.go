package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// This file keeps a tenant to its pacing. A message that may not go yet is not claimed: its lane rests in the queue, where it costs
// nobody anything, and a higher lane goes on. What only some recipients must wait for (a cap of first contacts, or per recipient) is
// known after the claim: that message is held, and no attempt is counted.

const (
	paceTTL    = 2 * time.Second        // how long a tenant's pacing is believed
	longRest   = time.Minute            // a lane is asked again after it: what the tenant chose may have changed
	pausedRest = time.Hour              // what is held of a paused bulk is looked at again after it, should the word of the resumption be lost
	wink       = 250 * time.Millisecond // a wait up to it is waited for here: stopping and starting the queue takes as long
	aDay       = 24 * time.Hour
)

// pacer is what is known of one tenant. It is used by one handler at a time; the lock is for one that outlives its tenant's queue.
type pacer struct {
	mu     sync.Mutex
	fence  gateway.Fence // under which the times were read
	read   time.Time     // when pacing was read
	pacing gateway.Pacing
	window int // messages of pace.Sent that are known, if there are as many
	pace   gateway.Pace
	firsts []time.Time // first contacts, oldest first; as many as the cap needs
	ahead  int         // sends until the next look ahead
}

func (d *Dispatcher) pacer(tenantKey int64) *pacer {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pacers[tenantKey]
	if p == nil {
		p = &pacer{}
		d.pacers[tenantKey] = p
	}
	return p
}

// pace waits a wink, or says how long the lane must rest before a message of it may be claimed.
func (d *Dispatcher) pace(ctx context.Context, f gateway.Fence, lane gateway.Priority) (gateway.Rest, error) {
	p := d.pacer(f.TenantKey)
	if err := d.learn(ctx, p, f); err != nil {
		d.Log.Warn("could not read the pacing", "tenantKey", f.TenantKey, "error", err)
		return gateway.Rest{}, err
	}
	now := d.Clock()
	p.mu.Lock()
	wait := p.pacing.Next(lane, p.pace, now).Sub(now)
	p.mu.Unlock()
	switch {
	case wait <= 0:
		return gateway.Rest{}, nil
	case wait > wink:
		from := gateway.PriorityNormal
		if lane == gateway.PriorityHigh {
			from = gateway.PriorityHigh
		}
		return gateway.Rest{From: from, For: min(wait, longRest)}, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return gateway.Rest{}, nil
	case <-ctx.Done():
		return gateway.Rest{}, ctx.Err()
	}
}

// learn reads the pacing, and what was sent before this process had the lease.
func (d *Dispatcher) learn(ctx context.Context, p *pacer, f gateway.Fence) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := d.Clock()
	if p.fence == f && now.Sub(p.read) < paceTTL && !now.Before(p.read) {
		return nil
	}
	own, err := d.Paces.Pacing(ctx, f.TenantKey)
	if err != nil {
		return err
	}
	pacing := own.Over(d.Pacing)
	since := now.Add(-aDay)
	if window := pacing.LongestWindow(); p.fence != f || window > p.window {
		sent := []time.Time{}
		if limit := max(window, 1); window > 0 || pacing.Delay > 0 {
			if sent, err = d.Paces.SentTimes(ctx, f.TenantKey, since, limit); err != nil {
				return err
			}
		}
		if p.fence != f {
			p.pace, p.ahead = gateway.Pace{}, 0
		}
		if len(sent) > 0 && p.pace.Last.IsZero() {
			p.pace.Last, p.pace.Gap = sent[len(sent)-1], d.gap(pacing)
		}
		p.pace.Sent, p.window = sent, window
	}
	if pacing.Delay != p.pacing.Delay || pacing.RandomDelay != p.pacing.RandomDelay {
		p.pace.Gap = d.gap(pacing) // the one drawn when the last message went out is not waited for any more
	}
	if limit := pacing.FirstContactsPerDay; limit > 0 && (p.fence != f || limit > p.pacing.FirstContactsPerDay) {
		if p.firsts, err = d.Paces.FirstContactTimes(ctx, f.TenantKey, since, limit); err != nil {
			return err
		}
	}
	p.fence, p.read, p.pacing = f, now, pacing
	return nil
}

// Reconsider has the tenant's pacing read anew before its next message.
func (d *Dispatcher) Reconsider(tenantKey int64) {
	p := d.pacer(tenantKey)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = time.Time{}
}

func (d *Dispatcher) gap(p gateway.Pacing) time.Duration {
	return p.Delay + time.Duration(d.Rand()*float64(p.RandomDelay))
}

// paced notes that a message was handed to WhatsApp.
func (d *Dispatcher) paced(tenantKey int64, first bool) {
	p := d.pacer(tenantKey)
	now := d.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.Last, p.pace.Gap = now, d.gap(p.pacing)
	p.pace.Sent = newest(append(p.pace.Sent, now), p.window)
	if first {
		p.firsts = newest(append(p.firsts, now), p.pacing.FirstContactsPerDay)
	}
}

// newest are the last n of times, in memory that does not grow for ever.
func newest(times []time.Time, n int) []time.Time {
	if len(times) < 2*n+16 {
		return times
	}
	return append([]time.Time(nil), times[len(times)-n:]...)
}

// rest says which lanes must rest now that a message was handled.
func (d *Dispatcher) rest(tenantKey int64) gateway.Rest {
	p := d.pacer(tenantKey)
	now := d.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, lane := range []gateway.Priority{gateway.PriorityHigh, gateway.PriorityNormal} {
		if wait := p.pacing.Next(lane, p.pace, now).Sub(now); wait > wink {
			return gateway.Rest{From: lane, For: min(wait, longRest)}
		}
	}
	return gateway.Rest{}
}

func (d *Dispatcher) capsFirstContacts(tenantKey int64) bool {
	p := d.pacer(tenantKey)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pacing.FirstContactsPerDay > 0
}

// keepBack judges a claimed message that is not to be sent, at least not now: its bulk was stopped while it was held, or a cap is reached.
func (d *Dispatcher) keepBack(ctx context.Context, m *gateway.Message, first bool) (gateway.Outcome, bool) {
	kind, failure, until, err := d.ofBulk(ctx, m)
	if err == nil && kind == "" {
		var message string
		if until, message, err = d.capped(ctx, m, first); !until.IsZero() {
			kind, failure = hold(gateway.CodePaced, message)
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		kind, failure = wait("The worker is stopping.")
	case err != nil:
		d.Log.Warn("could not look up what the recipient was sent", "messageId", m.ID, "error", err)
		kind, failure = hold(gateway.CodeStorage, "The hub's database did not answer.")
		until = d.Clock().Add(d.backoff(1))
	case kind == "":
		return gateway.Outcome{}, false
	}
	o := gateway.Outcome{Kind: kind, Failure: failure}
	if kind == gateway.OutcomeHold {
		o = d.at(m, o, until)
	}
	return o, true
}

// ofBulk is what the bulk of m says about it; no kind: it may go.
func (d *Dispatcher) ofBulk(ctx context.Context, m *gateway.Message) (kind gateway.OutcomeKind, failure gateway.Failure, until time.Time, err error) {
	if m.BulkID == "" {
		return kind, failure, until, nil
	}
	if m.Error != nil {
		// It was claimed before, and is not among what a stop of its bulk took out of the lane.
		b, err := d.Paces.Bulk(ctx, m.TenantKey, m.BulkID)
		if err != nil && !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
			return kind, failure, until, err
		}
		switch {
		case b.Status == gateway.BulkCanceled:
			kind, failure = permanent(gateway.CodeCanceled, gateway.BulkCanceledMessage, true)
			return kind, failure, until, nil
		case b.Status == gateway.BulkPaused && m.Attempts <= 1: // one that was tried goes on
			kind, failure = hold(gateway.CodePaced, "The bulk is paused.")
			return kind, failure, d.Clock().Add(pausedRest), nil
		default:
		}
	}
	return kind, failure, until, nil
}

// capped is until when a cap keeps m back, and why; a zero time when none does.
func (d *Dispatcher) capped(ctx context.Context, m *gateway.Message, first bool) (until time.Time, message string, err error) {
	if first {
		if until, err = d.room(ctx, m); err != nil || !until.IsZero() {
			return until, capOfFirstContacts().Message, err
		}
	}
	p := d.pacer(m.TenantKey)
	now := d.Clock()
	p.mu.Lock()
	limit := p.pacing.PerRecipientPerDay
	p.mu.Unlock()
	if limit <= 0 {
		return time.Time{}, "", nil
	}
	times, err := d.Paces.SentTimesTo(ctx, m.TenantKey, m.To, now.Add(-aDay), limit)
	if err != nil {
		return time.Time{}, "", err
	}
	if until = gateway.OldestLeaves(times, limit, aDay); until.After(now) {
		return until, "The tenant's cap of messages a day to this recipient is reached.", nil
	}
	return time.Time{}, "", nil
}
