package dispatch

import (
	"context"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// This file holds first contacts while WhatsApp restricts a number, see docs/decisions/0002. gateway.Restriction.Count
// tells how firm it is: 1 is a single recipient's refusal, which may be that recipient's alone; from firm on it is the
// number's, and each further refusal doubles it.
const firm = gateway.RestrictionFirm

// knownHold is the first hold of a message to a known contact, which no restriction should concern.
const knownHold = time.Minute

// firstContact reports whether m goes to a person who was never written to. When that cannot be found out it counts as
// one: a needless wait does less harm than a ban.
func (d *Dispatcher) firstContact(ctx context.Context, m *gateway.Message) bool {
	if m.IsGroup() {
		return false
	}
	known, err := d.Contacts.KnownContact(ctx, m.TenantKey, m.To, recipientOf(m))
	if err != nil {
		d.Log.Warn("could not look a contact up", "messageId", m.ID, "error", err)
	}
	return err != nil || !known
}

// recipientOf names the recipient as WhatsApp does, as far as that is known.
func recipientOf(m *gateway.Message) string {
	switch {
	case m.RecipientJID != "":
		return m.RecipientJID
	case gateway.IsJID(m.To):
		return m.To
	}
	return gateway.UserJID(m.To)
}

// forbidden reports whether the first contact m must wait. Another recipient than the one who refused is the probe;
// after the end of a restriction whoever comes first is. Tenants send one message at a time, so a probe is alone.
func (d *Dispatcher) forbidden(r gateway.Restriction, m *gateway.Message) bool {
	if !r.Until.After(d.Clock()) {
		return false
	}
	if r.Count >= firm {
		return true
	}
	return r.Suspect == recipientOf(m)
}

// lift ends a restriction: a first contact was accepted.
func (d *Dispatcher) lift(ctx context.Context, fence gateway.Fence) {
	d.store(ctx, fence, gateway.Restriction{})
}

// restrict notes a refusal and returns until when the message is held. An end that WhatsApp announced counts before our
// own guess.
func (d *Dispatcher) restrict(ctx context.Context, fence gateway.Fence, m *gateway.Message, e *gateway.SendError, now gateway.Restriction) time.Time {
	clock := d.Clock()
	own := clock.Add(d.doubled(clock.Sub(m.CreatedAt)))
	if e.Until.After(clock) {
		own = e.Until
	}
	aboutNumber := e.Cause == gateway.CauseIQ && e.Server == 429
	first := d.firstContact(ctx, m)
	if first && now.Kind == gateway.RestrictionFirstContacts && now.Count >= firm && now.Until.After(clock) {
		return now.Until // it came into force while m was on its way
	}
	short := earliest(own, clock.Add(max(knownHold, clock.Sub(m.CreatedAt))))
	if !first && !aboutNumber {
		return short // known contacts go on: a refusal is this one's and tells nothing about others
	}

	next := now
	if now.Kind != gateway.RestrictionFirstContacts || now.Until.Before(clock.Add(-d.Options.HoldCap)) {
		next = gateway.Restriction{Kind: gateway.RestrictionFirstContacts} // a new one, or one long past
	}
	recipient := recipientOf(m)
	next.Code = gateway.CodeReachOutLimited
	if aboutNumber {
		next.Code = gateway.CodeRateOverLimit
	}
	switch {
	case aboutNumber, next.Count >= firm, next.Count > 0 && next.Suspect != "" && next.Suspect != recipient:
		// While it is in force, only a 429 for a known contact gets here: that is the same restriction, not a further one.
		if next.Count < firm || !next.Until.After(clock) {
			next.Count = max(firm, next.Count+1)
		}
		next.Until = clock.Add(d.holdOf(next.Count))
		if e.Until.After(clock) {
			next.Until = e.Until
		}
		if own = next.Until; !first {
			own = short
		}
		next.Suspect = ""
	default: // the first witness
		next.Count, next.Until, next.Suspect = 1, own, recipient
	}
	d.store(ctx, fence, next)
	return own
}

// holdOf is how long a firm restriction lasts.
func (d *Dispatcher) holdOf(count int) time.Duration {
	hold := d.Options.HoldBase
	for range count - firm {
		hold = min(2*hold, d.Options.HoldCap)
	}
	return hold
}

// doubled is the next hold of a message that waits for so long already: as long again, which doubles each time.
func (d *Dispatcher) doubled(age time.Duration) time.Duration {
	return min(max(age, d.Options.HoldBase), d.Options.HoldCap)
}

// store writes a restriction. When that fails the message's own hold stands, and the next refusal tries again.
func (d *Dispatcher) store(ctx context.Context, fence gateway.Fence, r gateway.Restriction) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRecord)
	defer cancel()
	if err := d.Sessions.SetRestriction(ctx, fence, r); err != nil {
		d.Log.Warn("could not store a restriction", "tenantKey", fence.TenantKey, "error", err)
		return
	}
	d.Log.Info("restriction", "tenantKey", fence.TenantKey, "kind", string(r.Kind), "until", r.Until, "count", r.Count)
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
