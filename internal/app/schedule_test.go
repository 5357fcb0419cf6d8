package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestScheduledMessageGoesOutAtItsTime also across a restart of the hub, which takes the embedded broker's memory with it. A
// canceled one stays away.
func TestScheduledMessageGoesOutAtItsTime(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		schedule := func(text string, at time.Time) (m testkit.Message) {
			w.API.JSON(t, http.MethodPost, "/api/algo/message",
				map[string]any{"to": recipient, "message": text, "sendAt": at}, http.StatusAccepted, &m)
			if m.Status != "scheduled" {
				t.Fatalf("accepted as %s", m.Status)
			}
			return m
		}
		at := time.Now().Add(3 * time.Second).UTC()
		tomorrow := schedule("tomorrow", at.Add(24*time.Hour))
		canceled := schedule("never", at)
		w.API.JSON(t, http.MethodPost, "/api/algo/messages/"+canceled.ID+"/cancel", nil, http.StatusOK, nil)
		m := schedule("in time", at)
		w.StopHub()
		w.StartHub()
		w.API.AwaitStatus(t, "algo", m.ID, "read")
		shown := w.Shown(recipient)
		if len(shown) != 1 || shown[0].Text != "in time" || shown[0].Decrypted[0].Before(at) {
			t.Errorf("the phone shows %+v, want one at %s", shown, at)
		}
		if got := strings.Join(w.API.Events(t, "algo", m.ID), " "); !strings.HasPrefix(got, "scheduled queued sending ") {
			t.Errorf("history %s", got)
		}
		if got := w.API.Get(t, "algo", tomorrow.ID); got.Status != "scheduled" {
			t.Errorf("tomorrow's message is %s", got.Status)
		}
	})
}
