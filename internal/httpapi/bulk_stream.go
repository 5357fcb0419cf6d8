package httpapi

import (
	"context"
	"reflect"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/httpapi/spec"
)

// StreamBulkEvents sends a bulk's progress as it changes, the present one first, until nothing is left to do. Streams of one bulk share
// what is read of it.
func (s *Server) StreamBulkEvents(c echo.Context, _, id string) error {
	ctx, tenantKey := c.Request().Context(), callOf(c).tenant.Key
	watched, leave := s.watched.watch(watchedKey{tenantKey, id})
	defer leave()
	look := func(age time.Duration) (spec.Bulk, error) {
		return watched.look(ctx, age, func(ctx context.Context) (spec.Bulk, error) { return s.bulkProgress(ctx, tenantKey, id) })
	}
	shown, err := look(0) // who has just steered a bulk wants to see that
	if err != nil {
		return err
	}
	out, err := s.openStream(c, s.opts.BulkPoll)
	if err != nil {
		return err
	}
	defer out.end()
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
		if over, err := s.nextLook(ctx, out); over || err != nil {
			return err
		}
		if shown, err = look(s.opts.BulkPoll * 9 / 10); err != nil { // a tenth less, or who reads would miss every other turn of its own
			return s.endOfStream(ctx, err)
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
