package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/fetch"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/metrics"
	"github.com/wapro/hub/internal/relay"
	"github.com/wapro/hub/internal/session"
	"github.com/wapro/hub/internal/wa"
)

// worker is the part of a hub that holds sessions and sends.
type worker struct {
	sessions *session.Supervisor
	dispatch *dispatch.Dispatcher
	relay    *relay.Relay
}

// startWorker connects sessions, lanes and dispatch and starts them. They stop in the opposite order: the relay, then
// each session with its lanes, which finishes the send in hand.
func (h *Hub) startWorker(ctx context.Context) error {
	server, refresh, err := h.prepareWhatsApp(ctx)
	if err != nil {
		return err
	}
	var clients *wa.Factory
	err = h.store.Exclusive(ctx, func(ctx context.Context) (err error) { // it migrates WhatsApp's tables
		clients, err = wa.NewFactory(ctx, wa.Options{
			Database: h.store, Media: h.blobs, Lookup: h.lookup, Log: h.log, Server: server,
			AckTimeout: h.opts.AckTimeout, SendTimeout: h.opts.SendTimeout, PairTimings: h.opts.PairTimings,
		})
		return err
	})
	if err != nil {
		return err
	}
	h.onStop("whatsapp connections", briefStop, func(context.Context) error { clients.Close(); return nil })

	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this machine: %w", err)
	}
	w := &worker{}
	if w.relay, err = relay.New(h.database, h.ledger, meteredTickets{h.tickets, h.metrics, metrics.ByRelay}, relay.Options{
		Instance: h.instance, Bulks: h.bulks, Online: func(tenantKey int64) bool { return w.sessions.Online(tenantKey) }, Log: h.log,
	}); err != nil {
		return err
	}
	w.sessions = session.New(session.Deps{
		Store: h.database,
		Clients: func(ctx context.Context, s gateway.Session, on func(context.Context, gateway.ClientEvent) error) (session.Client, error) {
			h.names.learn(s.TenantKey, s.TenantID)
			client, err := clients.New(ctx, s, on)
			if err != nil {
				return nil, err // not a nil *wa.Client in a session.Client
			}
			return client, nil
		},
		Lanes:          lanes{h, w},
		Receipts:       meteredReceipts{h.ledger, h.metrics},
		Inbound:        sealed{h.database, h.secrets},
		Queries:        newAnswers(h),
		Instance:       h.instance,
		Host:           host,
		PID:            os.Getpid(),
		Log:            h.log,
		LeaseTTL:       h.cfg.LeaseTTL,
		Embedded:       h.cfg.Embedded(),
		RefreshVersion: refresh,
		LeaseLost:      h.metrics.LeaseLost,
		Timings:        session.Timings{BackoffBase: h.opts.Reconnect},
	})
	files := fetch.New(h.database, h.blobs, h.egress)
	h.onStop("fetches", briefStop, func(context.Context) error { files.Close(); return nil })
	previews := fetch.NewPreviews(h.egress, h.log)
	h.onStop("previews", briefStop, func(context.Context) error { previews.Close(); return nil })
	w.dispatch = dispatch.New(dispatch.Deps{
		Files: files, Previews: previews,
		Ledger: meteredLedger{h.ledger, h.metrics}, Sender: meteredSender{w.sessions, h.metrics},
		Sessions: restrictions{h.database, w.sessions}, Queue: meteredTickets{h.tickets, h.metrics, metrics.ByDispatch}, Contacts: h.database,
		Paces: h.database, Pacing: pacing(h.cfg.Mode()),
		Log: h.log, Options: dispatch.Options{SendTimeout: h.opts.SendTimeout, RetryBase: h.opts.RetryBase},
	})
	h.worker = w
	h.onStop("outcomes", briefStop, w.dispatch.Stop) // after the sessions

	w.sessions.Start(ctx)
	h.onStop("sessions", sessionsStop, w.sessions.Stop)
	if err := w.relay.Start(ctx); err != nil {
		return err
	}
	h.onStop("relay", briefStop, w.relay.Stop)
	return nil
}

// lookup finds the message a recipient's phone asks for again, and what it was sent as.
func (h *Hub) lookup(ctx context.Context, tenantKey int64, stanzaID string) (*gateway.Message, []byte, error) {
	m, err := h.store.MessageByStanza(ctx, tenantKey, stanzaID)
	if errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
		return nil, nil, nil
	}
	if err != nil || m.Dropped() { // nothing is left to give
		return nil, nil, err
	}
	content, err := h.store.SentContent(ctx, tenantKey, stanzaID)
	return &m, content, err
}

// lanes lets a session's queues be consumed while it is online.
type lanes struct {
	hub    *Hub
	worker *worker
}

// Open takes over what a dead process had in hand and fills the lanes before they are consumed, so that order holds.
func (l lanes) Open(fence gateway.Fence) {
	ctx := l.hub.background
	if err := l.worker.relay.TakeOver(ctx, fence); err != nil {
		l.hub.log.WarnContext(ctx, "the relay will fill this tenant's lanes later", "tenantKey", fence.TenantKey, "error", err)
	}
	l.hub.queue.Open(fence.TenantKey, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		return l.worker.dispatch.Handle(ctx, fence, ticket)
	})
}

// Reconsider has the pacing read anew, and what is held come back.
func (l lanes) Reconsider(fence gateway.Fence) {
	l.worker.dispatch.Reconsider(fence.TenantKey)
	l.worker.relay.Reconsider(fence)
}

// Close ends consuming and waits for the message in hand, and until it is recorded.
func (l lanes) Close(tenantKey int64) {
	l.hub.queue.Close(tenantKey)
	ctx := context.WithoutCancel(l.hub.background) // an orderly stop has ended that already, and must wait all the more
	if err := l.worker.dispatch.Settled(ctx, tenantKey); err != nil {
		l.hub.log.Warn("an outcome is not recorded yet", "tenantKey", tenantKey, "error", err)
	}
}
