package webhook

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
)

// Columns that secrets are sealed for.
const columnSecret, columnOldSecret = "secret", "old_secret"

// Settings is where webhooks are kept.
type Settings interface {
	CreateWebhook(ctx context.Context, w gateway.Webhook) error // CodeConflict: the tenant has too many
	Webhooks(ctx context.Context, tenantKey int64) ([]gateway.Webhook, error)
	Webhook(ctx context.Context, tenantKey int64, id string) (gateway.Webhook, error)
	UpdateWebhook(ctx context.Context, tenantKey int64, id string, apply func(*gateway.Webhook) error) (gateway.Webhook, error)
	DeleteWebhook(ctx context.Context, tenantKey int64, id string) error
	TestWebhook(ctx context.Context, tenantKey int64, id string, at time.Time) (gateway.Notice, error)
	Replay(ctx context.Context, tenantKey int64, id string, pos int64, since time.Time) (count int, err error)
	DeliveryAttempts(ctx context.Context, tenantKey int64, id string, before int64, limit int) ([]gateway.DeliveryAttempt, error)
}

// Service is what a tenant does with its webhooks. A missing one is CodeNotFound.
type Service struct {
	Settings
	secrets Secrets
	check   func(url string) error
	clock   func() time.Time
}

// NewService makes a Service; check refuses URLs that are never called, its error may be shown.
func NewService(settings Settings, secrets Secrets, check func(url string) error, clock func() time.Time) *Service {
	return &Service{settings, secrets, check, clock}
}

// Create makes a webhook and returns its secret, which is not shown again; an empty one is made. CodeInvalidBody, CodeMasterKeyMissing.
func (s *Service) Create(ctx context.Context, tenantKey int64, c gateway.WebhookChange, secret string) (w gateway.Webhook, shown string, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return w, "", fmt.Errorf("make an id: %w", err)
	}
	now := s.clock().UTC()
	w = gateway.Webhook{ID: id.String(), TenantKey: tenantKey, Events: []string{"*"}, Status: gateway.WebhookEnabled, Since: now, CreatedAt: now}
	if c.URL == nil {
		return w, "", gateway.FieldErrorf(gateway.CodeInvalidBody, "/url", "/url is missing")
	}
	if err := s.change(&w, c); err != nil {
		return w, "", err
	}
	if w.Secret, shown, err = s.seal(secret, w.ID); err != nil {
		return w, "", err
	}
	return w, shown, s.CreateWebhook(ctx, w)
}

// Update changes a webhook. One that is enabled begins as if it had never failed.
func (s *Service) Update(ctx context.Context, tenantKey int64, id string, c gateway.WebhookChange) (gateway.Webhook, error) {
	return s.UpdateWebhook(ctx, tenantKey, id, func(w *gateway.Webhook) error { return s.change(w, c) })
}

func (s *Service) change(w *gateway.Webhook, c gateway.WebhookChange) error {
	if c.URL != nil {
		if len(*c.URL) > gateway.MaxWebhookURL {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, "/url", "/url has at most %d bytes", gateway.MaxWebhookURL)
		}
		if err := s.check(*c.URL); err != nil {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, "/url", "/url is refused: %v", err)
		}
		if w.URL != *c.URL {
			w.URL, w.Failures, w.FailingSince, w.RestUntil = *c.URL, 0, time.Time{}, time.Time{}
		}
	}
	if c.Events != nil {
		w.Events = slices.Clone(c.Events)
		for i, e := range c.Events {
			if !gateway.ValidEventFilter(e) {
				return gateway.FieldErrorf(gateway.CodeInvalidBody, fmt.Sprintf("/events/%d", i), "%q is no kind of event; kinds are such as message.sent, message.* or *", e)
			}
		}
		slices.Sort(w.Events)
		w.Events = slices.Compact(w.Events)
		if len(w.Events) == 0 {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, "/events", "/events is empty")
		}
	}
	if c.Enabled == nil || *c.Enabled == (w.Status == gateway.WebhookEnabled) {
		return nil
	}
	if now := s.clock().UTC(); *c.Enabled {
		w.Status, w.Reason, w.Since = gateway.WebhookEnabled, "", now
		w.Failures, w.FailingSince, w.RestUntil = 0, time.Time{}, time.Time{}
	} else {
		disable(w, gateway.WebhookByRequest, now)
	}
	return nil
}

// Rotate gives a webhook another secret and returns it; the one before signs too for gateway.WebhookSecretKept.
func (s *Service) Rotate(ctx context.Context, tenantKey int64, id, secret string) (w gateway.Webhook, shown string, err error) {
	sealed, shown, err := s.seal(secret, id)
	if err != nil {
		return w, "", err
	}
	w, err = s.UpdateWebhook(ctx, tenantKey, id, func(w *gateway.Webhook) error {
		old, err := s.secrets.Open(w.Secret, columnSecret, id)
		if err != nil {
			return err
		}
		if w.OldSecret, err = s.secrets.Seal(old, columnOldSecret, id); err != nil {
			return err
		}
		w.Secret, w.OldUntil = sealed, s.clock().Add(gateway.WebhookSecretKept)
		return nil
	})
	return w, shown, err
}

// seal makes what is stored of a secret, and of a new one when it is empty.
func (s *Service) seal(secret, id string) (sealed []byte, shown string, err error) {
	if secret == "" {
		secret = NewSecret()
	}
	key, err := ParseSecret(secret)
	if err != nil {
		return nil, "", err
	}
	sealed, err = s.secrets.Seal(key, columnSecret, id)
	return sealed, secret, err
}

// Test has an event of kind webhook.test be delivered to a webhook, and returns its id.
func (s *Service) Test(ctx context.Context, tenantKey int64, id string) (eventID string, err error) {
	n, err := s.TestWebhook(ctx, tenantKey, id, s.clock().UTC())
	return n.ID, err
}
