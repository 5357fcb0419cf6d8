package app_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

const recipient = "919876543210"

// Every row of PROTOCOL.md's table of faults, through the whole hub: HTTP, SQL, queue, session, whatsmeow, simulator.

// faultCase is a fault of one send, and what becomes of the message.
type faultCase struct {
	faults []wasim.Fault
	warm   bool // a message to the recipient went out before
	want   fate
	race   bool // a receipt may come before the last of the faults, which then has nothing to happen to
}

// fate is what a message that went through a fault came to.
type fate struct {
	status   string
	attempts [2]int // least and most
	code     string // of the message's error
	shown    int
}

// isRead is the fate of a message that got through, with so many attempts.
func isRead(least, most int) fate {
	return fate{status: "read", attempts: [2]int{least, most}, shown: 1}
}

// faultWorld sends through one fault after the other, so that each also finds what the one before left behind.
type faultWorld struct {
	*testkit.World
	numbers int
}

func (w *faultWorld) number() string {
	w.numbers++
	return fmt.Sprintf("9198765%05d", w.numbers)
}

// sendThroughFaults checks every case in every shape: whatever happens to a send, the message ends where it should, the
// phone shows it once or not at all, and the next message to somebody else goes out.
func sendThroughFaults(t *testing.T, cases map[string]faultCase) {
	t.Helper()
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := &faultWorld{World: testkit.Paired(t, shape, testkit.WithTimeouts(10*time.Second, 20*time.Second))}
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) { w.check(t, tc) })
		}
	})
}

func (w *faultWorld) check(t *testing.T, tc faultCase) {
	t.Helper()
	recipient, before := w.number(), 0
	if tc.warm {
		before = 1
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "before").ID, "read")
	}
	for _, f := range tc.faults {
		w.Script(f)
	}
	m := w.API.Send(t, "algo", recipient, "through the fault")
	m = w.API.Await(t, "algo", m.ID, 3*time.Minute, tc.want.status, func(m testkit.Message) bool { return m.Status == tc.want.status })
	if m.Attempts < tc.want.attempts[0] || m.Attempts > tc.want.attempts[1] {
		t.Errorf("attempts: %d, want %v", m.Attempts, tc.want.attempts)
	}
	code := ""
	if m.Error != nil {
		code = m.Error.Code
	}
	if code != tc.want.code {
		t.Errorf("error code %q, want %q", code, tc.want.code)
	}
	shown := w.Shown(recipient)
	if len(shown) != before+tc.want.shown {
		t.Errorf("the phone shows %d messages, want %d: %+v", len(shown), before+tc.want.shown, shown)
	}
	if tc.want.shown == 1 && len(shown) > 0 {
		if last := shown[len(shown)-1]; last.Text != "through the fault" || last.ID != m.WhatsAppID {
			t.Errorf("the phone shows %+v, want message %s", last, m.WhatsAppID)
		}
	}
	if unfired := w.Unfired(); len(unfired) > 1 || len(unfired) == 1 && !tc.race {
		t.Errorf("faults that did not happen: %v", unfired)
	}
	w.ClearFaults()
	w.Admin.AwaitSession(t, "algo", "online")
	next := w.API.Send(t, "algo", w.number(), "the next one")
	if next = w.API.AwaitStatus(t, "algo", next.ID, "read"); next.Attempts != 1 {
		t.Errorf("the fault cost another message an attempt: %d", next.Attempts)
	}
}

