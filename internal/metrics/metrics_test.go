package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/metrics"
	"github.com/wapro/hub/internal/testkit/fakeclock"
)

// truth tells one message that waits since began, unless it is away.
type truth struct {
	began time.Time
	away  bool
	reads int
}

var errAway = errors.New("away")

func (f *truth) Ping(context.Context) error {
	f.reads++
	if f.away {
		return errAway
	}
	return nil
}

func (f *truth) Backlogs(context.Context, int) ([]gateway.LaneBacklog, error) {
	return []gateway.LaneBacklog{{Lane: gateway.PriorityHigh, Waiting: 1, Oldest: f.began}}, nil
}

func (f *truth) WebhookBacklog(context.Context, int) (int, time.Time, error) {
	return 7, f.began, nil
}

func (f *truth) SessionStates(context.Context) (map[gateway.SessionState]int, error) {
	return nil, errAway
}

func (f *truth) Shares(context.Context, time.Duration) (gateway.Shares, error) {
	return gateway.Shares{Held: map[string]int{"me": 3}, Orphans: 2}, nil
}

// TestWhatCannotBeReadIsNotTold, and what can is read once in ten seconds, however many ask.
func TestWhatCannotBeReadIsNotTold(t *testing.T) {
	t.Parallel()
	clock := fakeclock.At(time.Now())
	hub := &truth{began: clock.Now().Add(-time.Minute)}
	m := metrics.New()
	m.Watch(metrics.Sources{
		Truth: hub, Redis: func(context.Context) error { return errAway }, Instance: "me", Clock: clock.Now,
		Folders: map[string]string{"media": t.TempDir(), "gone": "/nonexistent"},
	})
	scrape := func() string {
		answer := httptest.NewRecorder()
		m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return answer.Body.String()
	}
	check := func(text string, there, absent []string) {
		t.Helper()
		for _, want := range there {
			if !strings.Contains(text, "\n"+want) {
				t.Errorf("%q is not told", want)
			}
		}
		for _, not := range absent {
			if strings.Contains(text, "\n"+not) {
				t.Errorf("%q is told", not)
			}
		}
	}
	check(scrape(), []string{
		"wapro_database_up 1\n", "wapro_redis_up 0\n", `wapro_queue_depth{lane="high"} 1`, `wapro_queue_oldest_seconds{lane="high"} 60`,
		"wapro_leases_held 3\n", "wapro_webhook_backlog 7\n", "wapro_webhook_oldest_seconds 60\n", "wapro_sessions_orphaned 2\n", `wapro_disk_free_bytes{holds="media"}`,
	}, []string{"wapro_sessions{", `wapro_disk_free_bytes{holds="gone"}`})
	hub.away = true
	clock.Advance(9 * time.Second)
	if check(scrape(), []string{"wapro_database_up 1\n"}, nil); hub.reads != 1 {
		t.Errorf("it was read %d times in ten seconds", hub.reads)
	}
	clock.Advance(time.Second)
	check(scrape(), []string{"wapro_database_up 0\n"}, []string{"wapro_queue_depth", "wapro_leases_held", "wapro_sessions_orphaned"})
}

// TestLabelsAreBounded: neither a path that nobody serves nor a method that the caller made up nor a kind of receipt that the server made up becomes a series.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	m.Request("MADEUP", "", http.StatusNotFound, time.Millisecond)
	for i := range 100 {
		m.Request("MADEUP"+strconv.Itoa(i), "/livez", http.StatusMethodNotAllowed, time.Millisecond)
	}
	m.Receipt("made up")
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if text := answer.Body.String(); strings.Contains(strings.ToLower(text), "made") || !strings.Contains(text, `wapro_http_requests_total{method="any",route="none",status="404"} 1`) ||
		!strings.Contains(text, `wapro_http_requests_total{method="other",route="/livez",status="405"} 100`) {
		t.Error(text)
	}
}

// TestCountingAllocatesNothing on the way of a message.
func TestCountingAllocatesNothing(t *testing.T) {
	m := metrics.New()
	outcome := gateway.Outcome{Kind: gateway.OutcomeSent}
	if n := testing.AllocsPerRun(100, func() {
		m.Accepted(gateway.PriorityNormal, 1)
		m.Moved(gateway.StatusSent, 1)
		m.Began(2)
		m.Outcome(outcome)
		m.Took(metrics.PhaseSend, time.Second)
		m.Receipt(gateway.ReceiptRead)
		m.Enqueued(metrics.ByIntake, 1)
		m.Request(http.MethodPost, "/api/:tenantId/message", http.StatusAccepted, time.Millisecond)
	}); n > 0 {
		t.Errorf("counting allocates %v times", n)
	}
}
