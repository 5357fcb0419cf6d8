package webhook

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// TestAttemptsAreMadeAtTheTimesPromised: at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h, each up to a fifth later.
func TestAttemptsAreMadeAtTheTimesPromised(t *testing.T) {
	t.Parallel()
	pauses := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour}
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i, pause := range pauses {
		for _, random := range []float64{0, 0.5, 0.999} {
			p := posted{DeliveryAttempt: gateway.DeliveryAttempt{At: at, Attempt: i + 1, Status: 500}}
			p.settle(random)
			if wait := p.NextAt.Sub(at); p.Outcome != gateway.DeliveryRetry || wait < pause || wait > pause+pause/5 {
				t.Errorf("after attempt %d: %s, in %v", i+1, p.Outcome, wait)
			}
		}
	}
	last := posted{DeliveryAttempt: gateway.DeliveryAttempt{At: at, Attempt: len(pauses) + 1}}
	if last.settle(0); last.Outcome != gateway.DeliveryGivenUp || len(pauses)+1 != gateway.WebhookAttempts {
		t.Errorf("after the last attempt: %+v", last)
	}
	asked := posted{DeliveryAttempt: gateway.DeliveryAttempt{At: at, Attempt: 1, Status: 429}, wait: time.Minute}
	if asked.settle(0); !asked.NextAt.Equal(at.Add(time.Minute)) {
		t.Errorf("asked to wait: %+v", asked)
	}
	for status, want := range map[int]gateway.DeliveryOutcome{
		200: gateway.DeliveryTaken, 299: gateway.DeliveryTaken, 302: gateway.DeliveryRetry, 404: gateway.DeliveryRetry, 0: gateway.DeliveryRetry, 199: gateway.DeliveryRetry,
	} {
		p := posted{DeliveryAttempt: gateway.DeliveryAttempt{At: at, Attempt: 1, Status: status}}
		if p.settle(0); p.Outcome != want {
			t.Errorf("%d is %s", status, p.Outcome)
		}
	}
}

func TestAWebhookIsJudgedByWhatItTakes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	w := gateway.Webhook{Status: gateway.WebhookEnabled}
	bad, good := posted{DeliveryAttempt: gateway.DeliveryAttempt{Outcome: gateway.DeliveryRetry}}, posted{DeliveryAttempt: gateway.DeliveryAttempt{Outcome: gateway.DeliveryTaken}}
	fail := func(n int) {
		for range n {
			judge(&w, []posted{bad}, now, 0)
		}
	}
	fail(breakAfter - 1)
	if !w.RestUntil.IsZero() || w.Failures != 4 || !w.FailingSince.Equal(now) {
		t.Errorf("after some failures %+v", w)
	}
	fail(1)
	if !w.RestUntil.Equal(now.Add(restBase)) {
		t.Errorf("it rests until %v", w.RestUntil)
	}
	fail(100)
	if !w.RestUntil.Equal(now.Add(restMax)) {
		t.Errorf("after long it rests until %v", w.RestUntil)
	}
	judge(&w, []posted{bad, good, bad}, now, 0)
	if w.Failures != 0 || !w.RestUntil.IsZero() || !w.FailingSince.IsZero() {
		t.Errorf("when it is back %+v", w)
	}
	fail(1)
	for end := now.Add(failingFor - time.Second); now.Before(end); fail(1) {
		now = now.Add(min(12*time.Hour, end.Sub(now)))
	}
	if w.Status != gateway.WebhookEnabled {
		t.Errorf("shortly before five days %+v", w)
	}
	now = now.Add(time.Second)
	if fail(1); w.Status != gateway.WebhookDisabled || w.Reason != gateway.WebhookFailing || !w.Since.Equal(now) {
		t.Errorf("after five days %+v", w)
	}
	judge(&w, []posted{{gone: true}}, now.Add(time.Hour), 0) // what was in flight when it was disabled
	if w.Reason != gateway.WebhookFailing {
		t.Errorf("disabled twice: %+v", w)
	}
}

// TestADaysQuietIsNoFailure: a webhook that is told of little fails once, is told of nothing for days, and fails once more.
func TestADaysQuietIsNoFailure(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	w := gateway.Webhook{Status: gateway.WebhookEnabled}
	fail := func(attempt int) posted {
		p := posted{DeliveryAttempt: gateway.DeliveryAttempt{At: now, Attempt: attempt, Status: 500}}
		p.settle(0.999)
		judge(&w, []posted{p}, now, 0.999)
		return p
	}
	fail(gateway.WebhookAttempts) // given up
	now = now.Add(2 * failingFor)
	if fail(1); w.Status != gateway.WebhookEnabled || !w.FailingSince.Equal(now) {
		t.Errorf("after days of quiet %+v", w)
	}
	// The pauses between the attempts of one event are not quiet: one event after the other fails, each as late as can be.
	begun := now
	for attempt := 2; w.Status == gateway.WebhookEnabled && now.Sub(begun) < 2*failingFor; attempt++ {
		p := fail(attempt)
		if p.Outcome == gateway.DeliveryGivenUp {
			attempt = 0
			continue
		}
		now = p.NextAt
	}
	if failed := now.Sub(begun); w.Status != gateway.WebhookDisabled || failed < failingFor || failed > failingFor+failingGap {
		t.Errorf("after %v of failures %+v", failed, w)
	}
}

func TestRetryAfterIsReadWithinBounds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": 0, "90": 90 * time.Second, "86400": maxRetryWait, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.Add(48 * time.Hour).Format(http.TimeFormat): maxRetryWait,
	} {
		if got := retryWait(header, now); got != want {
			t.Errorf("%q is %v, want %v", header, got, want)
		}
	}
}

func TestASecretIsOfTheStandardsForm(t *testing.T) {
	t.Parallel()
	if _, err := ParseSecret(NewSecret()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "whsec_", "whsec_x", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_" + strings.Repeat("AAAA", 22)} {
		_, err := ParseSecret(bad)
		if !errors.Is(err, &gateway.Error{Code: gateway.CodeInvalidBody}) || len(bad) > 10 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q is %v", bad, err)
		}
	}
	// The example of the standard's own libraries.
	key, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`), key)
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signed as %s", got)
	}
}

// FuzzParseSecret: whatever is given is refused or signs, and never panics.
func FuzzParseSecret(f *testing.F) {
	f.Add("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	f.Add("whsec_")
	f.Add("whsec_====")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseSecret(text)
		if (err == nil) != (len(key) >= minSecret && len(key) <= maxSecret) {
			t.Errorf("%q is read as %d bytes, %v", text, len(key), err)
		}
	})
}
