package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	defaultDeliveries, maxDeliveries = 50, 200
	maxSecretText                    = 128 // bytes of a webhook's secret as it is written
)

// Webhooks is what a tenant does with its webhooks. A missing one is gateway.CodeNotFound.
type Webhooks interface {
	Webhooks(ctx context.Context, tenantKey int64) ([]gateway.Webhook, error)
	Webhook(ctx context.Context, tenantKey int64, id string) (gateway.Webhook, error)
	// Create returns the secret, which is not shown again; an empty one is made. gateway.CodeConflict: there are too many.
	Create(ctx context.Context, tenantKey int64, c gateway.WebhookChange, secret string) (w gateway.Webhook, shown string, err error)
	Update(ctx context.Context, tenantKey int64, id string, c gateway.WebhookChange) (gateway.Webhook, error)
	Rotate(ctx context.Context, tenantKey int64, id, secret string) (w gateway.Webhook, shown string, err error)
	DeleteWebhook(ctx context.Context, tenantKey int64, id string) error
	Test(ctx context.Context, tenantKey int64, id string) (eventID string, err error)
	// Replay tells once more of the event at pos, or when that is 0 of all since a time; it returns of how many.
	Replay(ctx context.Context, tenantKey int64, id string, pos int64, since time.Time) (count int, err error)
	// DeliveryAttempts lists the newest before the one of that number; 0: from the newest.
	DeliveryAttempts(ctx context.Context, tenantKey int64, id string, before int64, limit int) ([]gateway.DeliveryAttempt, error)
}

// ListWebhooks answers with all of a tenant's.
func (s *Server) ListWebhooks(c echo.Context, _ string) error {
	found, err := s.webhooks.Webhooks(c.Request().Context(), callOf(c).tenant.Key)
	if err != nil {
		return wrap(err, "list the webhooks")
	}
	list := spec.WebhookList{Data: make([]spec.Webhook, len(found))}
	for i, w := range found {
		list.Data[i] = shownWebhook(c, w)
	}
	return sendJSON(c, list)
}

// GetWebhook answers with one.
func (s *Server) GetWebhook(c echo.Context, _, id string) error {
	w, err := s.webhooks.Webhook(c.Request().Context(), callOf(c).tenant.Key, id)
	if err != nil {
		return wrap(err, "read the webhook")
	}
	return sendJSON(c, shownWebhook(c, w))
}

// hiddenPath stands for the path of a URL, which may be a token as the query may: many services give each customer a path of his own.
const hiddenPath = "/***"

// shownWebhook is w as the caller may see it: who may not manage webhooks sees nothing of a URL that may be a token.
func shownWebhook(c echo.Context, w gateway.Webhook) spec.Webhook {
	m := webhookModel(w)
	if callOf(c).manages {
		return m
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		m.Url = ""
		return m
	}
	m.Url = u.Scheme + "://" + u.Host
	if len(m.Url) < len(w.URL) {
		m.Url += hiddenPath
	}
	return m
}

func webhookModel(w gateway.Webhook) spec.Webhook {
	return spec.Webhook{
		Id: w.ID, Url: w.URL, Events: w.Events, Status: spec.WebhookStatus(w.Status), Reason: orNull(string(w.Reason)), Since: w.Since.UTC(),
		CreatedAt: w.CreatedAt.UTC(), Failures: w.Failures, FailingSince: timeOrNull(w.FailingSince), RestUntil: timeOrNull(w.RestUntil),
		Waiting: w.Waiting, OldSecretUntil: timeOrNull(w.OldUntil),
	}
}

// secretAnswer shows a webhook with its secret; a replay has none.
func secretAnswer(status int, w gateway.Webhook, secret string) *answer {
	m := webhookModel(w)
	shown := spec.CreatedWebhook{
		Id: m.Id, Url: m.Url, Events: m.Events, Status: m.Status, Reason: m.Reason, Since: m.Since, CreatedAt: m.CreatedAt, Failures: m.Failures,
		FailingSince: m.FailingSince, RestUntil: m.RestUntil, Waiting: m.Waiting, OldSecretUntil: m.OldSecretUntil, Secret: &secret,
	}
	a := jsonAnswer(status, shown)
	shown.Secret = nil
	a.replay = &jsonAnswer(status, shown).IdempotencyAnswer
	return a
}

// CreateWebhook makes one and shows its secret this once.
func (s *Server) CreateWebhook(c echo.Context, tenantID string, _ spec.CreateWebhookParams) error {
	var change gateway.WebhookChange
	var secret string
	return s.post(c, func(d *strictjson.Decoder) error { return decodeWebhook(d, &change, &secret) },
		func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
			w, shown, err := s.webhooks.Create(ctx, callOf(c).tenant.Key, change, secret)
			if err != nil {
				return nil, wrap(err, "create the webhook")
			}
			a := secretAnswer(http.StatusCreated, w, shown)
			location := "/api/" + tenantID + "/webhooks/" + w.ID
			a.Header["Location"], a.replay.Header["Location"] = location, location
			return a, nil
		})
}

// PatchWebhook changes what the body names.
func (s *Server) PatchWebhook(c echo.Context, _, id string) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	var change gateway.WebhookChange
	if err := decodeBody(c, body, func(d *strictjson.Decoder) error { return decodeWebhook(d, &change, nil) }); err != nil {
		return err
	}
	w, err := s.webhooks.Update(c.Request().Context(), callOf(c).tenant.Key, id, change)
	if err != nil {
		return wrap(err, "change the webhook")
	}
	return sendJSON(c, webhookModel(w))
}

