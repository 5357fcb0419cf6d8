package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// backlog accepts messages to n people that nobody has written to.
func (w *world) backlog(n int) []*gateway.Message {
	w.t.Helper()
	var all []*gateway.Message
	for i := range n {
		all = append(all, w.accept(fmt.Sprintf("49170%06d", i)))
	}
	return all
}

func (w *world) asked() [][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.prepared)
}

func (w *world) refuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.prepare = func(context.Context) error { return err }
}

func TestTheNextContactsOfABacklogAreAskedAboutTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	waiting := w.backlog(120)
	for _, m := range waiting {
		w.expectSent(m)
	}
	asked := w.asked()
	if len(asked) < 3 || len(asked) > 15 {
		t.Errorf("asked %d times for 120 people", len(asked))
	}
	covered := map[string]bool{}
	for i, batch := range asked {
		if len(batch) == 0 || len(batch) > 50 {
			t.Errorf("question %d was about %d people", i, len(batch))
		}
		for _, to := range batch {
			covered[to] = true
		}
	}
	for _, m := range waiting[1:] { // the first was being sent
		if !covered[m.To] {
			t.Fatalf("nobody asked about %s", m.To)
		}
	}
	if asked[0][0] != waiting[1].To {
		t.Errorf("the first question begins with %s, and the next message goes to %s", asked[0][0], waiting[1].To)
	}
}

func TestOnlyThoseWhoseTurnComesSoonAreAskedAbout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		choice gateway.PacingChoice
		most   int
	}{
		"a delay":               {gateway.PacingChoice{Delay: of(time.Minute)}, 5},
		"a cap of first ones":   {gateway.PacingChoice{FirstContactsPerDay: of(10)}, 9},
		"a cap for all the day": {gateway.PacingChoice{PerDay: of(10)}, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.choose(c.choice)
			w.expectSent(w.backlog(60)[0])
			asked := w.asked()
			if len(asked) != 1 || len(asked[0]) != c.most {
				t.Errorf("asked about %v; want %d people once", asked, c.most)
			}
		})
	}
}

func TestNobodyIsAskedAboutWhileFirstContactsAreRestricted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	known := w.accept(carol)
	w.expectSent(known)
	before := len(w.asked())
	must(t, w.SetRestriction(t.Context(), w.fence, gateway.Restriction{
		Kind: gateway.RestrictionFirstContacts, Count: gateway.RestrictionFirm, Until: w.Now().Add(time.Hour),
	}))
	var replies []*gateway.Message
	for range 30 {
		replies = append(replies, w.accept(carol))
	}
	w.backlog(60)
	for _, m := range replies {
		w.expectSent(m)
	}
	if asked := w.asked(); len(asked) != before {
		t.Errorf("asked about %v", asked[before:])
	}
}

func TestARefusedQuestionRestrictsTheNumberAndHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse(&gateway.SendError{Cause: gateway.CauseIQ, Server: 429, Err: errors.New("scripted")})
	waiting := w.backlog(30)
	w.expectSent(waiting[0])
	r := w.restriction()
	if r.Kind != gateway.RestrictionFirstContacts || r.Code != gateway.CodeRateOverLimit || !r.Until.Equal(w.Now().Add(time.Hour)) {
		t.Fatalf("the number's restriction is %+v", r)
	}
	if v := w.handle(waiting[1]); v.Kind != gateway.VerdictRetry {
		t.Errorf("the next first contact: %+v, want it held", v)
	}
	if asked := w.asked(); len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
}

func TestAFailedQuestionCostsNothing(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"offline": &gateway.SendError{Cause: gateway.CauseOffline, Err: errors.New("scripted")},
		"timeout": &gateway.SendError{Cause: gateway.CauseTimeout, Err: errors.New("scripted")},
		"500":     &gateway.SendError{Cause: gateway.CauseIQ, Server: 500, Err: errors.New("scripted")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.refuse(err)
			for _, m := range w.backlog(20) {
				w.expectSent(m)
			}
			if r := w.restriction(); r.Kind != gateway.RestrictionNone {
				t.Errorf("restricted: %+v", r)
			}
		})
	}
}

func TestAPanicOfAQuestionIsContained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mu.Lock()
	w.prepare = func(context.Context) error { panic("a bug") }
	w.mu.Unlock()
	for _, m := range w.backlog(3) {
		w.expectSent(m)
	}
	if len(w.asked()) == 0 {
		t.Error("nobody was asked about")
	}
}
