package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/wapro/hub/docs"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/media"
	"github.com/wapro/hub/internal/metrics"
	"github.com/wapro/hub/internal/queue"
	"github.com/wapro/hub/internal/ratelimit"
	"github.com/wapro/hub/internal/throttle"
	"github.com/wapro/hub/internal/webui"
)

// serveAPI connects the HTTP API to the rooms behind it and lets requests in.
func (h *Hub) serveAPI(ctx context.Context) error {
	var sandbox http.Handler
	if h.simulator != nil {
		sandbox = h.simulator.Handler()
	}
	accepting := intake.New(intake.Deps{Store: h.database, Queue: enough{meteredTickets{h.tickets, h.metrics, metrics.ByIntake}, h.queue}, Media: h.blobs, CheckURL: h.checkURL, Admit: h.backlog.Admit, Log: h.log})
	h.onStop("tickets", briefStop, accepting.Flush)
	failures := throttle.New(time.Now, h.cfg.Proxies())
	rates, err := h.startRates(ctx)
	if err != nil {
		return err
	}
	server, err := httpapi.New(httpapi.Deps{ //nolint:contextcheck // each request brings its own
		Store:       h.commanded(),
		Intake:      accepting,
		Ledger:      h.ledger,
		Media:       base64Files{h.blobs},
		Tenants:     tenants{h},
		Bulks:       h.bulks,
		Webhooks:    h.webhookService(),
		Log:         h.log,
		WebSessions: h.store,
		Failures:    failures,
		Rates:       rates,
		Sandbox:     sandbox,
		Answered:    h.metrics.Request,
		Options:     httpapi.Options{Pacing: pacing(h.cfg.Mode()), KeyLock: h.opts.KeyLock},
	})
	if err != nil {
		return err
	}
	pages, err := webui.New(webui.Deps{
		API: server.Handler(), Sessions: server, Failures: failures, Cookie: httpapi.SessionCookie,
		Description: spec.JSON(), Errors: docs.Errors(), Statuses: docs.Statuses(), Sandbox: h.simulator != nil, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("make the pages: %w", err)
	}
	server.Front(pages)
	h.httpAddr, err = h.listen(ctx, "requests", h.cfg.HTTPAddr, server.Serve, server.Stop)
	return err
}

// startRates makes the limits of requests, which the processes of a hub share.
func (h *Hub) startRates(ctx context.Context) (*ratelimit.Limiter, error) {
	opts := ratelimit.Options{PerSecond: h.cfg.RateLimit, Log: h.log}
	if !h.cfg.Embedded() {
		opts.Redis = h.redis
	}
	rates := ratelimit.New(opts)
	h.onStop("rate limits", briefStop, rates.Stop)
	return rates, rates.Start(ctx)
}

// commandStore is the store of an API that has the worker in its own process: a command or a new tenant need not wait
// for the worker's next look.
type commandStore struct {
	httpapi.Store
	kick func()
}

func (h *Hub) commanded() httpapi.Store {
	if h.worker == nil {
		return h.database
	}
	return commandStore{h.database, h.worker.sessions.Kick}
}

func (s commandStore) CreateTenant(ctx context.Context, id, name string) (gateway.Tenant, error) {
	defer s.kick()
	return s.Store.CreateTenant(ctx, id, name)
}

func (s commandStore) SetQueue(ctx context.Context, tenantKey int64, paused, held *bool) (gateway.Session, error) {
	defer s.kick()
	return s.Store.SetQueue(ctx, tenantKey, paused, held)
}

func (s commandStore) AddCommand(ctx context.Context, c gateway.Command) error {
	defer s.kick()
	return s.Store.AddCommand(ctx, c)
}

// enough adds the tickets of accepts to lanes that do not hold enough; the relay fills those again as they empty.
type enough struct {
	Tickets
	queue *queue.Queue
}

// Enqueue implements intake.Enqueuer.
func (e enough) Enqueue(ctx context.Context, tickets ...gateway.Ticket) error {
	wanted := e.queue.Wanted(tickets)
	if len(wanted) == 0 {
		return nil
	}
	return e.Tickets.Enqueue(ctx, wanted...)
}

// base64Files stores files that arrive in base64.
type base64Files struct{ *media.Store }

// PutBase64 implements httpapi.Media.
func (f base64Files) PutBase64(ctx context.Context, r io.Reader) (gateway.Blob, error) {
	return f.Put(ctx, media.NewBase64Reader(r))
}

// logoutWait bounds how long the deletion of a tenant waits for its phone to be unlinked.
const logoutWait = 5 * time.Second

// tenants deletes a tenant from everywhere.
type tenants struct{ hub *Hub }

// Delete unlinks the tenant's device from its phone as far as that is possible now, removes its rows, and drops its
// tickets. What was waiting is not sent.
func (t tenants) Delete(ctx context.Context, tenant gateway.Tenant) error {
	session, err := t.hub.store.Session(ctx, tenant.Key)
	if err != nil {
		return err
	}
	if session.JID != "" {
		if err := t.hub.commanded().AddCommand(ctx, gateway.Command{TenantKey: tenant.Key, Kind: gateway.CommandLogout}); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, logoutWait)
		_, err := t.hub.awaitSession(wait, tenant, func(s gateway.Session) bool { return s.JID == "" })
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	if err := t.hub.store.DeleteTenant(ctx, tenant.ID); err != nil {
		return err
	}
	if err := t.hub.queue.DropTenant(ctx, tenant.Key); err != nil {
		// The rows are gone, so tickets that stay find nothing to do.
		t.hub.log.WarnContext(ctx, "the deleted tenant's tickets stay until they are looked at", "tenant", tenant.ID, "error", fmt.Sprint(err))
	}
	return nil
}
