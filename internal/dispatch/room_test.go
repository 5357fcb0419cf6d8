package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// stranger is the next message, to somebody who was never written to.
func (w *world) stranger(change ...func(*gateway.Message)) *gateway.Message {
	return w.accept(fmt.Sprint(4915550001000+w.made), change...)
}

// full has a cap of two first contacts a day used up, at the time that it returns and an hour later; it is an hour after that.
func (w *world) full() (begun time.Time) {
	w.t.Helper()
	w.choose(gateway.PacingChoice{FirstContactsPerDay: of(2)})
	begun = w.Now()
	for range 2 {
		w.expectSent(w.stranger())
		w.Advance(time.Hour)
	}
	return begun
}

// expectPaced handles m and expects it to be held until a time.
func (w *world) expectPaced(m *gateway.Message, until time.Time) {
	w.t.Helper()
	w.handle(m)
	if got := w.stored(m); got.Phase != gateway.PhaseHeld || got.Error.Code != gateway.CodePaced || !got.NextAttemptAt.Equal(until) {
		w.t.Errorf("%s of lane %s is %s, %q until %s; want it held until %s", m.ID, m.Priority, got.Status, got.Phase, got.NextAttemptAt, until)
	}
}

func inBulk(m *gateway.Message) { m.Priority = gateway.PriorityBulk }

// TestAPlaceThatOpensIsTheHighestLanes: however many strangers of a bulk are held, one of a higher lane waits for the next place alone, and whoever
// of the bulk comes up then, held before or not, leaves it that place. Who had to stand back goes next.
func TestAPlaceThatOpensIsTheHighestLanes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := w.full()
	var bulk []*gateway.Message
	for i, want := range []time.Duration{24, 25, 48, 49, 72} {
		bulk = append(bulk, w.stranger(inBulk))
		w.expectPaced(bulk[i], begun.Add(want*time.Hour))
	}
	code := w.stranger(high)
	w.expectPaced(code, begun.Add(24*time.Hour))
	normal := w.stranger()
	w.expectPaced(normal, begun.Add(25*time.Hour))

	w.Advance(begun.Add(24 * time.Hour).Sub(w.Now()))
	w.expectPaced(bulk[0], begun.Add(48*time.Hour)) // after normal, which is not in its way at the places of its own
	w.expectPaced(w.stranger(inBulk), begun.Add(97*time.Hour))
	w.expectSent(code)
	w.Advance(time.Hour)
	w.expectPaced(bulk[1], begun.Add(49*time.Hour))
	w.expectSent(normal)
	w.Advance(23 * time.Hour)
	w.expectSent(bulk[0])
}

// TestNobodyWaitsBehindWhatHasEnded: a place is kept for nobody who will have expired by then, and for nobody who has ended.
func TestNobodyWaitsBehindWhatHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := w.full()
	var short []*gateway.Message
	for i, want := range []time.Duration{24, 25, 26, 26, 26, 26} { // they live for a day
		short = append(short, w.stranger(func(m *gateway.Message) { m.ExpiresAt = w.Now().Add(aDay) }))
		w.expectPaced(short[i], begun.Add(want*time.Hour))
	}
	w.expectPaced(w.stranger(), begun.Add(48*time.Hour))
	w.restart()
	w.expectPaced(w.stranger(), begun.Add(49*time.Hour))

	w.Advance(aDay) // the two places are free, and nobody came
	for _, m := range short {
		must(t, w.ledger.Expire(t.Context(), m.TenantKey, m.ID))
	}
	w.expectSent(w.stranger(high))
	w.expectSent(w.stranger(high))
	now := w.Now()
	w.expectPaced(w.stranger(high), now.Add(aDay))
}

// TestACustomerWithTwoFormsOfANumberIsNoStranger: the tenant writes a Brazilian number with its ninth digit, WhatsApp without.
func TestACustomerWithTwoFormsOfANumberIsNoStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.choose(gateway.PacingChoice{FirstContactsPerDay: of(1), PerRecipientPerDay: of(4)})
	w.answer(func(context.Context, *gateway.Message) (gateway.Sent, error) {
		return gateway.Sent{RecipientJID: gateway.UserJID("551187654321"), At: w.Now()}, nil
	})
	const list = "5511987654321"
	begun := w.Now()
	for _, to := range []string{list, list, gateway.UserJID(list), "551187654321"} {
		w.expectSent(w.accept(to))
	}
	w.expectPaced(w.stranger(), begun.Add(aDay))
	for _, to := range []string{list, gateway.UserJID(list), "551187654321"} { // four a day, however they are written
		w.expectPaced(w.accept(to), begun.Add(aDay))
	}
}
