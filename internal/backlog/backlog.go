// Package backlog bounds how many messages of a tenant may wait. Counting a long queue is slow, so it is counted once and then reckoned
// with what this process accepted since: anew after a tenth of the limit was accepted, and, before somebody is refused, when the count is a
// second old. Each process reckons for itself, so the limit may be passed by a tenth of it in each. It imports the domain only.
package backlog

import (
	"context"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Counter counts what waits.
type Counter interface {
	Depth(ctx context.Context, tenantKey int64) (gateway.QueueDepth, error)
}

const fresh = time.Second // how old a count may be by which somebody is refused

// Limit bounds backlogs. It is safe for concurrent use.
type Limit struct {
	counter  Counter
	fallback int
	clock    func() time.Time

	mu      sync.Mutex
	tenants map[int64]*tenant
}

type tenant struct {
	mu      sync.Mutex // held while it is counted
	counted int
	since   int       // accepted here after that
	at      time.Time // zero: never
}

// New makes a Limit; fallback is that of tenants without their own, 0: none.
func New(counter Counter, fallback int, clock func() time.Time) *Limit {
	return &Limit{counter: counter, fallback: fallback, clock: clock, tenants: map[int64]*tenant{}}
}

// Admit lets n more messages of the tenant wait, or refuses them: gateway.CodeQueueFull. What it let in counts, also when it is not
// accepted after all, until it is counted anew.
func (l *Limit) Admit(ctx context.Context, of gateway.Tenant, n int) error {
	limit := of.Limits.QueuedMessages
	if limit == 0 {
		limit = l.fallback
	}
	if limit == 0 {
		return nil
	}
	l.mu.Lock()
	t := l.tenants[of.Key]
	if t == nil {
		t = &tenant{}
		l.tenants[of.Key] = t
	}
	l.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := l.clock()
	full := func() bool { return t.counted+t.since+n > limit }
	if t.at.IsZero() || t.since > limit/10 || full() && now.Sub(t.at) >= fresh {
		depth, err := l.counter.Depth(ctx, of.Key)
		if err != nil {
			return err
		}
		t.counted, t.since, t.at = depth.High+depth.Normal+depth.Bulk, 0, now
	}
	if full() {
		return gateway.Errorf(gateway.CodeQueueFull, "%d messages wait already, and %d may: wait until some are sent, or purge the queue", t.counted+t.since, limit)
	}
	t.since += n
	return nil
}
