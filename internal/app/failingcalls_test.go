package app_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/app"
	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// callCase is one way for a call to fail, and what must be going on for the call to come.
type callCase struct {
	failure
	occasion func(*failingWorld) // beside messages that are sent, retried and read; nil: they suffice
}

// pair is a method that fails without effect, and then with it.
func pair(method string, skip, times int) []callCase {
	return []callCase{
		{failure: failure{method: method, manner: notDone, skip: skip, times: times}},
		{failure: failure{method: method, manner: done, skip: skip, times: times}},
	}
}

func on(occasion func(*failingWorld), cases []callCase) []callCase {
	for i := range cases {
		cases[i].occasion = occasion
	}
	return cases
}

// onTheWay are the methods of app.Database and app.Tickets that accepting, claiming, sending, recording and repairing call, with
// their failures.
func onTheWay() map[string][]callCase {
	return map[string][]callCase{
		// Accept.
		"KeysByPrefix":        pair("KeysByPrefix", 0, 2),
		"Tenant":              pair("Tenant", 0, 2),
		"ReserveIdempotency":  pair("ReserveIdempotency", 0, 1),
		"Accept":              slices.Concat(pair("Accept", 0, 1), pair("Accept", 1, 2)),
		"CompleteIdempotency": on((*failingWorld).refused, pair("CompleteIdempotency", 0, 1)),
		"ReleaseIdempotency":  on((*failingWorld).unaccepted, pair("ReleaseIdempotency", 0, 1)),
		"Message":             on((*failingWorld).retriedByHand, pair("Message", 0, 1)),
		"Enqueue":             append(pair("Enqueue", 0, 2), callCase{failure: failure{method: "Enqueue", manner: lost, times: 3}}),
		"Release":             on((*failingWorld).scheduled, pair("Release", 0, 2)),
		// Claim.
		"Claim":      slices.Concat(pair("Claim", 0, 1), pair("Claim", 0, 3), pair("Claim", 1, 1), pair("Claim", 2, 1)),
		"CheckFence": on((*failingWorld).dropped, pair("CheckFence", 0, 2)),
		"Pacing":     pair("Pacing", 0, 1),
		// Record.
		"Update":    slices.Concat(pair("Update", 0, 1), pair("Update", 0, 4), pair("Update", 1, 1), pair("Update", 2, 1)),
		"EnqueueAt": on((*failingWorld).ticketLost, pair("EnqueueAt", 0, 1)),
		"Receive":   slices.Concat(pair("Receive", 0, 2), pair("Receive", 1, 1), pair("Receive", 0, 7)),
		// Repair.
		"TenantsWithWork":   pair("TenantsWithWork", 0, 1),
		"Unfinished":        pair("Unfinished", 0, 1),
		"Pending":           pair("Pending", 0, 1),
		"Postponed":         pair("Postponed", 0, 1),
		"Expirable":         pair("Expirable", 0, 1),
		"InFlightElsewhere": pair("InFlightElsewhere", 0, 1),
		// The session that sends.
		"AcquireSessions": on((*failingWorld).restarted, pair("AcquireSessions", 0, 1)),
		"RenewSessions":   pair("RenewSessions", 0, 1),
		"SeeWorker":       pair("SeeWorker", 0, 1),
		"UpdateSession":   on((*failingWorld).dropped, pair("UpdateSession", 0, 1)),
	}
}

// writing are the methods of onTheWay that change something.
func writing() []string {
	return []string{
		"Accept", "Claim", "CompleteIdempotency", "Enqueue", "EnqueueAt", "Receive", "Release", "RenewSessions", "ReserveIdempotency", "Update", "UpdateSession",
	}
}