// TestFaultsOfOneSend goes through the table's faults of a message.
func TestFaultsOfOneSend(t *testing.T) {
	sendThroughFaults(t, map[string]faultCase{
		"drop before accept, known contact":            {faults: []wasim.Fault{{Kind: wasim.DropBeforeAccept}}, warm: true, want: isRead(1, 2)},
		"drop after accept, known contact":             {faults: []wasim.Fault{{Kind: wasim.DropAfterAccept}}, warm: true, want: isRead(1, 2)},
		"no acknowledgement":                           {faults: []wasim.Fault{{Kind: wasim.WithholdAck}}, want: isRead(1, 2)},
		"a late acknowledgement":                       {faults: []wasim.Fault{{Kind: wasim.DelayAck, Delay: 300 * time.Millisecond}}, want: isRead(1, 1)},
		"another list of participants":                 {faults: []wasim.Fault{{Kind: wasim.PHashMismatch}}, want: isRead(1, 1)},
		"ack error 400":                                {faults: []wasim.Fault{{Kind: wasim.AckError, Code: 400}}, want: fate{status: "failed", attempts: [2]int{1, 1}, code: "rejected"}},
		"ack error 479":                                {faults: []wasim.Fault{{Kind: wasim.AckError, Code: 479}}, want: fate{status: "failed", attempts: [2]int{1, 1}, code: "rejected"}},
		"ack error 420, once":                          {faults: []wasim.Fault{{Kind: wasim.AckError, Code: 420}}, want: isRead(2, 2)},
		"ack error 429, twice":                         {faults: []wasim.Fault{{Kind: wasim.AckError, Code: 429, Times: 2}}, want: isRead(3, 3)},
		"ack error 500, once":                          {faults: []wasim.Fault{{Kind: wasim.AckError, Code: 500}}, want: isRead(2, 2)},
		"ack error 500, for ever":                      {faults: []wasim.Fault{{Kind: wasim.AckError, Code: 500, Times: -1}}, want: fate{status: "failed", attempts: [2]int{8, 8}, code: "server_error"}},
		"prekeys 429: silent loss in the wire":         {faults: []wasim.Fault{{Kind: wasim.IQError, Match: "prekeys", Code: 429}}, want: isRead(2, 2)},
		"prekeys 500: silent loss in the wire":         {faults: []wasim.Fault{{Kind: wasim.IQError, Match: "prekeys", Code: 500}}, want: isRead(2, 2)},
		"usync 500":                                    {faults: []wasim.Fault{{Kind: wasim.IQError, Match: "usync", Code: 500}}, want: isRead(2, 2)},
		"a query without an answer":                    {faults: []wasim.Fault{{Kind: wasim.IQSilent, Match: "usync"}}, want: isRead(2, 2)},
		"stream error 515":                             {faults: []wasim.Fault{{Kind: wasim.StreamError, Code: 515}}, want: isRead(1, 2)},
		"stream error 503":                             {faults: []wasim.Fault{{Kind: wasim.StreamError, Code: 503}}, want: isRead(1, 2)},
		"an unknown stream error":                      {faults: []wasim.Fault{{Kind: wasim.StreamError, Code: 599}}, want: isRead(1, 2)},
		"a dropped connection":                         {faults: []wasim.Fault{{Kind: wasim.Drop}}, want: isRead(1, 2)},
		"a slow line":                                  {faults: []wasim.Fault{{Kind: wasim.Latency, Delay: 30 * time.Millisecond}}, want: isRead(1, 1)},
		"drop twice before accept, known contact":      {faults: []wasim.Fault{{Kind: wasim.DropBeforeAccept, Times: 2}}, warm: true, want: isRead(1, 3)},
		"drop twice after accept, known contact":       {faults: []wasim.Fault{{Kind: wasim.DropAfterAccept, Times: 2}}, warm: true, want: isRead(1, 3)},
		"drop, then never acknowledged, known contact": {faults: []wasim.Fault{{Kind: wasim.DropAfterAccept}, {Kind: wasim.WithholdAck}}, warm: true, want: isRead(1, 3), race: true},
	})
}

// TestRestrictionsHoldFirstContactsOnly: nothing fails, no attempt is counted, and who knows the number still gets messages.
func TestRestrictionsHoldFirstContactsOnly(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		for name, tc := range map[string]struct {
			fault wasim.Fault
			code  string
			firm  bool // another first contact is held as well
		}{
			"usync 429": {wasim.Fault{Kind: wasim.IQError, Match: "usync", Code: 429}, "rate_overlimit", true},
			"ack 463":   {wasim.Fault{Kind: wasim.AckError, Code: 463}, "reachout_restricted", false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := testkit.Paired(t, shape)
				w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "919876500001", "to one who will know us").ID, "read")
				w.Script(tc.fault)
				held := w.API.Send(t, "algo", recipient, "to a stranger")
				held = w.API.Await(t, "algo", held.ID, 3*time.Minute, "held", func(m testkit.Message) bool { return m.Phase == "held" })
				if held.Attempts != 0 || held.Error == nil || held.Error.Code != tc.code || time.Until(held.NextAttemptAt) < 30*time.Minute {
					t.Errorf("held wrongly: %+v, error %+v", held, held.Error)
				}
				s := w.API.Session(t, "algo")
				if s.State != "online" || s.Restriction == nil || s.Restriction.Kind != "first_contacts" || time.Until(s.Restriction.Until) < 30*time.Minute {
					t.Errorf("the session tells %+v, restriction %+v", s, s.Restriction)
				}
				w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "919876500001", "we know each other").ID, "read")

				other := w.API.Send(t, "algo", "919876500002", "to another stranger")
				if tc.firm {
					w.API.Await(t, "algo", other.ID, 3*time.Minute, "held", func(m testkit.Message) bool { return m.Phase == "held" && m.Attempts == 0 })
					return
				}
				w.API.AwaitStatus(t, "algo", other.ID, "read")               // the probe went through, so the refusal was the recipient's alone
				testkit.Eventually(t, 3*time.Minute, func() (bool, string) { // a receipt may be quicker than what follows the acknowledgement
					s := w.API.Session(t, "algo")
					return s.Restriction == nil, fmt.Sprintf("still restricted after a first contact was accepted: %+v", s.Restriction)
				})
			})
		}
	})
}

