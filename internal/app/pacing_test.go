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

// TestAChangeOfThePacingTakesEffectAtOnce: what a cap holds and what a delay lets rest goes out when the tenant lifts it.
func TestAChangeOfThePacingTakesEffectAtOnce(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		patch := func(pacing map[string]any) time.Time {
			t.Helper()
			w.API.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{"pacing": pacing}, http.StatusOK, nil)
			return time.Now()
		}
		made := 0
		toAStranger := func() testkit.Message {
			t.Helper()
			made++
			return w.API.Send(t, "algo", fmt.Sprintf("9198765001%02d", made), "hello, stranger")
		}
		// held is a message to a stranger that a cap holds. A change is under way for a moment, so some may slip through.
		held := func() testkit.Message {
			t.Helper()
			for range 100 {
				m := toAStranger()
				m = w.API.Await(t, "algo", m.ID, 3*time.Minute, "held or read", func(m testkit.Message) bool { return m.Phase == "held" || m.Status == "read" })
				if m.Phase == "held" {
					return m
				}
			}
			t.Fatal("nothing was held")
			return testkit.Message{}
		}
		goes := func(m testkit.Message, since time.Time) {
			t.Helper()
			const soon = 45 * time.Second // on any machine; a lane that is not woken rests for a minute, a cap for a day
			m = w.API.AwaitStatus(t, "algo", m.ID, "read")
			if took := m.SentAt.Sub(since); took > soon {
				t.Errorf("it went out %s after the change", took)
			}
			if m.Attempts != 1 {
				t.Errorf("waiting cost attempts: %d", m.Attempts)
			}
		}

		patch(map[string]any{"firstContactsPerDay": 1})
		first := held()
		goes(first, patch(map[string]any{"firstContactsPerDay": 0}))

		patch(map[string]any{"firstContactsPerDay": 1})
		second := held()
		patch(map[string]any{"firstContactsPerDay": 0, "delaySeconds": 3600})
		third := toAStranger()
		since := patch(map[string]any{"delaySeconds": 0})
		goes(second, since)
		goes(third, since)
	})
}

// TestWhoHasTwoFormsOfANumberIsKnownInBoth: a Brazilian customer, whom WhatsApp knows without the ninth digit, is a stranger once, in whatever way the
// tenant writes the number; the cap of first contacts is another's.
func TestWhoHasTwoFormsOfANumberIsKnownInBoth(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		w.API.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{"pacing": map[string]any{"firstContactsPerDay": 1}}, http.StatusOK, nil)
		for i, to := range []string{"+55 11 98765-4321", "5511987654321", "5511987654321@s.whatsapp.net", "551187654321"} {
			m := w.API.Send(t, "algo", to, fmt.Sprintf("hello %d", i))
			if m = w.API.AwaitStatus(t, "algo", m.ID, "read"); m.RecipientJID != "551187654321@s.whatsapp.net" {
				t.Errorf("%s is %s", to, m.RecipientJID)
			}
		}
		stranger := w.API.Send(t, "algo", "919876500150", "hello, stranger")
		w.API.Await(t, "algo", stranger.ID, 3*time.Minute, "held", func(m testkit.Message) bool { return m.Phase == "held" })
	})
}
