package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// TestKillInTheMiddleLosesAndRepeatsNothing kills the embedded hub with SIGKILL in the middle of 500 queued messages,
// five times over, while the simulator runs as its own process: each message is shown once, and first attempts keep
// their order within a lane.
func TestKillInTheMiddleLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	const (
		rounds   = 5
		messages = 500
		phones   = 20
	)
	world := testkit.StartProcesses(t)
	world.Pair(t, "algo", "15550009999")
	world.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 10 * time.Millisecond, Times: -1}) // so that a kill finds a backlog

	number := func(i int) string { return fmt.Sprintf("9198765%05d", i%phones) }
	kills := 0
	for round := 0; kills < rounds; round++ {
		accepted := make([]testkit.Message, messages)
		var senders sync.WaitGroup
		lanes := []string{"high", "normal"}
		for l, lane := range lanes { // one sender a lane, so that the order of acceptance is known
			senders.Go(func() {
				for i := l; i < messages; i += len(lanes) {
					world.Admin.JSON(t, http.MethodPost, "/api/algo/message", map[string]string{
						"to": number(i), "message": fmt.Sprintf("round %d message %03d", round, i), "priority": lane,
					}, http.StatusAccepted, &accepted[i])
				}
			})
		}
		senders.Wait()
		waiting := 0
		testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
			waiting = world.Admin.Waiting(t, "algo")
			return waiting <= messages*(8-kills)/10, fmt.Sprintf("%d still wait", waiting)
		})
		if waiting > 0 {
			world.RestartHub(t, (*testkit.Process).Kill)
			kills++
		} else if round == 2*rounds { // a machine that stands still while the hub does not may miss the moment, but not as often as this
			t.Fatalf("nothing was left to do when the kill was to come, in %d of %d rounds", round+1-kills, round+1)
		}

		testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
			n := len(shownInRound(t, world, round, phones, number))
			return n >= messages, fmt.Sprintf("round %d: %d of %d shown", round, n, messages)
		})
		shown := shownInRound(t, world, round, phones, number)
		times := map[string]time.Time{}
		for _, s := range shown {
			if _, twice := times[s.Text]; twice {
				t.Errorf("round %d: %q is shown twice", round, s.Text)
			}
			times[s.Text] = s.Decrypted[0]
		}
		for l, lane := range lanes {
			var last time.Time
			for i := l; i < messages; i += len(lanes) {
				text := fmt.Sprintf("round %d message %03d", round, i)
				m := world.Admin.AwaitStatus(t, "algo", accepted[i].ID, "read")
				if m.WhatsAppID != accepted[i].WhatsAppID {
					t.Errorf("%q went out under two ids", text)
				}
				if m.Attempts > 1 { // the one in hand when the kill came
					continue
				}
				if at := times[text]; at.Before(last) {
					t.Errorf("round %d: %q of lane %s overtook an older message", round, text, lane)
				} else {
					last = at
				}
			}
		}
	}
}

// TestTerminateLosesNothing stops the hub with SIGTERM in the middle of a backlog.
func TestTerminateLosesNothing(t *testing.T) {
	t.Parallel()
	world := testkit.StartProcesses(t)
	world.Pair(t, "algo", "15550009999")
	world.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 10 * time.Millisecond, Times: -1})
	var ids []string
	for i := range 100 {
		ids = append(ids, world.Admin.Send(t, "algo", "919876543210", fmt.Sprintf("message %03d", i)).ID)
	}
	world.RestartHub(t, func(p *testkit.Process) { p.Terminate(60 * time.Second) })
	for _, id := range ids {
		if m := world.Admin.AwaitStatus(t, "algo", id, "read"); m.Attempts != 1 {
			t.Errorf("an orderly stop cost message %s an attempt: %d", id, m.Attempts)
		}
	}
	shown := world.Shown("919876543210")
	if len(shown) != 100 {
		t.Fatalf("%d messages are shown, want 100", len(shown))
	}
	if !slices.IsSortedFunc(shown, func(a, b testkit.Shown) int { return strings.Compare(a.Text, b.Text) }) {
		t.Error("an orderly stop changed the order")
	}
	for _, s := range shown {
		if len(s.Decrypted) != 1 {
			t.Errorf("%q was decrypted %d times", s.Text, len(s.Decrypted))
		}
	}
}

// shownInRound collects what the phones show of one round's messages.
func shownInRound(t *testing.T, world *testkit.Processes, round, phones int, number func(int) string) []testkit.Shown {
	t.Helper()
	var all []testkit.Shown
	for i := range phones {
		for _, s := range world.Shown(number(i)) {
			if strings.HasPrefix(s.Text, fmt.Sprintf("round %d ", round)) {
				all = append(all, s)
			}
		}
	}
	return all
}