// elsewhere are the methods that no message depends on.
func elsewhere() map[string]string {
	const (
		administers = "changes tenants, keys or commands: who asked is told, and asks again"
		reads       = "answers a question, and changes nothing"
		leaves      = "gives leases up early: they run out by themselves, as after a kill (TestWorkerKilledAmongTwentyTenants)"
		shares      = "moves sessions between workers, again a second later"
		purges      = "ends what waits at the operator's word: who asked is told, and asks again"
		caps        = "is asked under a cap or for a bulk: the message is held for the pause of a first failure, and asked about again (internal/dispatch)"
		ahead       = "looks recipients up before their turn: what fails is looked up by the send itself (internal/dispatch)"
		frees       = "makes due what is held: the next sweep asks again, and at its time it is due by itself (internal/relay)"
		pairs       = "asks whether another number was paired: until it is answered nothing is connected"
		restricted  = "is asked under a restriction alone: until it is answered the message waits, and costs no attempt (internal/dispatch)"
		fetches     = "is about a file that a message names by its URL: the attempt fails before anything is sent, and the next one fetches it (internal/fetch)"
		receives    = "stores what a phone sent before WhatsApp is told that it arrived: it comes again until that succeeds (internal/session)"
		asks        = "is a question of the caller to WhatsApp, about numbers, groups and files that came: who asked is told, and asks again; no message waits for it"
		asStranger  = "is asked under a restriction alone: who cannot be looked up waits for its end as a stranger (internal/dispatch)"
	)
	return map[string]string{
		"Ping": reads, "Tenants": reads, "Keys": reads, "Messages": reads, "MessagesByID": reads, "Events": reads, "Depth": reads,
		"Statuses": reads, "Workers": reads, "OptOut": reads, "OptOuts": reads, "Ahead": reads, "Stats": reads, "Notices": reads, "NoticesFrom": reads, "Listen": administers, "Inbound": reads, "Inbounds": reads, "ReceiveInbound": receives,
		"CreateTenant": administers, "CreateKey": administers, "RevokeKey": administers, "RotateKey": administers, "UpdateLimits": administers, "KeepFetched": fetches, "FetchedFor": fetches, "AddCommand": administers, "TakeCommands": administers,
		"AddOptOuts": administers, "RemoveOptOut": administers, "LastSeq": purges, "UpdateWaiting": purges, "Backlog": pairs,
		"SetQueue": administers, "UpdateSettings": administers, "CancelQueued": purges, "CancelBegun": purges,
		"SentTimes": caps, "SentTimesTo": caps, "HeldBefore": caps, "FirstContactTimes": caps, "Bulk": caps,
		"NextRecipients": ahead,
		"Reconsider":     frees,
		"Ask":            asks, "Query": asks, "KeepInboundFetched": asks, "LastQuery": asks, "AnswerQuery": asks, "NumberChecks": asks, "KeepNumberChecks": asks,
		"ReleaseSessions": leaves, "ReleaseSession": leaves, "RetireWorker": leaves,
		"Shares": shares, "Spare": shares, "KnownContact": asStranger, "Session": restricted,
	}
}

// TestNoCallIsLeftOut fails when the rooms get a new method to call that nobody has thought about here.
func TestNoCallIsLeftOut(t *testing.T) {
	t.Parallel()
	var names []string
	for _, room := range []reflect.Type{reflect.TypeFor[app.Database](), reflect.TypeFor[app.Tickets]()} {
		for i := range room.NumMethod() {
			names = append(names, room.Method(i).Name)
		}
	}
	way, others := onTheWay(), elsewhere()
	for _, name := range names {
		_, on := way[name]
		_, off := others[name]
		if on == off {
			t.Errorf("%s: on the way of a message %t, elsewhere %t", name, on, off)
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(way)), slices.Collect(maps.Keys(others))) {
		if !slices.Contains(names, name) {
			t.Errorf("no room calls %s any more", name)
		}
	}
}

// failingWorld sends through failures, one after the other, so that each also finds what the one before left behind.
type failingWorld struct {
	*testkit.World
	t        *testing.T
	failures *failures
	made     int
	accepted []sentMessage
}

// sentMessage is a message that was answered with 2xx.
type sentMessage struct {
	testkit.Message
	text string
}

