package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// This file keeps a message that processes have died of apart from all others: should it end this process too, no other
// message is in hand, and the death convicts nobody else.

// enterWait is for how long a handler waits while another's message is alone; then its tenant rests, so that its lanes can be
// closed.
const enterWait = time.Second

// errNoFloor: another handler's message is alone, or others are in hand for too long.
var errNoFloor = errors.New("the floor is taken")

type claimFunc func(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error)

// beside handles ticket while other tenants' are handled.
func (d *Dispatcher) beside(ctx context.Context, fence gateway.Fence, ticket gateway.Ticket) (gateway.Verdict, error) {
	if !d.floor.enter(ctx, enterWait) {
		return gateway.Verdict{}, errNoFloor
	}
	defer d.floor.leave()
	return d.handle(ctx, fence, ticket, d.Ledger.Claim, false)
}

// alone handles ticket while no other is handled in this process, of any tenant.
func (d *Dispatcher) alone(ctx context.Context, fence gateway.Fence, ticket gateway.Ticket) (gateway.Verdict, error) {
	if !d.floor.enterAlone(ctx, d.Options.AloneWait) {
		return gateway.Verdict{}, errNoFloor
	}
	defer d.floor.leave()
	d.Log.Warn("processes died with a message in hand: it is tried alone", "tenantKey", fence.TenantKey)
	return d.handle(ctx, fence, ticket, d.Ledger.ClaimAlone, true)
}

// floor is where handlers have messages in hand: many side by side, or one alone.
type floor struct {
	mu      sync.Mutex
	taken   int           // handlers on the floor
	alone   bool          // the one on it is alone
	waiting int           // to be alone: nobody else enters, so that the floor empties
	paused  time.Time     // until then nobody waits to be alone
	changed chan struct{} // closed and replaced when somebody may enter who could not before
}

// enter takes a place beside others. False after limit, or when ctx ends.
func (f *floor) enter(ctx context.Context, limit time.Duration) bool {
	return f.await(ctx, limit, func() bool {
		if f.alone || f.waiting > 0 {
			return false
		}
		f.taken++
		return true
	})
}

// enterAlone takes the whole floor. False after limit, or when ctx ends: then others have twice that time before anybody waits
// again, for one slow upload must not hold all tenants up.
func (f *floor) enterAlone(ctx context.Context, limit time.Duration) bool {
	f.mu.Lock()
	if time.Now().Before(f.paused) {
		f.mu.Unlock()
		return false
	}
	f.waiting++
	f.mu.Unlock()
	entered := f.await(ctx, limit, func() bool {
		if f.taken > 0 {
			return false
		}
		f.taken, f.alone = 1, true
		return true
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	if !entered {
		f.paused = time.Now().Add(2 * limit)
		f.announce()
	}
	return entered
}

// stay takes a second place, for who has one.
func (f *floor) stay() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken++
}

// leave gives a place back.
func (f *floor) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken--
	f.alone = false
	f.announce()
}

// announce lets everybody who waits look again. The caller holds mu.
func (f *floor) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// await calls take, under mu, until it succeeds.
func (f *floor) await(ctx context.Context, limit time.Duration, take func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		f.mu.Lock()
		taken, changed := take(), f.changed
		f.mu.Unlock()
		if taken {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
