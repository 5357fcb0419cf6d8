package bulk

import (
	"context"
	"errors"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

const (
	slowStart  = 50 // messages of a bulk that may wait in the lane before there is anything to judge it by
	endSteps   = 4  // steps of a cancellation in one call of Feed
	heldFactor = 10 // windows of messages of a bulk that may be held or back off: the queue has a delayed ticket for each
)

// Feed gives the next messages of a tenant's bulks their places in the lanes, up to the window, and returns their tickets; more
// tells that there will soon be more to do. On the way it pauses what fails, ends what was canceled, and marks what is
// finished. The caller holds the tenant's lease; a second caller does no harm.
func (s *Service) Feed(ctx context.Context, f gateway.Fence) (tickets []gateway.Ticket, more bool, err error) {
	bulks, err := s.Store.OpenBulks(ctx, f.TenantKey)
	if err != nil {
		return nil, false, err
	}
	for _, b := range bulks {
		released, left, err := s.feed(ctx, &b)
		tickets = append(tickets, released...)
		if err != nil && !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) { // its tenant was deleted
			return tickets, false, fmt.Errorf("feed bulk %s: %w", b.ID, err)
		}
		if left {
			// A lane that empties faster than a sixteenth of the window between two calls would run dry before a sweep.
			more = more || b.Status == gateway.BulkCanceled || len(released) >= s.Window/16
			continue
		}
		if _, err := s.Store.SettleBulk(ctx, b.TenantKey, b.ID); err != nil {
			return tickets, false, fmt.Errorf("settle bulk %s: %w", b.ID, err)
		}
	}
	return tickets, more, nil
}

// feed reports whether messages of b are left that have no place in the lane.
func (s *Service) feed(ctx context.Context, b *gateway.Bulk) (released []gateway.Ticket, left bool, err error) {
	switch b.Status {
	case gateway.BulkCanceled:
		for range endSteps {
			n, err := s.Ledger.CancelBulk(ctx, b.TenantKey, b.ID, cancelStep)
			if err != nil || n == 0 {
				return nil, false, err
			}
		}
		return nil, true, nil
	case gateway.BulkRunning:
	default:
		return nil, false, nil
	}
	if b.SendAt.After(s.Clock()) {
		return nil, true, nil
	}
	window := s.Window
	if b.MaxFailureRate < 1 {
		results, err := s.Store.BulkResults(ctx, *b, true, gateway.JudgedMessages)
		if err != nil {
			return nil, false, err
		}
		rate, judged := gateway.FailureRate(results)
		if judged < gateway.JudgedAtLeast {
			window = min(window, slowStart)
		} else if rate > b.MaxFailureRate {
			return nil, true, s.pause(ctx, b, rate, judged)
		}
	}
	// What other bulks, running or not, have held is no reason to keep this one back.
	held, err := s.Store.Held(ctx, b.TenantKey, b.ID, heldFactor*s.Window)
	if err != nil || held >= heldFactor*s.Window {
		return nil, true, err
	}
	return s.Store.ReleaseBulk(ctx, b.TenantKey, b.ID, window, window)
}

// pause stops a bulk whose messages fail.
func (s *Service) pause(ctx context.Context, b *gateway.Bulk, rate float64, judged int) error {
	reason := fmt.Sprintf("%.0f %% of the last %d messages failed; the limit is %.0f %%. Look at their errors, then resume or cancel.",
		100*rate, judged, 100*b.MaxFailureRate)
	_, err := s.Store.UpdateBulk(ctx, b.TenantKey, b.ID, func(now *gateway.Bulk) error {
		if now.Status != gateway.BulkRunning || !now.JudgeSince.Equal(b.JudgeSince) {
			return nil // somebody has steered it meanwhile
		}
		return now.Pause(reason)
	})
	if err == nil {
		s.Log.WarnContext(ctx, "a bulk paused itself", "tenant", b.TenantID, "bulk", b.ID, "rate", rate, "judged", judged)
	}
	return err
}

// Tidy removes what is left of bulks that were never accepted.
func (s *Service) Tidy(ctx context.Context) error {
	stale, err := s.Store.StaleBulks(ctx, staleAfter)
	if err != nil {
		return err
	}
	var problems []error
	for _, b := range stale {
		problems = append(problems, s.Store.DiscardBulk(ctx, b.TenantKey, b.ID))
	}
	return errors.Join(problems...)
}
