package httpapi

import (
	"context"
	"reflect"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// StreamBulkEvents sends a bulk's progress as it changes, the present one first, until nothing is left to do.
func (s *Server) StreamBulkEvents(c echo.Context, _, id string) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return gateway.Errorf(gateway.CodeTooManyWaiters, "more than %d streams are open already", cap(s.streams))
	}
	ctx := c.Request().Context()
	shown, err := s.bulkProgress(ctx, callOf(c).tenant.Key, id)
	if err != nil {
		return err
	}
	out := &eventStream{c: c}
	if err := out.begin(); err != nil {
		return err
	}
	defer out.end()
	poll, beat := time.NewTicker(s.opts.BulkPoll), time.NewTicker(s.opts.Heartbeat)
	defer poll.Stop()
	defer beat.Stop()
	var last spec.Bulk
	for {
		if shown.FinishedAt != nil {
			return out.event("end", shown)
		}
		if !sameProgress(last, shown) {
			if err := out.event("progress", shown); err != nil {
				return err
			}
			last = shown
		}
		select {
		case <-ctx.Done():
			return nil // the reader has gone, or the hour is over
		case <-s.stopping:
			return nil
		case <-beat.C:
			if err := out.send(": still here\n\n"); err != nil {
				return err
			}
		case <-poll.C:
			if shown, err = s.bulkProgress(ctx, callOf(c).tenant.Key, id); err != nil {
				return s.endOfStream(ctx, err)
			}
		}
	}
}

func (s *Server) bulkProgress(ctx context.Context, tenantKey int64, id string) (spec.Bulk, error) {
	p, err := s.bulks.Progress(ctx, tenantKey, id)
	if err != nil {
		return spec.Bulk{}, wrap(err, "read the bulk")
	}
	return s.bulk(&p), nil
}

// sameProgress passes over the figures that change with the clock alone.
func sameProgress(a, b spec.Bulk) bool {
	a.RatePerSecond, a.EtaSeconds, b.RatePerSecond, b.EtaSeconds = 0, nil, 0, nil
	return reflect.DeepEqual(a, b)
}
