package app_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// TestMetricsTellWhatTheAPITells sends through a hub, scrapes its processes, and compares what they count with what the API says of each message.
func TestMetricsTellWhatTheAPITells(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		w.Script(wasim.Fault{Kind: wasim.AckError, Code: 500, Times: 1}) // one attempt fails and is repeated
		type order struct {
			to, priority string
			end          string
		}
		var sent []testkit.Message
		accepted, ends := map[string]float64{}, map[string]string{}
		send := func(o order, more map[string]any) {
			t.Helper()
			body := map[string]any{"to": o.to, "message": "counted", "priority": o.priority}
			for k, v := range more {
				body[k] = v
			}
			var m testkit.Message
			w.API.JSON(t, http.MethodPost, "/api/algo/message", body, http.StatusAccepted, &m)
			sent, ends[m.ID] = append(sent, m), o.end
			accepted[o.priority]++
		}
		for i := range 3 {
			send(order{fmt.Sprintf("49155500002%02d", i), "normal", "read"}, nil)
		}
		send(order{"4915550000300", "high", "read"}, nil)
		send(order{"12025550101", "normal", "failed"}, nil)
		send(order{"4915550000301", "normal", "canceled"}, map[string]any{"sendAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
		canceled := sent[len(sent)-1].ID
		w.API.JSON(t, http.MethodPost, "/api/algo/messages/"+canceled+"/cancel", nil, http.StatusOK, nil)
		b := postBulk(t, w.API, map[string]any{"message": "to many", "recipients": []map[string]string{{"to": "4915550000400"}, {"to": "4915550000401"}}})
		accepted["bulk"] += 2
		awaitBulk(t, w.API, b.ID, "reads", func(b bulkBody) bool { return b.Counts["read"] == 2 })

		moves := map[string]float64{}
		retried, outcomes := 0.0, 0.0
		count := func(m testkit.Message) {
			for _, status := range w.API.Events(t, "algo", m.ID)[1:] { // the first is the accept itself
				moves[status]++
			}
			retried += max(0, float64(m.Attempts)-1)
			outcomes += float64(m.Attempts)
		}
		for _, m := range sent {
			count(w.API.AwaitStatus(t, "algo", m.ID, ends[m.ID]))
		}
		var list struct {
			Data []testkit.Message `json:"data"`
		}
		w.API.JSON(t, http.MethodGet, "/api/algo/messages?bulkId="+b.ID, nil, http.StatusOK, &list)
		for _, m := range list.Data {
			count(m)
		}

		// What waits now: nothing is claimed while the queue is paused.
		w.API.JSON(t, http.MethodPost, "/api/algo/queue/pause", nil, http.StatusOK, nil)
		for range 2 {
			send(order{"4915550000500", "high", ""}, nil)
		}
		refused, _, _ := w.API.Do(t, http.MethodPost, "/api/algo/message", map[string]any{"to": "nobody", "message": "x"})
		if refused != http.StatusUnprocessableEntity {
			t.Errorf("a wrong recipient is answered with %d", refused)
		}

		want := map[string]float64{
			`wapro_attempt_outcomes_total{code="not_on_whatsapp",outcome="permanent"}`: 1,
			`wapro_attempt_outcomes_total{code="",outcome="sent"}`:                     6,
			`wapro_panics_total`: 0,
			`wapro_leases_held`:  1,
			`wapro_http_requests_total{method="POST",route="/api/:tenantId/message",status="202"}`: float64(len(sent)),
			`wapro_http_requests_total{method="POST",route="/api/:tenantId/message",status="422"}`: 1,
		}
		for lane, n := range accepted {
			want[fmt.Sprintf(`wapro_messages_accepted_total{lane=%q}`, lane)] = n
		}
		for status, n := range moves {
			want[fmt.Sprintf(`wapro_message_transitions_total{status=%q}`, status)] = n
		}
		// What a session that went away for a moment on a slow machine adds to: an attempt that it gave back is begun again.
		least := map[string]float64{
			`wapro_retries_total`:                             retried,
			`wapro_send_phase_seconds_count{phase="wait"}`:    7,
			`wapro_send_phase_seconds_count{phase="claim"}`:   outcomes,
			`wapro_send_phase_seconds_count{phase="send"}`:    outcomes,
			`wapro_send_phase_seconds_count{phase="record"}`:  outcomes,
			`wapro_send_phase_seconds_count{phase="deliver"}`: 1,
			`wapro_receipts_total{kind="read"}`:               6,
			`wapro_tickets_total{by="intake"}`:                1, // the relay gives what an accept could not
		}
		truth := map[string]float64{
			`wapro_queue_depth{lane="high"}`: 2, `wapro_queue_depth{lane="normal"}`: 0, `wapro_queue_depth{lane="bulk"}`: 0,
			`wapro_queue_oldest_seconds{lane="bulk"}`: 0,
			`wapro_sessions{state="online"}`:          1, `wapro_sessions{state="offline"}`: 0, `wapro_sessions_orphaned`: 0,
			`wapro_database_up`: 1, `wapro_redis_up`: 1, `wapro_webhook_backlog`: 0, `wapro_webhook_oldest_seconds`: 0,
		}
		if moves["read"] != 6 || moves["failed"] != 1 || moves["canceled"] != 1 || retried < 1 {
			t.Fatalf("the script did not run as it was meant to: %v, %v retried", moves, retried)
		}
		// A counter follows its commit, so that the API may be a moment ahead; what is read from SQL is kept for ten seconds.
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
			scraped, wrong := w.Scrape(), ""
			for series, n := range want {
				if got := scraped.Sum(series); got != n {
					wrong += fmt.Sprintf("\n%s is %v, want %v", series, got, n)
				}
			}
			for series, n := range least {
				if got := scraped.Sum(series); got < n {
					wrong += fmt.Sprintf("\n%s is %v, want at least %v", series, got, n)
				}
			}
			for series, n := range truth {
				if got, err := scraped.Same(series); err != nil || got != n {
					wrong += fmt.Sprintf("\n%s is %v, want %v %v", series, got, n, err)
				}
			}
			for _, process := range scraped {
				if process[`wapro_queue_oldest_seconds{lane="high"}`] <= 0 || process[`wapro_disk_free_bytes{holds="media"}`] <= 0 || process["go_goroutines"] <= 0 {
					wrong += "\nthe age of what waits, the room on the disk or the goroutines are not told"
				}
			}
			return wrong == "", wrong
		})
	})
}
