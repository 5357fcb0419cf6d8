package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// purgeStep is how many messages one transaction of a purge ends, so that others get their turn in between.
const purgeStep = 200

// Purge ends, step by step, every message of a tenant that waits at the time of the call: for its turn, for another attempt, or
// for its sendAt. What is in hand is sent. A purge that was interrupted has ended a part, and is repeated for the rest.
func (l *Ledger) Purge(ctx context.Context, tenantKey int64) (gateway.Purged, error) {
	return l.sweep(ctx, tenantKey, "purge", (*gateway.Message).Purge)
}

// Disown ends, as unknown, the waiting messages of a tenant that may have been delivered by a number that is not paired any
// more. It is for a backlog that goes out from another number.
func (l *Ledger) Disown(ctx context.Context, tenantKey int64) (gateway.Purged, error) {
	return l.sweep(ctx, tenantKey, "disown", (*gateway.Message).Disown)
}

func (l *Ledger) sweep(ctx context.Context, tenantKey int64, what string,
	end func(*gateway.Message, time.Time) []gateway.Event,
) (gateway.Purged, error) {
	var all gateway.Purged
	last, err := l.store.LastSeq(ctx, tenantKey)
	if err != nil {
		return all, fmt.Errorf("%s the queue: %w", what, err)
	}
	for place := (gateway.WaitingPlace{}); ; {
		ended, next, err := l.store.UpdateWaiting(ctx, tenantKey, place, last, purgeStep, func(m *gateway.Message) ([]gateway.Event, error) {
			return end(m, l.now()), nil
		})
		if err != nil {
			return all, fmt.Errorf("%s the queue: %w", what, err)
		}
		for _, m := range ended {
			switch m.Status {
			case gateway.StatusCanceled:
				all.Canceled++
			case gateway.StatusUnknown:
				all.Unknown++
			default:
				all.Failed++
			}
		}
		if next == (gateway.WaitingPlace{}) {
			return all, nil
		}
		place = next
	}
}

// Reconsider makes at most limit messages of the tenant of f due that are held until later, and returns their tickets; fewer mean that
// these were the last. gateway.ErrFenced.
func (l *Ledger) Reconsider(ctx context.Context, f gateway.Fence, limit int) ([]gateway.Ticket, error) {
	now := l.now()
	tickets, err := l.store.Reconsider(ctx, f, now, limit, func(m *gateway.Message) bool { return m.Reconsider(now) })
	if err != nil {
		return nil, fmt.Errorf("reconsider held messages: %w", err)
	}
	return tickets, nil
}
