package app

import (
	"context"
	"time"

	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/queue"
	"github.com/wapro/hub/internal/secret"
	"github.com/wapro/hub/internal/webhook"
)

const (
	webhookTime  = 10 * time.Second // of one post, the answer included
	webhooksStop = 8 * time.Second  // posts in hand are given a moment, and what came of them is recorded
)

// startWebhooks delivers events. It is started before the sessions and stops after them, so that what their end says is settled too.
func (h *Hub) startWebhooks(ctx context.Context) error {
	client := h.egress.Client(egress.Options{Time: webhookTime, IdleConns: 256, ConnsPerHost: 512})
	h.onStop("connections to webhooks", briefStop, func(context.Context) error { client.CloseIdleConnections(); return nil })
	tickets := queue.NewWebhooks(h.redis, queue.WebhookOptions{Log: h.log})
	deliverer := webhook.New(webhook.Deps{
		Store: h.store, Queue: tickets, Secrets: webhookSecrets{h.secrets}, Client: client, Log: h.log,
	})
	if err := tickets.Start(ctx, deliverer.Deliver); err != nil {
		return err
	}
	h.onStop("deliveries to webhooks", webhooksStop, tickets.Stop)
	if err := deliverer.Start(ctx); err != nil {
		return err
	}
	h.onStop("events", briefStop, deliverer.Stop)
	return nil
}

// webhookService is what the API asks of webhooks.
func (h *Hub) webhookService() *webhook.Service {
	check := func(url string) error {
		_, err := h.egress.Check(url)
		return err
	}
	return webhook.NewService(h.store, webhookSecrets{h.secrets}, check, time.Now)
}

// webhookSecrets seals the secrets of webhooks for their place.
type webhookSecrets struct{ box *secret.Box }

func (webhookSecrets) place(column, id string) secret.Place {
	return secret.Place{Table: "webhook_endpoints", Column: column, Row: id}
}

// Seal implements webhook.Secrets.
func (s webhookSecrets) Seal(key []byte, column, id string) ([]byte, error) {
	return s.box.Seal(key, s.place(column, id))
}

// Open implements webhook.Secrets.
func (s webhookSecrets) Open(sealed []byte, column, id string) ([]byte, error) {
	return s.box.Open(sealed, s.place(column, id))
}
