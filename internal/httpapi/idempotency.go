package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
)

const (
	headerIdempotency = "Idempotency-Key"
	headerReplayed    = "Idempotent-Replayed"

	maxIdempotencyKey = 255

	// What is written after the request's own time is over, such as letting go of the key.
	settleTime = 5 * time.Second
	// A connection that broke is seldom followed by another that does: without a second try the key stays busy for Options.KeyLock.
	settleTries = 2
)

// once answers with what act returns, and acts once per Idempotency-Key of the tenant and route: a repetition gets the
// first answer to the letter. Refusals are answers too; 5xx and 429 are not kept. act must pass done on when it
// accepts a message, so that the message and the answer are stored together. sum is the SHA-256 of the body.
func (s *Server) once(c echo.Context, sum func() [32]byte, act func(done *gateway.IdempotencyCompletion) (*answer, error)) error {
	key, given, err := idempotencyKey(c.Request())
	if err != nil {
		return err
	}
	if !given {
		a, err := act(nil)
		if err != nil {
			return err
		}
		return send(c, a)
	}
	ctx := c.Request().Context()
	// The path and not the route: the same key for two messages' cancel is two keys.
	held := gateway.Idempotency{
		TenantKey: callOf(c).tenant.Key, Scope: c.Request().Method + " " + c.Request().URL.Path, Key: key,
		BodyHash: sum(), LockUntil: s.opts.Clock().Add(s.opts.KeyLock),
	}
	prior, err := s.store.ReserveIdempotency(ctx, held)
	if err != nil {
		return fmt.Errorf("reserve the idempotency key: %w", err)
	}
	if prior != nil {
		c.Response().Header().Set(headerReplayed, "true")
		return send(c, &answer{IdempotencyAnswer: *prior})
	}
	settled := false
	defer func() {
		if !settled { // a panic
			s.settle(ctx, held, nil)
		}
	}()
	a, err := act(&gateway.IdempotencyCompletion{TenantKey: held.TenantKey, Scope: held.Scope, Key: held.Key})
	if err != nil {
		a = s.problem(c, err)
	}
	settled = true
	switch {
	case a.kept:
	case a.Status >= http.StatusInternalServerError, a.Status == http.StatusTooManyRequests:
		s.settle(ctx, held, nil)
	case a.replay != nil:
		s.settle(ctx, held, a.replay)
	default:
		s.settle(ctx, held, &a.IdempotencyAnswer)
	}
	return send(c, a)
}

// settle stores the answer of a held key, or lets the key go. What was done is done: a failure here is logged, and the
// key comes free when its lock runs out.
func (s *Server) settle(ctx context.Context, held gateway.Idempotency, a *gateway.IdempotencyAnswer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	var err error
	for range settleTries {
		if a == nil {
			err = s.store.ReleaseIdempotency(ctx, held.TenantKey, held.Scope, held.Key)
		} else {
			err = s.store.CompleteIdempotency(ctx, held.TenantKey, held.Scope, held.Key, *a)
		}
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		s.log.ErrorContext(ctx, "an idempotency key could not be settled", "scope", held.Scope, "err", err)
	}
}

// idempotencyKey returns the request's key and whether there is one.
func idempotencyKey(r *http.Request) (key string, given bool, err error) {
	values := r.Header.Values(headerIdempotency)
	if len(values) == 0 {
		return "", false, nil
	}
	malformed := gateway.Errorf(gateway.CodeInvalidIdempotency, "Idempotency-Key must be one value of 1 to %d visible ASCII characters", maxIdempotencyKey)
	if len(values) > 1 || values[0] == "" || len(values[0]) > maxIdempotencyKey {
		return "", false, malformed
	}
	for _, c := range []byte(values[0]) {
		if c <= ' ' || c > '~' {
			return "", false, malformed
		}
	}
	return values[0], true, nil
}
