package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/gateway"
)

// choose sets what the world's tenant chose of its pacing, and lets what was known of it run out.
func (w *world) choose(c gateway.PacingChoice) {
	w.t.Helper()
	_, err := w.store.UpdateSettings(w.t.Context(), w.tenant.Key, func(s *gateway.Settings) { s.Pacing = c })
	must(w.t, err)
	w.Advance(2 * time.Second)
}

func high(m *gateway.Message) { m.Priority = gateway.PriorityHigh }

func of[T any](v T) *T { return &v }

func TestADelayLetsLowerLanesRestAndHighOnesGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{Delay: of(10 * time.Second), RandomDelay: of(20 * time.Second)})
	first, second, high := w.accept(alice), w.accept(bob), w.accept(carol, high)
	want := gateway.Rest{From: gateway.PriorityNormal, For: 20 * time.Second} // and half of the random part
	if v := w.handle(first); v.Kind != gateway.VerdictDone || v.Rest != want {
		t.Fatalf("verdict %+v", v)
	}
	if v := w.handle(second); v.Kind != gateway.VerdictGiveBack || v.Rest != want {
		t.Fatalf("verdict %+v", v)
	}
	if got := w.stored(second); got.Status != gateway.StatusQueued || got.Attempts != 0 {
		t.Errorf("it was claimed: %s", got.Status)
	}
	w.Advance(15 * time.Second)
	if v := w.handle(high); v.Kind != gateway.VerdictDone || w.stored(high).Status != gateway.StatusSent {
		t.Fatalf("verdict %+v", v)
	}
	w.Advance(19 * time.Second) // the delay counts from the high one
	if v := w.handle(second); v.Kind != gateway.VerdictGiveBack || v.Rest.For != time.Second {
		t.Fatalf("verdict %+v", v)
	}
	w.Advance(time.Second)
	if v := w.handle(second); v.Kind != gateway.VerdictDone || w.stored(second).Status != gateway.StatusSent {
		t.Fatalf("verdict %+v", v)
	}
}

// TestAnotherDelayIsWaitedForAtOnce, also after a message that was sent while there was the other one.
func TestAnotherDelayIsWaitedForAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{Delay: of(time.Hour)})
	w.expectSent(w.accept(alice))
	next := w.accept(bob)
	if v := w.handle(next); v.Kind != gateway.VerdictGiveBack || v.Rest.For != time.Minute {
		t.Fatalf("verdict %+v", v)
	}
	w.choose(gateway.PacingChoice{Delay: of(time.Duration(0)), RandomDelay: of(time.Duration(0))})
	w.expectSent(next)
	w.choose(gateway.PacingChoice{Delay: of(time.Hour), RandomDelay: of(time.Duration(0))})
	if v := w.handle(w.accept(carol)); v.Kind != gateway.VerdictGiveBack || v.Rest.For != time.Minute {
		t.Fatalf("verdict %+v", v)
	}
}

// TestCapsSurviveARestart: a dispatcher that has just got the lease counts what others sent.
func TestCapsSurviveARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{PerHour: of(2)})
	for range 2 {
		if v := w.handle(w.accept(alice)); v.Kind != gateway.VerdictDone {
			t.Fatalf("verdict %+v", v)
		}
		w.Advance(10 * time.Minute)
	}
	high := w.accept(bob, high)
	for range 2 {
		v := w.handle(high)
		if v.Kind != gateway.VerdictGiveBack || v.Rest != (gateway.Rest{From: gateway.PriorityHigh, For: time.Minute}) { // asked again each minute
			t.Fatalf("verdict %+v", v)
		}
		w.restart()
	}
	w.Advance(40 * time.Minute)
	if v := w.handle(high); v.Kind != gateway.VerdictDone || w.stored(high).Status != gateway.StatusSent {
		t.Fatalf("verdict %+v", v)
	}
}

func TestFailedAttemptsThatMayHaveGoneOutCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{PerMinute: of(1)})
	w.fail(gateway.SendError{Cause: gateway.CauseAck, Server: 500})
	if v := w.handle(w.accept(alice)); v.Kind != gateway.VerdictRetry || v.Rest.For > 0 {
		t.Fatalf("refused without having been on the wire: %+v", v)
	}
	w.fail(gateway.SendError{Cause: gateway.CauseTimeout, OnWire: true})
	if v := w.handle(w.accept(bob)); v.Kind != gateway.VerdictRetry || v.Rest != (gateway.Rest{From: gateway.PriorityHigh, For: time.Minute}) {
		t.Fatalf("verdict %+v", v)
	}
}

