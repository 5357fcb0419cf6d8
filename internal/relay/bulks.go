package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// Bulks gives the messages of bulk sends their places in the lanes. Everything it does may be done twice.
type Bulks interface {
	// Feed fills the lanes of a tenant up to their window and returns the tickets of what got a place; more tells that it
	// is worth calling again soon.
	Feed(ctx context.Context, f gateway.Fence) (tickets []gateway.Ticket, more bool, err error)
	// Tidy removes what is left of bulks that were never accepted.
	Tidy(ctx context.Context) error
}

// feed feeds the lanes of a tenant from its bulks and reports whether to do so again soon.
func (r *Relay) feed(ctx context.Context, f gateway.Fence) (more bool, err error) {
	if r.opts.Bulks == nil {
		return false, nil
	}
	tickets, more, err := r.opts.Bulks.Feed(ctx, f)
	if len(tickets) > 0 {
		if err := r.queue.Enqueue(ctx, tickets...); err != nil {
			return false, fmt.Errorf("%w: %w", errQueue, err)
		}
	}
	return more, err
}

// feedAgain feeds the tenants whose lanes empty fast, between two sweeps, and returns those for which that goes on. What fails
// is left to the next sweep.
func (r *Relay) feedAgain(ctx context.Context, tenants []gateway.Fence) []gateway.Fence {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	var again []gateway.Fence
	for _, f := range tenants {
		more, err := r.feed(ctx, f)
		if err != nil && !errors.Is(err, gateway.ErrFenced) && ctx.Err() == nil {
			r.opts.Log.WarnContext(ctx, "could not feed the bulks of a tenant, the next sweep goes on", "tenantKey", f.TenantKey, "error", err)
		}
		if more {
			again = append(again, f)
		}
	}
	return again
}

func (r *Relay) tidy(ctx context.Context) error {
	if r.opts.Bulks == nil {
		return nil
	}
	return r.opts.Bulks.Tidy(ctx)
}