// TestCallsFailInPairs lets every call of a room to its store and its queue fail, once without effect and once with it, while messages
// are accepted, tried, tried again and read. What was answered with 2xx is stored, shown once and true; a client that repeats
// a request with its Idempotency-Key gets the same answer. With two APIs and two workers on Postgres and Redis the methods that write fail
// with their effect, which is where databases and processes differ.
func TestCallsFailInPairs(t *testing.T) {
	t.Parallel()
	for _, shape := range []testkit.Shape{testkit.Embedded(), testkit.Cluster()} {
		t.Run(shape.Name, func(t *testing.T) {
			t.Parallel()
			w := &failingWorld{t: t, failures: &failures{}}
			w.World = testkit.Paired(t, shape, testkit.WithTimeouts(5*time.Second, 20*time.Second), testkit.WithKeyLock(5*time.Second), testkit.WithLease(15*time.Second), testkit.WithFailures(
				func(d app.Database) app.Database { return failingDatabase{d, w.failures} },
				func(q app.Tickets) app.Tickets { return failingTickets{q, w.failures} },
			))
			way := onTheWay()
			for _, name := range slices.Sorted(maps.Keys(way)) {
				cases := way[name]
				if shape.Name != testkit.Embedded().Name {
					if !slices.Contains(writing(), name) {
						continue
					}
					cases = cases[1:2]
				}
				for _, tc := range cases {
					what := fmt.Sprintf("%s, call %d to %d, %s", name, tc.skip+1, tc.skip+tc.times, tc.manner)
					if !t.Run(what, func(t *testing.T) { w.check(t, tc) }) {
						return // what it left behind would fail the others as well
					}
				}
			}
		})
	}
}

func (w *failingWorld) check(t *testing.T, tc callCase) {
	t.Helper()
	w.t, w.accepted = t, nil
	w.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 100 * time.Millisecond, Times: -1}) // so that sweeps find something
	w.failures.arm(tc.failure)
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
		if w.idle() { // else a slow machine would have to catch up with all that was sent meanwhile
			w.round()
			if tc.occasion != nil {
				tc.occasion(w)
			}
		}
		return w.failures.left(tc.method) == 0, fmt.Sprintf("%s was not called often enough: %d failures are left", tc.method, w.failures.left(tc.method))
	})
	w.failures.arm()
	for _, m := range w.accepted {
		w.wantTrue(m)
	}
	w.ClearFaults()
}

// idle reports whether the phone shows what was accepted last.
func (w *failingWorld) idle() bool {
	if len(w.accepted) == 0 {
		return true
	}
	last := w.accepted[len(w.accepted)-1]
	return slices.ContainsFunc(w.Shown(last.To), func(s testkit.Shown) bool { return s.Text == last.text })
}

// round sends three messages to one phone, the first of which WhatsApp refuses once.
func (w *failingWorld) round() {
	w.t.Helper()
	to := w.number()
	w.Script(wasim.Fault{Kind: wasim.AckError, Code: 500, To: to})
	for range 3 {
		w.send(map[string]any{"to": to})
	}
}

func (w *failingWorld) number() string {
	w.made++
	return fmt.Sprintf("9198765%05d", w.made)
}

// post is a client as the documentation asks for: what got no answer, 5xx or 409 idempotency_busy, is repeated with the same key.
func (w *failingWorld) post(path, key string, body any) (status int, answer []byte, replayed bool) {
	w.t.Helper()
	testkit.Eventually(w.t, 3*time.Minute, func() (bool, string) {
		var header http.Header
		status, header, answer = w.API.Do(w.t, http.MethodPost, path, body, "Idempotency-Key", key)
		replayed = header.Get("Idempotent-Replayed") == "true"
		var problem struct{ Code string }
		_ = json.Unmarshal(answer, &problem) // no problem
		return status < 500 && problem.Code != "idempotency_busy", fmt.Sprintf("%d %s", status, answer)
	})
	return status, answer, replayed
}

// send has a message accepted, and asks for the same again.
func (w *failingWorld) send(body map[string]any) {
	w.t.Helper()
	w.made++
	key := fmt.Sprintf("key-%d", w.made)
	body["message"] = fmt.Sprintf("message %d", w.made)
	w.accept("/api/algo/message", key, body, body["message"].(string))
}