// decodeWebhook reads {url, events, enabled} and, when it may be given, {secret}.
func decodeWebhook(d *strictjson.Decoder, change *gateway.WebhookChange, secret *string) error {
	if d == nil {
		return noBody()
	}
	return d.Object(func(field string) error {
		switch {
		case field == "url":
			change.URL = new(string)
			return required(d, change.URL, gateway.MaxWebhookURL, gateway.CodeInvalidBody)
		case field == "events":
			if null, err := d.Null(); err != nil || null {
				return err
			}
			change.Events = []string{}
			return d.Array(gateway.MaxWebhookEvents, func() error {
				var kind string
				err := required(d, &kind, maxKeyword, gateway.CodeInvalidBody)
				change.Events = append(change.Events, kind)
				return err
			})
		case field == "enabled":
			if null, err := d.Null(); err != nil || null {
				return err
			}
			enabled, err := d.Bool()
			change.Enabled = &enabled
			return err
		case field == "secret" && secret != nil:
			return optional(d, secret, maxSecretText, gateway.CodeInvalidBody)
		}
		return d.UnknownField()
	})
}

// DeleteWebhook removes one with its log.
func (s *Server) DeleteWebhook(c echo.Context, _, id string) error {
	if err := s.webhooks.DeleteWebhook(c.Request().Context(), callOf(c).tenant.Key, id); err != nil {
		return wrap(err, "delete the webhook")
	}
	return c.NoContent(http.StatusNoContent)
}

// RotateWebhook gives one another secret and shows it this once.
func (s *Server) RotateWebhook(c echo.Context, _, id string, _ spec.RotateWebhookParams) error {
	var secret string
	return s.post(c, func(d *strictjson.Decoder) error {
		if d == nil {
			return nil
		}
		return d.Object(func(field string) error {
			if field != "secret" {
				return d.UnknownField()
			}
			return optional(d, &secret, maxSecretText, gateway.CodeInvalidBody)
		})
	}, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		w, shown, err := s.webhooks.Rotate(ctx, callOf(c).tenant.Key, id, secret)
		if err != nil {
			return nil, wrap(err, "rotate the secret")
		}
		return secretAnswer(http.StatusOK, w, shown), nil
	})
}

// TestWebhook has a test be posted.
func (s *Server) TestWebhook(c echo.Context, _, id string, _ spec.TestWebhookParams) error {
	return s.post(c, nothing, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		eventID, err := s.webhooks.Test(ctx, callOf(c).tenant.Key, id)
		if err != nil {
			return nil, wrap(err, "test the webhook")
		}
		return jsonAnswer(http.StatusAccepted, spec.WebhookTest{EventId: eventID}), nil
	})
}

// ReplayWebhook has events be posted once more.
func (s *Server) ReplayWebhook(c echo.Context, _, id string, _ spec.ReplayWebhookParams) error {
	var eventID string
	var since time.Time
	return s.post(c, func(d *strictjson.Decoder) error {
		if d == nil {
			return noBody()
		}
		return d.Object(func(field string) error {
			switch field {
			case "eventId":
				return required(d, &eventID, maxID, gateway.CodeInvalidBody)
			case "since":
				return instant(d, &since)
			}
			return d.UnknownField()
		})
	}, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		var pos int64
		var err error
		switch {
		case (eventID == "") == since.IsZero():
			return nil, gateway.Errorf(gateway.CodeInvalidBody, "either /eventId or /since is needed")
		case eventID != "":
			if pos, err = gateway.NoticePos(eventID); err != nil {
				return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, "/eventId", "/eventId is not the id of an event")
			}
		}
		count, err := s.webhooks.Replay(ctx, callOf(c).tenant.Key, id, pos, since)
		if err != nil {
			return nil, wrap(err, "replay events")
		}
		return jsonAnswer(http.StatusAccepted, spec.ReplayAnswer{Events: count}), nil
	})
}

// ListDeliveries answers with one page of what was posted.
func (s *Server) ListDeliveries(c echo.Context, _, id string, p spec.ListDeliveriesParams) error {
	if err := onlyQuery(c, "cursor", "limit"); err != nil {
		return err
	}
	limit, before := defaultDeliveries, int64(0)
	if p.Limit != nil {
		if limit = *p.Limit; limit < 1 || limit > maxDeliveries {
			return gateway.Errorf(gateway.CodeInvalidParameter, "limit must be 1 to %d", maxDeliveries)
		}
	}
	if p.Cursor != nil {
		var err error
		if before, err = strconv.ParseInt(*p.Cursor, 10, 64); err != nil || before < 1 {
			return gateway.Errorf(gateway.CodeInvalidParameter, "cursor is not a nextCursor of this list")
		}
	}
	found, err := s.webhooks.DeliveryAttempts(c.Request().Context(), callOf(c).tenant.Key, id, before, limit)
	if err != nil {
		return wrap(err, "list the deliveries")
	}
	list := spec.DeliveryList{Data: make([]spec.Delivery, len(found))}
	for i, a := range found {
		list.Data[i] = spec.Delivery{
			Id: strconv.FormatInt(a.ID, 10), EventId: a.EventID, Type: string(a.Kind), Attempt: a.Attempt, At: a.At.UTC(),
			Outcome: spec.DeliveryOutcome(a.Outcome), Milliseconds: int(a.Took.Milliseconds()), Error: orNull(a.Error), NextAttemptAt: timeOrNull(a.NextAt),
		}
		if a.Status != 0 {
			list.Data[i].Status = &a.Status
		}
	}
	if len(found) == limit { // the next page may be empty
		list.NextCursor = &list.Data[limit-1].Id
	}
	return sendJSON(c, list)
}
