package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/gateway"
)

func ack463() gateway.SendError { return gateway.SendError{Cause: gateway.CauseAck, Server: 463} }

func (w *world) expectHeld(m *gateway.Message, d time.Duration) {
	w.t.Helper()
	if v := w.handle(m); v.Kind != gateway.VerdictRetry || v.Delay != d {
		w.t.Fatalf("%s: %+v, want it held for %v", m.ID, v, d)
	}
	if got := w.stored(m); got.Phase != gateway.PhaseHeld || got.Attempts != 0 {
		w.t.Fatalf("%s: %s with %d attempts", m.ID, got.Phase, got.Attempts)
	}
}

func (w *world) expectSent(m *gateway.Message) {
	w.t.Helper()
	if v := w.handle(m); v.Kind != gateway.VerdictDone {
		w.t.Fatalf("%s: %+v", m.ID, v)
	}
	if got := w.stored(m); got.Status != gateway.StatusSent {
		w.t.Fatalf("%s: %s", m.ID, got.Status)
	}
}

func TestOneUnwillingRecipientCostsOnlyItsOwnMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(ack463())
	first := w.accept(alice)
	w.expectHeld(first, time.Hour)
	if r := w.restriction(); r.Kind != gateway.RestrictionFirstContacts || r.Count != 1 || !r.Until.Equal(w.Now().Add(time.Hour)) {
		t.Fatalf("restriction %+v", r)
	}

	// Another message to the same recipient proves nothing and waits, unsent.
	sends := w.sends()
	w.expectHeld(w.accept(alice), time.Hour)
	if w.sends() != sends {
		t.Fatal("the same recipient was used as the probe")
	}

	// Another recipient is the probe; its success lifts the restriction.
	w.succeed()
	w.expectSent(w.accept(bob))
	if r := w.restriction(); r.Kind != gateway.RestrictionNone {
		t.Fatalf("restriction %+v", r)
	}

	// The hold doubles with each refusal.
	w.fail(ack463())
	w.Advance(time.Hour)
	w.expectHeld(first, time.Hour)
	w.Advance(time.Hour)
	w.expectHeld(first, 2*time.Hour)
	w.Advance(2 * time.Hour)
	w.expectHeld(first, 4*time.Hour)
	w.Advance(40 * time.Hour)
	w.expectHeld(first, 24*time.Hour)
}

func TestTwoRefusalsRestrictTheNumberUntilAProbeSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	known := w.accept(carol)
	w.expectSent(known)

	w.fail(ack463())
	w.expectHeld(w.accept(alice), time.Hour)
	w.expectHeld(w.accept(bob), time.Hour)
	if r := w.restriction(); r.Count != 2 {
		t.Fatalf("restriction %+v", r)
	}

	// Now first contacts wait without being tried; who is known, and groups, go on.
	w.succeed()
	sends := w.sends()
	stranger := w.accept("4915550000009")
	w.expectHeld(stranger, time.Hour)
	if w.sends() != sends {
		t.Fatal("a first contact was tried during a firm restriction")
	}
	w.expectSent(w.accept(carol))
	w.expectSent(w.accept(group))
	if r := w.restriction(); r.Count != 2 {
		t.Fatalf("a known contact lifted the restriction: %+v", r)
	}

	// One probe after its end: a further refusal doubles it.
	w.Advance(time.Hour)
	w.fail(ack463())
	w.expectHeld(stranger, 2*time.Hour)
	sends = w.sends()
	w.expectHeld(w.accept(bob), 2*time.Hour)
	if r := w.restriction(); r.Count != 3 || w.sends() != sends {
		t.Fatalf("restriction %+v after %d more sends", r, w.sends()-sends)
	}
	w.Advance(2 * time.Hour)
	w.succeed()
	w.expectSent(stranger)
	if r := w.restriction(); r.Kind != gateway.RestrictionNone {
		t.Fatalf("restriction %+v", r)
	}
}

func TestARateLimitIsTheNumbersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(gateway.SendError{Cause: gateway.CauseIQ, Server: 429})
	w.expectHeld(w.accept(alice), time.Hour)
	w.succeed()
	sends := w.sends()
	w.expectHeld(w.accept(bob), time.Hour)
	if w.sends() != sends {
		t.Fatal("tried during the restriction")
	}
}

func TestAnAnnouncedEndCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := ack463()
	e.Until = w.Now().Add(37 * time.Minute)
	w.fail(e)
	w.expectHeld(w.accept(alice), 37*time.Minute)
	w.expectHeld(w.accept(bob), 37*time.Minute)
	if r := w.restriction(); !r.Until.Equal(e.Until) {
		t.Fatalf("restriction %+v", r)
	}
}

