package app

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/metrics"
)

// TestPanicsAreCounted wherever in the log they are told of, and whatever LOG_LEVEL drops.
func TestPanicsAreCounted(t *testing.T) {
	t.Parallel()
	for level, lines := range map[slog.Level]int{slog.LevelInfo: 3, slog.LevelError + 4: 0} {
		var out bytes.Buffer
		counters := metrics.New()
		log := countPanics(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level})), counters.Panicked)
		log.Error("something else", "error", "none")
		log.Error("in a room", "tenant", "algo", panicKey, "string")
		log.With("tenant", "beta").WithGroup("send").Error("of a tenant", "message", 1, panicKey, "string")
		if got := strings.Count(out.String(), "\n"); got != lines {
			t.Errorf("at level %s %d lines are logged, want %d: %s", level, got, lines, out.String())
		}
		answer := httptest.NewRecorder()
		opsHandler(nil, counters.Handler()).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(answer.Body.String(), "\nwapro_panics_total 2\n") {
			t.Errorf("at level %s the metrics are %s", level, answer.Body.String())
		}
	}
}