func TestTheCapOfFirstContactsHoldsStrangersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{FirstContactsPerDay: of(1)})
	w.handle(w.accept(alice))
	begun := w.Now()
	w.Advance(time.Hour)
	stranger := w.accept(bob)
	if v := w.handle(stranger); v.Kind != gateway.VerdictRetry || v.Delay != 23*time.Hour {
		t.Fatalf("verdict %+v", v)
	}
	got := w.stored(stranger)
	if got.Phase != gateway.PhaseHeld || got.Attempts != 0 || got.Error == nil || got.Error.Code != gateway.CodePaced || !got.NextAttemptAt.Equal(begun.Add(aDay)) {
		t.Errorf("%s, %d attempts, %+v", got.Phase, got.Attempts, got.Error)
	}
	again := w.accept(alice)
	if v := w.handle(again); v.Kind != gateway.VerdictDone || w.stored(again).Status != gateway.StatusSent {
		t.Errorf("a known contact: %+v", v)
	}
	w.restart()
	other := w.accept(carol)
	if v := w.handle(other); v.Kind != gateway.VerdictRetry || w.stored(other).Phase != gateway.PhaseHeld {
		t.Errorf("after a restart: %+v", v)
	}
	w.Advance(23 * time.Hour)
	if v := w.handle(stranger); v.Kind != gateway.VerdictDone || w.stored(stranger).Status != gateway.StatusSent {
		t.Errorf("the next day: %+v", v)
	}
}

const aDay = 24 * time.Hour

// TestACapThatIsSwitchedOnCountsWhatWasSentBefore, and one that is lifted is not believed for longer than it takes to say so.
func TestACapThatIsSwitchedOnCountsWhatWasSentBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.handle(w.accept(alice))
	w.Advance(time.Hour)
	w.handle(w.accept(bob))
	w.Advance(time.Hour)
	w.choose(gateway.PacingChoice{FirstContactsPerDay: of(2)})
	stranger := w.accept(carol)
	if v := w.handle(stranger); v.Kind != gateway.VerdictRetry || v.Delay < 21*time.Hour || v.Delay > 22*time.Hour {
		t.Fatalf("verdict %+v", v)
	}
	_, err := w.store.UpdateSettings(t.Context(), w.tenant.Key, func(s *gateway.Settings) { s.Pacing = gateway.PacingChoice{} })
	must(t, err)
	w.Reconsider(w.tenant.Key)
	if v := w.handle(w.accept("4915550000100")); v.Kind != gateway.VerdictDone {
		t.Errorf("the cap is lifted: %+v", v)
	}
}

// TestHeldStrangersDoNotComeBackTogether: each has a time at which the cap has room for it.
func TestHeldStrangersDoNotComeBackTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{FirstContactsPerDay: of(2)})
	begun := w.Now()
	w.handle(w.accept("4915550000100"))
	w.Advance(time.Hour)
	w.handle(w.accept("4915550000101"))
	w.Advance(time.Hour)
	for i, want := range []time.Duration{24, 25, 48, 49, 72} {
		m := w.accept(fmt.Sprintf("49155500002%02d", i))
		w.handle(m)
		if at := w.stored(m).NextAttemptAt; !at.Equal(begun.Add(want * time.Hour)) {
			t.Errorf("stranger %d comes back at %s, want %s", i, at, begun.Add(want*time.Hour))
		}
	}
}

func TestWhatIsHeldOfAStoppedBulkIsNotSent(t *testing.T) {
	t.Parallel()
	for _, canceled := range []bool{false, true} {
		w := newWorld(t)
		b := gateway.Bulk{ID: "spring", TenantKey: w.tenant.Key, TenantID: w.tenant.ID, Status: gateway.BulkRunning, Lane: gateway.PriorityBulk}
		w.Paces = stopped{w.Paces, &b}
		w.choose(gateway.PacingChoice{FirstContactsPerDay: of(1)})
		w.handle(w.accept(alice))
		m := w.accept(bob, func(m *gateway.Message) { m.BulkID = b.ID })
		if w.handle(m); w.stored(m).Phase != gateway.PhaseHeld {
			t.Fatalf("%+v", w.stored(m))
		}
		b.Status = gateway.BulkPaused
		if canceled {
			b.Status = gateway.BulkCanceled
		}
		w.Advance(aDay)
		sends := w.sends()
		w.handle(m)
		got := w.stored(m)
		if w.sends() != sends {
			t.Errorf("canceled %t: it was sent", canceled)
		}
		if canceled && (got.Status != gateway.StatusFailed || got.Error.Code != gateway.CodeCanceled || got.Attempts != 0) {
			t.Errorf("%s after %d attempts: %+v", got.Status, got.Attempts, got.Error)
		}
		if !canceled && got.Phase != gateway.PhaseHeld {
			t.Errorf("paused: %s, %s", got.Status, got.Phase)
		}
	}
}

