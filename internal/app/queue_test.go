package app_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// sessionQueue is what GET session says of the queue and of a restriction.
type sessionQueue struct {
	State, Reason, Hint string
	Queue               struct {
		High, Normal, Bulk int
		Paused, Held       bool
	}
	Restriction *struct{ Kind, Code string }
}

func queueOf(t *testing.T, w *testkit.World) (s sessionQueue) {
	t.Helper()
	w.API.JSON(t, http.MethodGet, "/api/algo/session", nil, http.StatusOK, &s)
	return s
}

func queueCommand(t *testing.T, w *testkit.World, command string) {
	t.Helper()
	w.API.JSON(t, http.MethodPost, "/api/algo/queue/"+command, nil, http.StatusOK, nil)
}

// stays waits a second and checks that a message still waits for its first attempt.
func stays(t *testing.T, w *testkit.World, id, why string) {
	t.Helper()
	var m testkit.Message
	w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+id+"?wait=1s&until=sent", nil, http.StatusOK, &m)
	if m.Status != "queued" || m.Attempts != 0 {
		t.Errorf("%s: %+v", why, m)
	}
}

// TestPausedQueueWaits, over a restart too, and costs nothing.
func TestPausedQueueWaits(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		beta := w.AddTenant("beta", "15550008888")
		queueCommand(t, w, "pause")
		queueCommand(t, w, "pause")
		m := w.API.Send(t, "algo", recipient, "waits for the operator")
		stays(t, w, m.ID, "sent from a paused queue")
		beta.AwaitStatus(t, "beta", beta.Send(t, "beta", recipient, "another tenant's goes out").ID, "read")
		w.StopHub()
		w.StartHub()
		w.Admin.AwaitSession(t, "algo", "online")
		stays(t, w, m.ID, "sent from a queue that was paused before the restart")
		if s := queueOf(t, w); !s.Queue.Paused || s.Queue.Held || s.Queue.Normal != 1 {
			t.Errorf("the session tells %+v", s)
		}
		queueCommand(t, w, "resume")
		if m = w.API.AwaitStatus(t, "algo", m.ID, "read"); m.Attempts != 1 {
			t.Errorf("the pause cost attempts: %d", m.Attempts)
		}
	})
}

// TestAnotherNumberHoldsTheBacklog: what was accepted for one number goes out from another only when the operator says so.
func TestAnotherNumberHoldsTheBacklog(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		const another = "15550001111"
		w := testkit.Paired(t, shape)
		change := func(number string) testkit.Message {
			t.Helper()
			w.API.JSON(t, http.MethodPost, "/api/algo/session/logout", nil, http.StatusAccepted, nil)
			w.API.AwaitSession(t, "algo", "unpaired")
			waiting := w.API.Send(t, "algo", recipient, "waits while the number changes to "+number)
			w.Pair("algo", number)
			if s := queueOf(t, w); s.Reason != "backlog_held" || s.Hint == "" || !s.Queue.Held || s.Queue.Paused || s.Queue.Normal != 1 {
				t.Errorf("the session tells %+v", s)
			}
			stays(t, w, waiting.ID, "sent from another number")
			return waiting
		}
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "from the first number").ID, "read")

		waiting := change(another)
		later := w.API.Send(t, "algo", recipient, "accepted behind the backlog")
		queueCommand(t, w, "release")
		w.API.AwaitStatus(t, "algo", waiting.ID, "read")
		w.API.AwaitStatus(t, "algo", later.ID, "read")
		from := map[string]string{}
		for _, s := range w.Shown(recipient) {
			from[s.Text] = s.From
		}
		if len(from) != 3 || from["from the first number"] != testkit.OwnNumber || from["accepted behind the backlog"] != another {
			t.Errorf("senders: %v", from)
		}

		waiting = change(testkit.OwnNumber)
		queueCommand(t, w, "purge")
		if m := w.API.AwaitStatus(t, "algo", waiting.ID, "canceled"); m.Error == nil || m.Error.Code != "canceled_by_operator" {
			t.Errorf("purged: %+v, error %+v", m, m.Error)
		}
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "after the purge").ID, "read")

		// Without a backlog there is nothing to hold.
		w.API.JSON(t, http.MethodPost, "/api/algo/session/logout", nil, http.StatusAccepted, nil)
		w.API.AwaitSession(t, "algo", "unpaired")
		w.Pair("algo", another)
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "from the new number").ID, "read")
	})
}