// TestSessionEndsHoldTheirMessages: what ends a session is told as what it is, and costs no message anything.
func TestSessionEndsHoldTheirMessages(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w, sent := testkit.Paired(t, shape), 0
		pair := func(*testing.T) { w.Pair("algo", testkit.OwnNumber) }
		connect := func(t *testing.T) {
			w.API.JSON(t, http.MethodPost, "/api/algo/session/connect", map[string]string{"method": "qr"}, http.StatusAccepted, nil)
		}
		for name, tc := range map[string]struct {
			fault  wasim.Fault
			drop   bool // the fault waits for the next login, so cut the connection
			state  string
			reason string
			back   func(*testing.T) // what the operator does; nil: it returns by itself
		}{
			"401 device removed":      {fault: wasim.Fault{Kind: wasim.StreamError, Code: 401}, state: "logged_out", reason: "device_removed", back: pair},
			"login failure 401":       {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 401}, drop: true, state: "logged_out", reason: "device_removed", back: pair},
			"login failure 403":       {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 403}, drop: true, state: "logged_out", back: pair},
			"login failure 406":       {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 406}, drop: true, state: "logged_out", back: pair},
			"login failure 415, once": {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 415}, drop: true},
			"login failure 402":       {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 402, Expire: 15 * time.Second}, drop: true, state: "banned", reason: "temporary_ban"},
			"login failure 405":       {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 405, Times: -1}, drop: true, state: "outdated", reason: "client_outdated", back: connect},
			"login failure 500, once": {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 500}, drop: true},
			"login failure 503, once": {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 503}, drop: true},
			"login failure 409, once": {fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 409}, drop: true},
			"upgrade refused by 429":  {fault: wasim.Fault{Kind: wasim.UpgradeError, Code: 429, Times: 2}, drop: true},
			"upgrade refused by 503":  {fault: wasim.Fault{Kind: wasim.UpgradeError, Code: 503, Times: 2}, drop: true},
			"a login without success": {fault: wasim.Fault{Kind: wasim.DelaySuccess, Delay: 500 * time.Millisecond}, drop: true},
			"replaced once":           {fault: wasim.Fault{Kind: wasim.StreamError, Conflict: wasim.ConflictReplaced}},
		} {
			t.Run(name, func(t *testing.T) {
				w.Script(tc.fault)
				if tc.drop {
					w.Script(wasim.Fault{Kind: wasim.Drop})
				}
				if tc.state != "" {
					s := w.Admin.AwaitSession(t, "algo", tc.state)
					if (tc.reason != "" && s.Reason != tc.reason) || s.Hint == "" {
						t.Errorf("reason %q hint %q, want reason %q and a hint", s.Reason, s.Hint, tc.reason)
					}
				}
				sent++
				m := w.API.Send(t, "algo", recipient, fmt.Sprintf("waits for the session %d", sent))
				if tc.back != nil {
					var waited testkit.Message
					w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+m.ID+"?wait=1s&until=sent", nil, http.StatusOK, &waited)
					if waited.Status != "queued" || waited.Attempts != 0 || len(w.Shown(recipient)) != sent-1 {
						t.Errorf("a session that is %s did not let the message wait: %+v", tc.state, waited)
					}
					w.ClearFaults()
					tc.back(t)
				}
				m = w.API.AwaitStatus(t, "algo", m.ID, "read")
				most := 1
				if tc.state == "" {
					most = 2 // the hub may have begun before it saw that the connection was cut
				}
				if m.Attempts < 1 || m.Attempts > most {
					t.Errorf("waiting cost the message attempts: %d", m.Attempts)
				}
				if unfired := w.Unfired(); len(unfired) > 0 {
					t.Errorf("faults that did not happen: %v", unfired)
				}
				w.ClearFaults()
				w.Admin.AwaitSession(t, "algo", "online")
			})
		}
	})
}

