package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

const (
	reconsiderBatch   = 100 // held messages of one transaction
	reconsiderBatches = 10  // of one tenant in a sweep; the rest have their turn in the next, which follows at once
)

// Reconsider makes what is held of the fence's tenant due soon: what it was held for has changed. It returns at once.
func (r *Relay) Reconsider(f gateway.Fence) {
	r.mu.Lock()
	r.held[f.TenantKey] = &f // another one each time it is asked for
	r.mu.Unlock()
	r.Wake()
}

// reconsider does what Reconsider was asked for. What fails, and what is too much for one sweep, is left to the next.
func (r *Relay) reconsider(ctx context.Context) error {
	r.mu.Lock()
	fences := slices.Collect(maps.Values(r.held))
	r.mu.Unlock()
	var problems []error
	for _, f := range fences {
		over, err := r.reconsiderOf(ctx, *f)
		if errors.Is(err, gateway.ErrFenced) {
			over, err = true, nil // its next owner reads what holds now; what is held comes back at its time
		}
		if err != nil {
			problems = append(problems, err)
		}
		if !over {
			continue
		}
		r.mu.Lock()
		if r.held[f.TenantKey] == f {
			delete(r.held, f.TenantKey)
		}
		r.mu.Unlock()
	}
	return errors.Join(problems...)
}

// reconsiderOf makes a part of what is held of one tenant due and reports whether that was all.
func (r *Relay) reconsiderOf(ctx context.Context, f gateway.Fence) (over bool, err error) {
	for range reconsiderBatches {
		tickets, err := r.ledger.Reconsider(ctx, f, reconsiderBatch)
		if err != nil {
			return false, err
		}
		if len(tickets) > 0 {
			if err := r.queue.Enqueue(ctx, tickets...); err != nil {
				return false, fmt.Errorf("%w: %w", errQueue, err)
			}
		}
		if len(tickets) < reconsiderBatch {
			return true, nil
		}
	}
	r.Wake()
	return false, nil
}
