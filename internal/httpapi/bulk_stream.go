package httpapi

import (
	"context"
	"reflect"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/httpapi/spec"
)

// StreamBulkEvents sends a bulk's progress as it changes, the present one first, until nothing is left to do.
func (s *Server) StreamBulkEvents(c echo.Context, _, id string) error {
	ctx := c.Request().Context()
	shown, err := s.bulkProgress(ctx, callOf(c).tenant.Key, id)
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
		if shown, err = s.bulkProgress(ctx, callOf(c).tenant.Key, id); err != nil {
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
