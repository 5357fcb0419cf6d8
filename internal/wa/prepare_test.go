package wa

import (
	"errors"
	"fmt"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// TestPreparedFirstContactsAskNothingMore makes every question about people fail once they have been asked about: the sends that find
// everything known go out all the same, and to the right people.
func TestPreparedFirstContactsAskNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.sends(text(bob, "before")) // so that our own devices are known
	var people []string
	for i := range 60 { // more than one query takes
		people = append(people, fmt.Sprintf("49151200002%02d", i))
	}
	group, err := w.sim.CreateGroup(w.ctx(), hubNumber, carol)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Prepare(w.ctx(), append([]string{group, "not a recipient"}, people...)); err != nil {
		t.Fatal(err)
	}
	for _, match := range []string{"usync", "prekeys"} {
		w.fault(wasim.Fault{Kind: wasim.IQError, Match: match, Code: 500, Times: -1})
	}
	if err := l.Prepare(w.ctx(), people); err != nil {
		t.Errorf("those who are known were asked about again: %v", err)
	}
	for _, i := range []int{0, 49, 50, 59} {
		body := fmt.Sprint("hello ", i)
		sent := l.sends(text(people[i], body))
		if sent.RecipientJID != gateway.UserJID(people[i]) || sent.RecipientLID == "" {
			t.Errorf("sent to %+v, want %s", sent, people[i])
		}
		w.shows(people[i], body)
	}
	// One who was not prepared needs the questions.
	l.fails(text(carol, "hello"), gateway.SendError{Cause: gateway.CauseIQ, Server: 500})
}

// TestSessionsBegunAheadAreThereWithoutTheirClient has another client, which has no memory of the questions, send what they were for.
func TestSessionsBegunAheadAreThereWithoutTheirClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	if err := l.Prepare(w.ctx(), []string{bob, carol}); err != nil {
		t.Fatal(err)
	}
	// Carol writes first, and hers is the session that both go on with.
	from := l.seen()
	if _, err := w.sim.SendFrom(w.ctx(), carol, hubNumber, "hello, hub"); err != nil {
		t.Fatal(err)
	}
	l.awaitKind(gateway.ClientMessage, from)
	l.Disconnect()

	next := w.online()
	w.fault(wasim.Fault{Kind: wasim.IQError, Match: "prekeys", Code: 500, Times: -1})
	for _, to := range []string{bob, carol} {
		next.sends(text(to, "first to "+to))
		next.sends(text(to, "second to "+to))
		w.shows(to, "first to "+to, "second to "+to)
	}
}

// TestWithoutItsKeyAheadASendFetchesIt: whatever keeps a session from being begun ahead is the send's to find out.
func TestWithoutItsKeyAheadASendFetchesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	for to, f := range map[string]wasim.Fault{
		bob:   {Kind: wasim.IQError, Match: "prekeys", Code: 429},
		carol: {Kind: wasim.IQError, Match: "prekeys", To: carol, Code: 404},
	} {
		w.fault(f)
		if err := l.Prepare(w.ctx(), []string{to}); err == nil {
			t.Error("nothing was said of the key of " + to)
		}
		w.sim.ClearFaults()
		l.sends(text(to, "hello"))
		w.shows(to, "hello")
	}
}

func TestPreparingTellsOfARefusalAndLeavesTheSendsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	for _, c := range []struct {
		match string
		code  int
	}{{"usync-contact", 429}, {"usync-devices", 429}, {"usync-devices", 500}} { // the LIDs are known from the second on
		w.fault(wasim.Fault{Kind: wasim.IQError, Match: c.match, Code: c.code})
		l.failed(l.Prepare(w.ctx(), []string{bob, carol}), gateway.SendError{Cause: gateway.CauseIQ, Server: c.code})
		w.sim.ClearFaults()
	}
	// A number without an account is no failure of the others, and its own send says so.
	var nobody string
	for _, n := range wasim.TestNumbers() {
		if n.Behaviour == wasim.NotOnWhatsApp {
			nobody = n.Number
		}
	}
	if err := l.Prepare(w.ctx(), []string{nobody, bob, carol}); err != nil {
		t.Fatal(err)
	}
	l.fails(text(nobody, "hello"), gateway.SendError{Cause: gateway.CauseNotOnWhatsApp})
	l.sends(text(bob, "hello"))
	w.shows(bob, "hello")

	l.Disconnect()
	err := l.Prepare(w.ctx(), []string{"4915120000300"})
	if failed, ok := errors.AsType[*gateway.SendError](err); !ok || failed.Cause != gateway.CauseOffline {
		t.Errorf("without a connection: %v", err)
	}
}