// TestAPausedBulkRests: what is held of it is looked at once an hour at most, without a row of history each time, and not beyond its end.
func TestAPausedBulkRests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := gateway.Bulk{ID: "spring", TenantKey: w.tenant.Key, TenantID: w.tenant.ID, Status: gateway.BulkRunning, Lane: gateway.PriorityBulk}
	w.Paces = stopped{w.Paces, &b}
	w.choose(gateway.PacingChoice{FirstContactsPerDay: of(1)})
	w.handle(w.accept(alice))
	m := w.accept(bob, func(m *gateway.Message) { m.BulkID, m.ExpiresAt = b.ID, w.Now().Add(26*time.Hour+30*time.Minute) })
	w.handle(m)
	b.Status = gateway.BulkPaused
	w.Advance(aDay)
	for _, want := range []time.Duration{time.Hour, time.Hour, 30*time.Minute - 2*time.Second} { // choose has advanced the clock
		w.handle(m)
		got := w.stored(m)
		if rests := got.NextAttemptAt.Sub(w.Now()); got.Phase != gateway.PhaseHeld || rests.Round(time.Minute) != want.Round(time.Minute) || got.Attempts != 0 {
			t.Fatalf("%s for %s after %d attempts, want it held for %s", got.Phase, rests, got.Attempts, want)
		}
		w.Advance(got.NextAttemptAt.Sub(w.Now()))
	}
	events, err := w.store.Events(t.Context(), w.tenant.Key, m.ID)
	must(t, err)
	if len(events) != 4 { // accepted, claimed, held for the cap, held for the pause
		t.Errorf("its history is %+v", events)
	}
}

// stopped are paces with one bulk.
type stopped struct {
	dispatch.Paces
	bulk *gateway.Bulk
}

func (s stopped) Bulk(context.Context, int64, string) (gateway.Bulk, error) { return *s.bulk, nil }

func TestTheCapPerRecipientHoldsItsMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{PerRecipientPerDay: of(2)})
	for range 2 {
		w.handle(w.accept(alice))
	}
	third, other := w.accept(alice, high), w.accept(bob)
	if v := w.handle(third); v.Kind != gateway.VerdictRetry || v.Delay != aDay {
		t.Errorf("verdict %+v", v)
	}
	if v := w.handle(other); v.Kind != gateway.VerdictDone || w.stored(other).Status != gateway.StatusSent {
		t.Errorf("another recipient: %+v", v)
	}
}

func TestQuietHoursLetOnlyHighPriorityPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // it is noon
	w.choose(gateway.PacingChoice{Quiet: &gateway.QuietHours{From: 11 * 60, To: 13 * 60, Zone: time.UTC}})
	normal, high := w.accept(alice), w.accept(bob, high)
	if v := w.handle(normal); v.Kind != gateway.VerdictGiveBack || v.Rest.From != gateway.PriorityNormal {
		t.Errorf("verdict %+v", v)
	}
	if v := w.handle(high); v.Kind != gateway.VerdictDone || w.stored(high).Status != gateway.StatusSent {
		t.Errorf("high priority: %+v", v)
	}
	w.Advance(time.Hour)
	if v := w.handle(normal); v.Kind != gateway.VerdictDone || w.stored(normal).Status != gateway.StatusSent {
		t.Errorf("afterwards: %+v", v)
	}
}

func TestWhoOptedOutCountsAsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{Delay: of(time.Hour), RandomDelay: of(time.Duration(0))})
	w.fail(gateway.SendError{Cause: gateway.CauseOptedOut})
	bulk := w.accept(alice, func(m *gateway.Message) { m.Priority, m.BulkID = gateway.PriorityBulk, "spring" })
	if v := w.handle(bulk); v.Kind != gateway.VerdictDone {
		t.Errorf("%+v", v)
	}
	if got := w.stored(bulk); got.Status != gateway.StatusFailed || got.Error.Code != gateway.CodeOptedOut || got.Attempts != 0 {
		t.Errorf("%s after %d attempts: %+v", got.Status, got.Attempts, got.Error)
	}
	w.succeed()
	next := w.accept(bob)
	if v := w.handle(next); v.Kind != gateway.VerdictDone || w.stored(next).Status != gateway.StatusSent {
		t.Errorf("the next one waits for the delay, although nothing was sent: %+v", v)
	}
}
