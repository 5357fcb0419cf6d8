package webhook

import (
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	breakAfter = 5 // failures in a row after which a webhook rests between single attempts
	restBase   = 5 * time.Second
	restMax    = 5 * time.Minute
	failingFor = 5 * 24 * time.Hour // then it is disabled
	// Without an attempt for longer than the longest pause between two, and a rest, nothing was to be delivered: that time says nothing of the webhook.
	failingGap   = 13 * time.Hour
	maxRetryWait = time.Hour // of a Retry-After
)

// retryAfter is the pause after the attempt of that number; the first of them is made at once.
func retryAfter(attempt int) time.Duration {
	pauses := [gateway.WebhookAttempts - 1]time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
	}
	return pauses[min(max(attempt, 1), len(pauses))-1]
}

// jitter is d and up to a fifth more, by random in [0, 1).
func jitter(d time.Duration, random float64) time.Duration {
	return d + time.Duration(random*float64(d)/5)
}

// posted is an attempt and what it says of the webhook as a whole.
type posted struct {
	gateway.DeliveryAttempt
	gone bool          // 410
	wait time.Duration // that the webhook asked for
	cut  bool          // by our own stop: it is no attempt
}

// settle decides what becomes of an attempt.
func (p *posted) settle(random float64) {
	switch {
	case p.Status >= 200 && p.Status < 300:
		p.Outcome, p.Error = gateway.DeliveryTaken, ""
	case p.gone, p.Attempt >= gateway.WebhookAttempts:
		p.Outcome = gateway.DeliveryGivenUp
	default:
		p.Outcome = gateway.DeliveryRetry
		p.NextAt = p.At.Add(max(jitter(retryAfter(p.Attempt), random), p.wait))
	}
}

// judge is what attempts that were made at the same time say of the webhook. One that takes anything is alive.
func judge(w *gateway.Webhook, list []posted, now time.Time, random float64) {
	taken, gone, wait := false, false, time.Duration(0)
	for _, p := range list {
		if p.Outcome == gateway.DeliveryTaken {
			taken = true
			continue
		}
		gone, wait = gone || p.gone, max(wait, p.wait)
		if w.Failures++; w.FailingSince.IsZero() || now.Sub(w.LastFailure) > failingGap {
			w.FailingSince = now
		}
		w.LastFailure = now
	}
	switch {
	case gone:
		disable(w, gateway.WebhookGone, now)
	case taken:
		w.Failures, w.FailingSince, w.RestUntil = 0, time.Time{}, time.Time{}
	case len(list) > 0 && now.Sub(w.FailingSince) >= failingFor:
		disable(w, gateway.WebhookFailing, now)
	case w.Failures >= breakAfter:
		rest := min(restBase<<min(w.Failures-breakAfter, 10), restMax)
		w.RestUntil = now.Add(jitter(rest, random))
	}
	if wait > 0 && !taken && !gone && w.RestUntil.Before(now.Add(wait)) {
		w.RestUntil = now.Add(wait)
	}
}

func disable(w *gateway.Webhook, why gateway.WebhookReason, now time.Time) {
	if w.Status == gateway.WebhookEnabled {
		w.Status, w.Reason, w.Since = gateway.WebhookDisabled, why, now
	}
}
