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
		at := time.Now().Add(20 * time.Second).UTC() // time for a slow machine to take in, and to cancel
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

// TestScheduledBulkGoesOutAtItsTime: until then nothing of it goes out, and it may be canceled.
func TestScheduledBulkGoesOutAtItsTime(t *testing.T) {
	w := testkit.Paired(t, testkit.Embedded())
	at := time.Now().Add(20 * time.Second).UTC()
	schedule := func(text string, at time.Time) bulkBody {
		b := postBulk(t, w.API, map[string]any{"message": text, "sendAt": at, "recipients": []map[string]string{{"to": recipient}, {"to": "919876500021"}}})
		if b.Status != "scheduled" {
			t.Fatalf("accepted as %s", b.Status)
		}
		return b
	}
	canceled := schedule("never", at)
	w.API.JSON(t, http.MethodPost, "/api/algo/bulk/"+canceled.ID+"/cancel", nil, http.StatusOK, nil)
	tomorrow, b := schedule("tomorrow", at.Add(24*time.Hour)), schedule("in time", at)
	b = awaitBulk(t, w.API, b.ID, "its end", func(b bulkBody) bool { return b.Counts["read"] == 2 })
	if b.StartedAt == nil || b.StartedAt.Before(at) {
		t.Errorf("it began at %s, scheduled for %s", b.StartedAt, at)
	}
	if shown := w.Shown(recipient); len(shown) != 1 || shown[0].Text != "in time" {
		t.Errorf("the phone shows %+v", shown)
	}
	if got := getBulk(t, w.API, tomorrow.ID); got.Status != "scheduled" || got.Counts["queued"] != 2 {
		t.Errorf("tomorrow's bulk: %+v", got)
	}
}