func (w *failingWorld) accept(path, key string, body any, text string) {
	w.t.Helper()
	status, first, _ := w.post(path, key, body)
	if status != http.StatusAccepted {
		w.t.Fatalf("POST %s: %d %s", path, status, first)
	}
	again, second, replayed := w.post(path, key, body)
	if again != status || string(second) != string(first) || !replayed {
		w.t.Errorf("POST %s again: %d %s, replayed %t; the first answer was %d %s", path, again, second, replayed, status, first)
	}
	m := sentMessage{text: text}
	if err := json.Unmarshal(first, &m.Message); err != nil {
		w.t.Fatal(err)
	}
	w.accepted = append(w.accepted, m)
}

// wantTrue checks that what was accepted is there, went out under its own id, is shown once, and was never said to be less than before.
func (w *failingWorld) wantTrue(m sentMessage) {
	w.t.Helper()
	after := w.API.AwaitStatus(w.t, "algo", m.ID, "read")
	if after.WhatsAppID != m.WhatsAppID {
		w.t.Errorf("%s went out as %s and %s", m.ID, m.WhatsAppID, after.WhatsAppID)
	}
	n := 0
	for _, s := range w.Shown(m.To) {
		if s.Text != m.text {
			continue
		}
		if n++; s.ID != m.WhatsAppID {
			w.t.Errorf("the phone shows %s as %s, want %s", m.text, s.ID, m.WhatsAppID)
		}
	}
	if n != 1 {
		w.t.Errorf("the phone shows %q %d times", m.text, n)
	}
	rank, last := map[string]int{"scheduled": 1, "queued": 2, "sending": 3, "sent": 4, "delivered": 5, "read": 6}, 0
	for _, status := range w.API.Events(w.t, "algo", m.ID) {
		if rank[status] <= last {
			w.t.Errorf("%s became %s after better", m.ID, status)
		}
		last = rank[status]
	}
}

// The occasions.

// refused asks for what cannot be: the refusal is the answer that is kept.
func (w *failingWorld) refused() {
	w.t.Helper()
	w.made++
	key, body := fmt.Sprintf("key-%d", w.made), map[string]string{"to": "nobody", "message": "x"}
	status, first, _ := w.post("/api/algo/message", key, body)
	if status != http.StatusUnprocessableEntity {
		w.t.Fatalf("%d %s", status, first)
	}
	if status, _, _ = w.post("/api/algo/message", key, body); status != http.StatusUnprocessableEntity {
		w.t.Errorf("the second time it is %d", status)
	}
}

// unaccepted is a message that the database does not take at first.
func (w *failingWorld) unaccepted() {
	w.t.Helper()
	if w.failures.left("ReleaseIdempotency") > 0 {
		w.failures.also(failure{method: "Accept", manner: notDone, times: 1})
	}
	w.send(map[string]any{"to": w.number()})
}

// retriedByHand sends a message that WhatsApp has refused for good once more.
func (w *failingWorld) retriedByHand() {
	w.t.Helper()
	to := w.number()
	w.Script(wasim.Fault{Kind: wasim.AckError, Code: 400, To: to})
	w.send(map[string]any{"to": to})
	refused := w.accepted[len(w.accepted)-1]
	w.accepted = w.accepted[:len(w.accepted)-1]
	testkit.Eventually(w.t, 3*time.Minute, func() (bool, string) {
		// Reading the message itself would use the failure up.
		_, _, answer := w.API.Do(w.t, http.MethodPost, "/api/algo/messages/status", map[string]any{"ids": []string{refused.ID}})
		return strings.Contains(string(answer), `"failed"`), string(answer)
	})
	w.made++
	w.accept("/api/algo/messages/"+refused.ID+"/retry", fmt.Sprintf("key-%d", w.made), map[string]any{}, refused.text)
}

func (w *failingWorld) scheduled() {
	w.t.Helper()
	w.send(map[string]any{"to": w.number(), "sendAt": time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)})
}

// ticketLost is a message without a ticket, tried for the next one's.
func (w *failingWorld) ticketLost() {
	w.t.Helper()
	w.failures.also(failure{method: "Enqueue", manner: lost, times: 1})
	w.round()
}

// dropped is a connection that breaks.
func (w *failingWorld) dropped() {
	w.t.Helper()
	w.Script(wasim.Fault{Kind: wasim.Drop})
	w.round()
}

func (w *failingWorld) restarted() {
	w.t.Helper()
	w.StopHub()
	w.StartHub()
	w.round()
}
