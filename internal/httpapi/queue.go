package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// purgeTime bounds a purge, which ends many messages in small steps.
const purgeTime = 5 * time.Minute

// PauseQueue lets no further message be claimed.
func (s *Server) PauseQueue(c echo.Context, _ string, _ spec.PauseQueueParams) error {
	return s.queue(c, func(ctx context.Context, tenantKey int64) error { return s.setQueue(ctx, tenantKey, new(true), nil) })
}

// ResumeQueue ends a pause.
func (s *Server) ResumeQueue(c echo.Context, _ string, _ spec.ResumeQueueParams) error {
	return s.queue(c, func(ctx context.Context, tenantKey int64) error { return s.setQueue(ctx, tenantKey, new(false), nil) })
}

// ReleaseQueue lets a held backlog go, but for what the number before may have delivered.
func (s *Server) ReleaseQueue(c echo.Context, _ string, _ spec.ReleaseQueueParams) error {
	return s.queue(c, func(ctx context.Context, tenantKey int64) error {
		session, err := s.store.Session(ctx, tenantKey)
		if err != nil || !session.QueueHeld {
			return err
		}
		if _, err := s.ledger.Disown(ctx, tenantKey); err != nil {
			return err
		}
		return s.setQueue(ctx, tenantKey, nil, new(false))
	})
}

// PurgeQueue ends what waits, and then a hold, for nothing is left that it is about.
func (s *Server) PurgeQueue(c echo.Context, _ string, _ spec.PurgeQueueParams) error {
	return s.post(c, nothing, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenantKey := callOf(c).tenant.Key
		purged, err := s.ledger.Purge(ctx, tenantKey)
		if err != nil {
			return nil, wrap(err, "purge the queue")
		}
		if err := s.setQueue(ctx, tenantKey, nil, new(false)); err != nil {
			return nil, err
		}
		shown, _, err := s.session(ctx, tenantKey)
		if err != nil {
			return nil, err
		}
		return jsonAnswer(http.StatusOK, spec.PurgeAnswer{
			Canceled: purged.Canceled, Failed: purged.Failed, Unknown: purged.Unknown, Queue: shown.Queue,
		}), nil
	})
}

func (s *Server) queue(c echo.Context, change func(ctx context.Context, tenantKey int64) error) error {
	return s.post(c, nothing, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenantKey := callOf(c).tenant.Key
		if err := change(ctx, tenantKey); err != nil {
			return nil, wrap(err, "change the queue")
		}
		shown, _, err := s.session(ctx, tenantKey)
		if err != nil {
			return nil, err
		}
		return jsonAnswer(http.StatusOK, shown.Queue), nil
	})
}

func (s *Server) setQueue(ctx context.Context, tenantKey int64, paused, held *bool) error {
	if _, err := s.store.SetQueue(ctx, tenantKey, paused, held); err != nil {
		return wrap(err, "change the queue")
	}
	return nil
}