// TestUnknownIsLeftToTheOperator of a tenant that chose so: the message ends at once, and is repeated by force only.
func TestUnknownIsLeftToTheOperator(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape, testkit.WithTimeouts(20*time.Second, time.Minute))
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "before").ID, "read")
		w.Admin.JSON(t, http.MethodPatch, "/api/algo/settings", map[string]any{
			"unknownPolicy": "hold", "defaultExpiry": map[string]int{"normal": 3600},
		}, http.StatusOK, nil)
		w.Script(wasim.Fault{Kind: wasim.DropBeforeAccept, To: recipient, Times: -1})
		m := w.Admin.Send(t, "algo", recipient, "cut off")
		m = w.API.AwaitStatus(t, "algo", m.ID, "unknown")
		if m.Error == nil || m.Error.Code != "outcome_unknown" || m.Attempts != 1 {
			t.Errorf("ended as %+v, error %+v", m, m.Error)
		}
		var expiry struct{ CreatedAt, ExpiresAt time.Time }
		w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+m.ID, nil, http.StatusOK, &expiry)
		if d := expiry.ExpiresAt.Sub(expiry.CreatedAt); d != time.Hour {
			t.Errorf("it expires after %s, the tenant chose an hour", d)
		}
		w.ClearFaults()
		w.API.JSON(t, http.MethodPost, "/api/algo/messages/"+m.ID+"/retry", map[string]bool{}, http.StatusConflict, nil)
		var again testkit.Message
		w.API.JSON(t, http.MethodPost, "/api/algo/messages/"+m.ID+"/retry", map[string]bool{"force": true}, http.StatusAccepted, &again)
		w.API.AwaitStatus(t, "algo", again.ID, "read")
		if shown := w.Shown(recipient); len(shown) != 2 {
			t.Errorf("the phone shows %+v", shown)
		}
	})
}

// TestRestrictionSurvivesARestart with what WhatsApp said, and with the recipient who may be the only one to refuse.
func TestRestrictionSurvivesARestart(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		for name, tc := range map[string]struct {
			fault wasim.Fault
			code  string
			firm  bool
		}{
			"usync 429": {wasim.Fault{Kind: wasim.IQError, Match: "usync", Code: 429}, "rate_overlimit", true},
			"ack 463":   {wasim.Fault{Kind: wasim.AckError, Code: 463}, "reachout_restricted", false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := testkit.Paired(t, shape)
				w.Script(tc.fault)
				held := func(to string) {
					t.Helper()
					m := w.API.Send(t, "algo", to, "to a stranger")
					m = w.API.Await(t, "algo", m.ID, 3*time.Minute, "held", func(m testkit.Message) bool { return m.Phase == "held" })
					if m.Attempts != 0 || m.Error == nil || m.Error.Code != tc.code {
						t.Errorf("held wrongly: %+v, error %+v", m, m.Error)
					}
				}
				held(recipient)
				w.StopHub()
				w.StartHub()
				w.Admin.AwaitSession(t, "algo", "online")
				if s := queueOf(t, w); s.Restriction == nil || s.Restriction.Kind != "first_contacts" || s.Restriction.Code != tc.code {
					t.Errorf("the session tells %+v", s.Restriction)
				}
				held(recipient)
				if tc.firm {
					held("919876500002")
				} else {
					w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "919876500002", "to another stranger").ID, "read")
				}
				if shown := w.Shown(recipient); len(shown) != 0 {
					t.Errorf("the recipient who is held sees %s", fmt.Sprint(shown))
				}
			})
		}
	})
}

