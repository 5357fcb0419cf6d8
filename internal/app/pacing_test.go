package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestAHighMessageOvertakesAPacedBacklog: the backlog goes out with its delays and in its order, the one-time password at once.
func TestAHighMessageOvertakesAPacedBacklog(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		const delay = 5 * time.Second // the backlog lasts for three of them: time for a slow machine to see the first one read
		w.API.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{"pacing": map[string]any{"delaySeconds": delay.Seconds()}}, http.StatusOK, nil)
		var backlog []testkit.Message
		for i := range 4 {
			backlog = append(backlog, w.API.Send(t, "algo", recipient, fmt.Sprintf("backlog %d", i)))
		}
		w.API.AwaitStatus(t, "algo", backlog[0].ID, "read")
		var high testkit.Message
		w.API.JSON(t, http.MethodPost, "/api/algo/message",
			map[string]any{"to": "919876500099", "message": "your code is 123456", "priority": "high"}, http.StatusAccepted, &high)
		w.API.AwaitStatus(t, "algo", high.ID, "read")
		w.API.AwaitStatus(t, "algo", backlog[3].ID, "read")
		claimed := func(m testkit.Message) time.Time {
			var events struct {
				Data []struct {
					Status string
					At     time.Time
				}
			}
			w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+m.ID+"/events", nil, http.StatusOK, &events)
			for _, e := range events.Data {
				if e.Status == "sending" {
					return e.At
				}
			}
			t.Fatalf("%s was never claimed", m.ID)
			return time.Time{}
		}
		if !claimed(high).Before(claimed(backlog[3])) {
			t.Error("the high message waited for the backlog")
		}
		for i, m := range backlog {
			if m = w.API.Get(t, "algo", m.ID); m.Attempts != 1 {
				t.Errorf("%d attempts", m.Attempts)
			}
			if i == 0 {
				continue
			}
			if gap := claimed(m).Sub(claimed(backlog[i-1])); gap < delay {
				t.Errorf("message %d was claimed %s after the one before", i, gap)
			}
		}
		var texts []string
		for _, s := range w.WaitShown(recipient, 4) {
			texts = append(texts, s.Text)
		}
		if !slices.IsSorted(texts) {
			t.Errorf("the phone shows %v", texts)
		}
	})
}
