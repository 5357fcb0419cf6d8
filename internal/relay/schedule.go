package relay

import (
	"context"
	"fmt"
)

const (
	releaseBatch   = 500 // scheduled messages that one transaction queues
	releaseBatches = 20  // in one sweep
)

// release queues what was accepted for a time that has come, of every tenant: also of those whose session nobody owns. A few
// tickets go to the queue at once; many are left to the owners, who fill their lanes up to the window.
func (r *Relay) release(ctx context.Context) error {
	for range releaseBatches {
		tickets, err := r.ledger.Release(ctx, releaseBatch)
		if err != nil {
			return err
		}
		if len(tickets) == releaseBatch {
			continue
		}
		if len(tickets) == 0 {
			return nil
		}
		if err := r.queue.Enqueue(ctx, tickets...); err != nil {
			return fmt.Errorf("%w: %w", errQueue, err)
		}
		return nil
	}
	return nil
}