// TestReplacedTwiceHolds: a program that takes the session over again was put there by the operator.
func TestReplacedTwiceHolds(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		before := w.Admin.Session(t, "algo")
		w.Script(wasim.Fault{Kind: wasim.StreamError, Conflict: wasim.ConflictReplaced})
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
			s := w.Admin.Session(t, "algo")
			return s.State == "online" && s.Since.After(before.Since), "the session does not come back after it was replaced once"
		})
		w.Script(wasim.Fault{Kind: wasim.StreamError, Conflict: wasim.ConflictReplaced})
		if s := w.Admin.AwaitSession(t, "algo", "replaced"); s.Reason != "replaced" || s.Hint == "" {
			t.Errorf("the session tells %+v", s)
		}
		m := w.API.Send(t, "algo", recipient, "waits for the operator")
		w.API.JSON(t, "POST", "/api/algo/session/connect", map[string]string{"method": "qr"}, 202, nil)
		if m = w.API.AwaitStatus(t, "algo", m.ID, "read"); m.Attempts != 1 {
			t.Errorf("attempts: %d", m.Attempts)
		}
	})
}

// TestMediaFaultsAreRetried: neither a failing upload nor a media_conn that is refused loses a file.
func TestMediaFaultsAreRetried(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		for name, fault := range map[string]wasim.Fault{
			"upload 500":     {Kind: wasim.UploadError, Code: 500, Times: 2},
			"media_conn 503": {Kind: wasim.IQError, Match: "media_conn", Code: 503},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := testkit.Paired(t, shape)
				w.Script(fault)
				m := w.API.SendMedia(t, "algo", recipient, "a picture", "image/jpeg", "", testkit.JPEG(t))
				m = w.API.AwaitStatus(t, "algo", m.ID, "read")
				if m.Attempts < 2 {
					t.Errorf("attempts: %d, the fault did not happen", m.Attempts)
				}
				if shown := w.Shown(recipient); len(shown) != 1 || shown[0].Caption != "a picture" {
					t.Errorf("the phone shows %+v", shown)
				}
			})
		}
	})
}

// TestTestNumbersHarmOnlyTheirOwnMessages: each number does what docs/simulator.md says, and messages to others do not notice.
func TestTestNumbersHarmOnlyTheirOwnMessages(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		ids := map[wasim.Behaviour]string{}
		var others []string
		for i, n := range wasim.TestNumbers() {
			ids[n.Behaviour] = w.API.Send(t, "algo", n.Number, "to "+string(n.Behaviour)).ID
			others = append(others, w.API.Send(t, "algo", fmt.Sprintf("91987650%04d", i), "to an ordinary phone").ID)
		}
		start := time.Now()
		for _, id := range others {
			if m := w.API.AwaitStatus(t, "algo", id, "read"); m.Attempts != 1 {
				t.Errorf("an ordinary message took %d attempts", m.Attempts)
			}
		}
		if took := time.Since(start); took > 2*time.Minute { // one that held up its session would do so for half a minute at a time
			t.Errorf("ordinary messages took %s", took)
		}
		m := w.API.AwaitStatus(t, "algo", ids[wasim.NotOnWhatsApp], "failed")
		if m.Error == nil || m.Error.Code != "not_on_whatsapp" || m.Attempts != 1 {
			t.Errorf("not on WhatsApp: %+v, error %+v", m, m.Error)
		}
		w.API.AwaitStatus(t, "algo", ids[wasim.NeverRead], "delivered")
		w.API.AwaitStatus(t, "algo", ids[wasim.NeverDelivered], "sent")
		w.API.Await(t, "algo", ids[wasim.ReachOutRestricted], 90*time.Second, "held", func(m testkit.Message) bool {
			return m.Phase == "held" && m.Attempts == 0 && m.Error != nil && m.Error.Code == "reachout_restricted"
		})
		w.API.AwaitStatus(t, "algo", ids[wasim.SlowReceipts], "read")
		if m := w.API.Get(t, "algo", ids[wasim.NeverRead]); m.Status != "delivered" {
			t.Errorf("never read, but %s", m.Status)
		}
		if m := w.API.Get(t, "algo", ids[wasim.NeverDelivered]); m.Status != "sent" {
			t.Errorf("never delivered, but %s", m.Status)
		}
	})
}
