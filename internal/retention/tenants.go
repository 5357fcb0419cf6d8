package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const day = 24 * time.Hour

// honour removes what tenants do not want to keep. What fails for one does not keep the others.
func (r *Retention) honour(ctx context.Context) error {
	chosen, err := r.store.Retentions(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for key, keep := range chosen {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.honourOne(ctx, key, keep); err != nil && len(errs) < 10 {
			errs = append(errs, fmt.Errorf("tenant %d: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Retention) honourOne(ctx context.Context, tenantKey int64, keep gateway.Retention) error {
	now := r.opts.Clock()
	var messages, bulks, texts, inbound, events int
	var err error
	if keep.Messages > 0 {
		before := now.Add(-time.Duration(keep.Messages) * day)
		bulks, err = steps(ctx, func() (int, error) { return r.store.ForgetBulks(ctx, tenantKey, before, forget) })
		if err == nil {
			messages, _, err = r.walk(ctx, tenantKey, 0, before, r.store.ForgetMessages)
		}
	}
	if keep.Text > 0 && err == nil {
		r.mu.Lock()
		after := r.texts[tenantKey]
		r.mu.Unlock()
		texts, after, err = r.walk(ctx, tenantKey, after, now.Add(-time.Duration(keep.Text)*day), r.store.DropTexts)
		r.mu.Lock()
		r.texts[tenantKey] = after
		r.mu.Unlock()
	}
	// What was received is what others said; an event repeats what its message said. Neither is kept for longer than that.
	if received := least(keep.Messages, keep.Text); err == nil && received > 0 {
		before := now.Add(-time.Duration(received) * day)
		inbound, err = steps(ctx, func() (int, error) { return r.store.ForgetInbound(ctx, tenantKey, before, forget) })
	}
	if kept := least(keep.Events, keep.Text); err == nil && kept > 0 {
		before := now.Add(-time.Duration(kept) * day)
		events, err = steps(ctx, func() (int, error) { return r.store.ForgetEventsOf(ctx, tenantKey, before, forget) })
	}
	if messages+bulks+texts+inbound+events > 0 {
		r.opts.Log.InfoContext(ctx, "removed what a tenant does not keep", "tenantKey", tenantKey, "messages", messages, "bulks", bulks, "texts", texts, "received", inbound, "events", events)
	}
	return err
}

// least is the smaller of two numbers of days, of which 0 has no end.
func least(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// walk takes steps over a tenant's messages behind the number after until it has come to those that are too young, and tells how far it got.
func (r *Retention) walk(ctx context.Context, tenantKey, after int64, before time.Time,
	step func(ctx context.Context, tenantKey int64, before time.Time, after int64, limit int) (int, int64, error),
) (changed int, reached int64, err error) {
	for {
		n, next, err := step(ctx, tenantKey, before, after, forget)
		changed += n
		if err != nil || next == 0 {
			return changed, after, err
		}
		after = next
	}
}

// steps repeats step until it finds nothing.
func steps(ctx context.Context, step func() (int, error)) (changed int, err error) {
	for ctx.Err() == nil {
		n, err := step()
		changed += n
		if err != nil || n == 0 {
			return changed, err
		}
	}
	return changed, ctx.Err()
}
