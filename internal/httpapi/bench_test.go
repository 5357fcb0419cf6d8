package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/backlog"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/ratelimit"
)

// instant accepts at once: what is left is the API's own cost.
type instant struct{ httpapi.Store }

func (instant) Text(_ context.Context, t gateway.Tenant, r gateway.TextRequest, _ *gateway.IdempotencyCompletion) (gateway.Message, error) {
	now := time.Now().UTC()
	return gateway.Message{
		ID: "0199f2b4-7c1e-7a53-9d1b-0c5e9d6f2a11", TenantID: t.ID, TenantKey: t.Key, To: r.To, Text: r.Text, Type: gateway.TypeText,
		Priority: gateway.PriorityNormal, Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting, WhatsAppID: "3EB0A1B2C3D4E5F6A7B8C9",
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
	}, nil
}

func (instant) Media(context.Context, gateway.Tenant, gateway.MediaRequest, *gateway.IdempotencyCompletion) (gateway.Message, error) {
	return gateway.Message{}, nil
}

func (instant) Retry(context.Context, gateway.Tenant, string, bool, *gateway.IdempotencyCompletion) (gateway.Message, error) {
	return gateway.Message{}, nil
}

func (instant) Edit(context.Context, gateway.Tenant, string, string, gateway.SendOptions, *gateway.IdempotencyCompletion) (gateway.Message, error) {
	return gateway.Message{}, nil
}

func (instant) Revoke(context.Context, gateway.Tenant, string, gateway.SendOptions, *gateway.IdempotencyCompletion) (gateway.Message, error) {
	return gateway.Message{}, nil
}

func (instant) Recipient(given string) (string, error) { return given, nil }

func (instant) Tenant(context.Context, string) (gateway.Tenant, error) {
	return gateway.Tenant{ID: "algo", Key: 1}, nil
}

func (instant) KeysByPrefix(context.Context, [8]byte) ([]gateway.APIKey, error) {
	return []gateway.APIKey{{ID: "k", TenantKey: 1, Hash: gateway.HashKey("wah_bench")}}, nil
}

func post(b *testing.B, handler http.Handler) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/api/algo/message", strings.NewReader(hello))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("x-api-key", "wah_bench")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			b.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
}

// BenchmarkPostMessage is the API's own share of accepting a message; BenchmarkBareEcho is what echo costs with a bound body.
func BenchmarkPostMessage(b *testing.B) {
	server, err := httpapi.New(httpapi.Deps{Store: instant{}, Intake: instant{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	post(b, server.Handler())
}

// watched is instant with the look at what waits that every accept takes; nothing waits, so the count itself costs nothing.
type watched struct {
	instant
	backlog *backlog.Limit
}

func (watched) Depth(context.Context, int64) (gateway.QueueDepth, error) {
	return gateway.QueueDepth{}, nil
}

func (w watched) Text(ctx context.Context, t gateway.Tenant, r gateway.TextRequest, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	if err := w.backlog.Admit(ctx, t, 1); err != nil {
		return gateway.Message{}, err
	}
	return w.instant.Text(ctx, t, r, idem)
}

// BenchmarkPostMessageWithinLimits is BenchmarkPostMessage with the limits of rate and of the queue, which are never reached: the difference is their cost.
func BenchmarkPostMessageWithinLimits(b *testing.B) {
	accepting := watched{backlog: backlog.New(watched{}, gateway.MaxLimit, time.Now)}
	server, err := httpapi.New(httpapi.Deps{
		Store: instant{}, Intake: accepting, Rates: ratelimit.New(ratelimit.Options{PerSecond: gateway.MaxLimit}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	post(b, server.Handler())
}

func BenchmarkBareEcho(b *testing.B) {
	e := echo.New()
	e.POST("/api/:tenantId/message", func(c echo.Context) error {
		var body struct{ To, Message string }
		if err := c.Bind(&body); err != nil {
			return err
		}
		return c.JSON(http.StatusAccepted, body)
	})
	post(b, e)
}