// TestAnEndThatIsAnnouncedDuringTheSendCounts: the refusal that the announcement explains does not turn it into an hour.
func TestAnEndThatIsAnnouncedDuringTheSendCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	announced := gateway.Restriction{
		Kind: gateway.RestrictionFirstContacts, Until: w.Now().Add(7 * time.Minute), Count: gateway.RestrictionFirm, Code: gateway.CodeReachOutLimited,
	}
	w.answer(func(ctx context.Context, _ *gateway.Message) (gateway.Sent, error) {
		must(t, w.SetRestriction(ctx, w.fence, announced))
		e := ack463()
		return gateway.Sent{}, &e
	})
	w.expectHeld(w.accept(alice), 7*time.Minute)
	if r := w.restriction(); !r.Until.Equal(announced.Until) || r.Count != gateway.RestrictionFirm {
		t.Errorf("restriction %+v", r)
	}
}

func TestARefusalOfAKnownContactRestrictsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.expectSent(w.accept(alice))
	w.fail(ack463())
	w.expectHeld(w.accept(alice), time.Minute)
	if r := w.restriction(); r.Kind != gateway.RestrictionNone {
		t.Fatalf("restriction %+v", r)
	}
}

func TestAfterARestartASingleRefusalIsStillSingle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// As an earlier process left it.
	must(t, w.SetRestriction(t.Context(), w.fence, gateway.Restriction{
		Kind: gateway.RestrictionFirstContacts, Until: w.Now().Add(time.Hour), Count: 1,
	}))
	w.fail(ack463())
	w.expectHeld(w.accept(alice), time.Hour)
	if r := w.restriction(); r.Count != 1 {
		t.Fatalf("restriction %+v", r)
	}
	w.expectHeld(w.accept(bob), time.Hour)
	if r := w.restriction(); r.Count != 2 {
		t.Fatalf("restriction %+v", r)
	}
}

func TestAnAttemptThatFailsForAnotherReasonDoesNotLiftARestriction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(ack463())
	w.expectHeld(w.accept(alice), time.Hour)
	w.answer(func(context.Context, *gateway.Message) (gateway.Sent, error) {
		return gateway.Sent{}, errors.New("not even a send error")
	})
	probe := w.accept(bob)
	if v := w.handle(probe); v.Kind != gateway.VerdictRetry || !w.stored(probe).Uncertain {
		t.Fatalf("verdict %+v", v)
	}
	if r := w.restriction(); r.Count != 1 {
		t.Fatalf("restriction %+v", r)
	}
}

// restart is another process on the same database.
func (w *world) restart() { w.Dispatcher = dispatch.New(w.Deps) }

// TestARestrictionIsKnownToTheNextProcess: whom it is about, and what WhatsApp said.
func TestARestrictionIsKnownToTheNextProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(ack463())
	w.expectHeld(w.accept(alice), time.Hour)
	w.restart()
	sends := w.sends()
	w.expectHeld(w.accept(alice), time.Hour)
	if r := w.restriction(); w.sends() != sends || r.Count != 1 || r.Suspect != gateway.UserJID(alice) || r.Code != gateway.CodeReachOutLimited {
		t.Fatalf("%d sends, restriction %+v", w.sends()-sends, r)
	}
	w.expectHeld(w.accept(bob), time.Hour) // the second witness
	if r := w.restriction(); r.Count != 2 || r.Suspect != "" {
		t.Fatalf("restriction %+v", r)
	}

	w.Advance(2 * time.Hour)
	w.succeed()
	w.expectSent(w.accept(carol))
	w.fail(gateway.SendError{Cause: gateway.CauseIQ, Server: 429})
	w.expectHeld(w.accept("4915550000004"), time.Hour)
	w.restart()
	waiting := w.accept("4915550000005")
	w.expectHeld(waiting, time.Hour)
	if got := w.stored(waiting); got.Error == nil || got.Error.Code != gateway.CodeRateOverLimit {
		t.Fatalf("a message that is held for an IQ 429 says %+v", got.Error)
	}
}

// Whom a restriction that cannot be read forbids to write to is not known: the message waits for the database, and pays nothing for it.
func TestARestrictionThatCannotBeReadLetsMessagesWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	until := w.Now().Add(time.Hour)
	must(t, w.SetRestriction(t.Context(), w.fence, gateway.Restriction{Kind: gateway.RestrictionFirstContacts, Until: until, Count: gateway.RestrictionFirm}))
	m := w.accept(alice)
	w.unread = errBroken
	if v := w.handle(m); v.Kind != gateway.VerdictGiveBack || w.sends() != 0 {
		t.Fatalf("verdict %+v after %d sends", v, w.sends())
	}
	if got := w.stored(m); got.Attempts != 0 || got.InFlight != "" || got.Status != gateway.StatusSending {
		t.Fatalf("stored %+v", got)
	}
	w.unread = nil
	if v := w.handle(m); v.Kind != gateway.VerdictRetry || w.sends() != 0 || w.stored(m).Phase != gateway.PhaseHeld {
		t.Fatalf("verdict %+v after %d sends: %+v", v, w.sends(), w.stored(m))
	}
}
