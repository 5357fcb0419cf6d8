package webhook

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const maxAnswer = 64 << 10 // bytes of an answer that are read, so that its connection can be used again; nothing is made of them

// post posts one event and tells what came of it.
func (d *Deliverer) post(ctx context.Context, w *gateway.Webhook, keys [][]byte, next gateway.Delivery) (p posted) {
	at, began := d.clock().UTC(), time.Now()
	p = posted{DeliveryAttempt: gateway.DeliveryAttempt{
		WebhookID: w.ID, EventID: next.Notice.ID, Pos: next.Notice.Pos, Subject: next.Notice.Subject, Kind: next.Notice.Kind, Attempt: next.Attempts + 1, At: at,
	}}
	defer func() {
		p.Took = time.Since(began)
		p.settle(d.random())
	}()
	body := next.Notice.Body()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		p.Error = "The URL cannot be called."
		return p
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "WA-Pro-Hub-Webhooks/1")
	r.Header.Set("webhook-id", next.Notice.ID)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.Header.Set("webhook-signature", Sign(next.Notice.ID, at, body, keys...))
	answer, err := d.client.Do(r)
	if err != nil {
		p.cut = ctx.Err() != nil
		p.Error = reason(err)
		return p
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // as far as it comes
	p.Status, p.gone = answer.StatusCode, answer.StatusCode == http.StatusGone
	p.Error = "It answered " + strconv.Itoa(p.Status) + " instead of 2xx."
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		p.wait = retryWait(answer.Header.Get("Retry-After"), at)
	}
	return p
}

// retryWait reads a Retry-After (RFC 9110, 10.2.3): seconds or a date, up to maxRetryWait. 0: there is none.
func retryWait(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryWait)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxRetryWait)
	}
	return 0
}
