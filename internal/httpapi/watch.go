package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
)

// watch looks again, while a request goes on, at what it was let in with. Streams, waits and uploads take minutes: they are not to outlive their key.
type watch struct {
	look  func() error // an error is a clear no
	every time.Duration
	end   context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

// whileGood serves a request until it would not be let in any more: its key is revoked, has expired or lost the scope, the sign-in is over, or the tenant is gone.
// Its context ends then, and who still waits for the answer gets that of a new request. Keys are looked up at most every KeyCacheTTL, so the end comes within one
// and a half of them. Nothing of it goes on when it returns.
func (s *Server) whileGood(c echo.Context, op operation, next echo.HandlerFunc) error {
	r, tenantID := c.Request(), c.Param("tenantId")
	ctx, end := context.WithCancelCause(r.Context())
	w := &watch{look: func() error { return s.wouldRefuse(ctx, r, op, tenantID) }, every: s.opts.KeyCacheTTL / 2, end: end}
	w.start()
	defer w.stop()
	c.SetRequest(r.WithContext(ctx))
	err := next(c)
	if refused, ok := errors.AsType[*gateway.Error](context.Cause(ctx)); ok && err != nil {
		return refused
	}
	return err
}

func (w *watch) start() {
	w.mu.Lock() // the first turn may come before its timer has a name
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.every, w.turn)
}

// stop returns when no turn is under way; ending the context ends a look.
func (w *watch) stop() {
	w.end(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}

func (w *watch) turn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if err := w.look(); err != nil {
		w.end(err)
		return
	}
	w.timer.Reset(w.every)
}

// wouldRefuse is why a request that was let in would now be refused. When that cannot be told, because the database does not answer, say, it goes on until it can: it
// learns nothing meanwhile either.
func (s *Server) wouldRefuse(ctx context.Context, r *http.Request, op operation, tenantID string) error {
	var who *credential
	var err error
	if secret := r.Header.Get(headerAPIKey); secret != "" {
		who, err = s.credential(ctx, gateway.HashKey(secret)) // it was a key: who tries keys does not come by here
	} else {
		who, err = s.fromCookie(ctx, r)
	}
	if err == nil && who.key.TenantKey != 0 { // the operator's opens every tenant
		_, err = s.admit(ctx, who, op, tenantID)
	}
	if err == nil {
		return nil
	}
	switch gateway.CodeOf(err) {
	case gateway.CodeUnauthorized, gateway.CodeForbidden, gateway.CodeScopeMissing:
		return err
	default:
		return nil
	}
}
