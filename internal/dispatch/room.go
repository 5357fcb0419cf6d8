package dispatch

import (
	"context"
	"sort"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// This file keeps a tenant to its cap of first contacts: it says when a message to a stranger may go.

// maxLine is how many that the cap holds are counted.
const maxLine = 100_000

// room is when the cap of first contacts has room for m, to a stranger; a zero time when that is now. Who of those that the cap holds comes
// before m is looked up in the database: those of higher lanes, and the older ones of its own. So a place that opens is the highest lane's,
// those who wait come back one by one and in order, and nobody waits for what was canceled or will have expired by then.
func (d *Dispatcher) room(ctx context.Context, m *gateway.Message) (time.Time, error) {
	p := d.pacer(m.TenantKey)
	now := d.Clock()
	p.mu.Lock()
	limit, counting := p.pacing.FirstContactsPerDay, p.counting(now)
	p.mu.Unlock()
	if limit <= 0 {
		return time.Time{}, nil
	}
	free := limit - len(counting)
	if free > 0 {
		due, err := d.Paces.HeldBefore(ctx, m, capOfFirstContacts(), now.Add(time.Microsecond), free)
		if err != nil || due < free {
			return time.Time{}, err
		}
	}
	most := limit * (2 + int(m.ExpiresAt.Sub(now)/aDay)) // behind so many it would expire
	if m.ExpiresAt.IsZero() || most > maxLine {
		most = maxLine
	}
	before, err := d.Paces.HeldBefore(ctx, m, capOfFirstContacts(), m.ExpiresAt, most)
	if err != nil {
		return time.Time{}, err
	}
	before = max(0, before-free)
	at := now // who goes now makes room a day later
	if before%limit < len(counting) {
		at = counting[before%limit]
	}
	return at.Add(time.Duration(1+before/limit) * aDay), nil
}

// counting are the first contacts that count at now, oldest first. The caller holds mu.
func (p *pacer) counting(now time.Time) []time.Time {
	last := p.firsts[max(0, len(p.firsts)-p.pacing.FirstContactsPerDay):]
	return last[sort.Search(len(last), func(i int) bool { return last[i].Add(aDay).After(now) }):]
}

// capOfFirstContacts is why a message to a stranger is held.
func capOfFirstContacts() gateway.Failure {
	_, failure := hold(gateway.CodePaced, "The tenant's cap of first contacts a day is reached.")
	return failure
}