// TestReachOutTimelockHoldsNewContacts until its announced end, and lets them go when WhatsApp takes it back.
func TestReachOutTimelockHoldsNewContacts(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "919876500001", "to one who will know us").ID, "read")
		w.API.JSON(t, http.MethodGet, "/api/algo/events", nil, http.StatusOK, nil) // from now on there are events
		w.Script(wasim.Fault{Kind: wasim.ReachOutTimelock, Expire: time.Hour})
		restricted := func(want bool) {
			t.Helper()
			testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
				s := queueOf(t, w)
				return (s.Restriction != nil) == want, fmt.Sprintf("restricted: want %t, the session tells %+v", want, s.Restriction)
			})
		}
		restricted(true)
		if s := queueOf(t, w); s.State != "online" || s.Restriction.Kind != "first_contacts" || s.Restriction.Code != "reachout_restricted" {
			t.Errorf("the session tells %+v, restriction %+v", s, s.Restriction)
		}
		held := w.API.Send(t, "algo", recipient, "to a stranger")
		held = w.API.Await(t, "algo", held.ID, 3*time.Minute, "held", func(m testkit.Message) bool { return m.Phase == "held" })
		if left := time.Until(held.NextAttemptAt); held.Attempts != 0 || held.Error == nil || held.Error.Code != "reachout_restricted" ||
			left > time.Hour || left < 50*time.Minute {
			t.Errorf("held wrongly: %+v, error %+v", held, held.Error)
		}
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "919876500001", "we know each other").ID, "read")
		w.Script(wasim.Fault{Kind: wasim.ReachOutTimelock})
		restricted(false)
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "919876500002", "to another stranger").ID, "read")

		// Those who listen are told what the session told.
		type restriction struct {
			Kind, Code, Hint string
			Until            time.Time
		}
		var told struct {
			Data []struct {
				Type string
				Data struct{ Restriction *restriction }
			}
		}
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
			w.API.JSON(t, http.MethodGet, "/api/algo/events?types=session.restricted,session.unrestricted", nil, http.StatusOK, &told)
			return len(told.Data) >= 2, fmt.Sprintf("told of %+v", told.Data)
		})
		begin, end := told.Data[0], told.Data[1]
		if r := begin.Data.Restriction; begin.Type != "session.restricted" || r == nil || r.Kind != "first_contacts" || r.Code != "reachout_restricted" || r.Hint == "" ||
			time.Until(r.Until) < 30*time.Minute {
			t.Errorf("the restriction is told as %s %+v", begin.Type, r)
		}
		if len(told.Data) != 2 || end.Type != "session.unrestricted" || end.Data.Restriction != nil {
			t.Errorf("its end is told as %+v", told.Data)
		}
	})
}

// TestATimelockEndsByItself: the message that it held goes out at the announced end.
func TestATimelockEndsByItself(t *testing.T) {
	t.Parallel()
	w := testkit.Paired(t, testkit.Embedded())
	w.Script(wasim.Fault{Kind: wasim.ReachOutTimelock, Expire: 20 * time.Second})
	restricted := func(want bool) {
		t.Helper()
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
			s := queueOf(t, w)
			return (s.Restriction != nil) == want, fmt.Sprintf("restricted: want %t, the session tells %+v", want, s.Restriction)
		})
	}
	restricted(true)
	m := w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "to a stranger").ID, "read")
	if m.Attempts != 1 {
		t.Errorf("the timelock cost attempts: %d", m.Attempts)
	}
	restricted(false)
}

// TestALaneGetsThroughWhatHasNoTickets: a lane that holds enough tickets gets no more from accepts, which here begins with the first one
// and never ends. What is accepted then goes out all the same, in order.
func TestALaneGetsThroughWhatHasNoTickets(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape, testkit.WithFullLanes(1, time.Hour))
		const messages = 12
		place := map[string]int{} // of those that went out at the first attempt: a busy machine may cost one an attempt, and then it comes later
		for i := range messages {
			place[w.API.Send(t, "algo", recipient, fmt.Sprint(i)).ID] = i
		}
		shown := w.WaitShown(recipient, messages)
		late := map[string]bool{}
		for id, i := range place {
			late[fmt.Sprint(i)] = w.API.AwaitStatus(t, "algo", id, "read").Attempts > 1
		}
		last := -1
		for _, s := range shown {
			if i, err := strconv.Atoi(s.Text); err != nil || i < last && !late[s.Text] {
				t.Errorf("message %q is shown after %d", s.Text, last)
			} else if !late[s.Text] {
				last = i
			}
		}
		if len(late) != messages || len(shown) != messages {
			t.Errorf("%d messages are shown", len(shown))
		}
	})
}
