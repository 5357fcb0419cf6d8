package wa

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// TestReplaysOfEveryKindAreProven: after a lost connection whatsmeow sends the very same frame, whose ciphertexts the proof knows;
// what has to be sent again, because the connection was lost twice or came back late, is shown once.
func TestReplaysOfEveryKindAreProven(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]wasim.Fault{
		"lost before it was accepted": {Kind: wasim.DropBeforeAccept},
		"lost after it was accepted":  {Kind: wasim.DropAfterAccept},
		"lost twice":                  {Kind: wasim.DropAfterAccept, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := w.online()
			l.reconnect.Store(true)
			group, err := w.sim.CreateGroup(w.ctx(), hubNumber, bob, carol)
			if err != nil {
				t.Fatal(err)
			}
			var toBob, toCarol []*gateway.Message
			for _, to := range []string{bob, group} {
				for _, m := range w.kinds(to) {
					w.fault(fault)
					if sent := l.sendsInTheEnd(m); len(sent.Missed) > 0 {
						t.Errorf("%s: missed %v", m.ID, sent.Missed)
					}
					w.sim.ClearFaults()
					toBob = append(toBob, m)
					if to == group {
						toCarol = append(toCarol, m)
					}
				}
			}
			w.showsOnce(bob, toBob, 4)
			w.showsOnce(carol, toCarol, 4)
		})
	}
}

// sendsInTheEnd sends m, again and again when the connection was lost, for as long as a test may wait.
func (l *live) sendsInTheEnd(m *gateway.Message) gateway.Sent {
	l.w.t.Helper()
	ctx, cancel := context.WithTimeout(l.w.t.Context(), 2*deadline)
	defer cancel()
	for {
		sent, err := l.Send(ctx, m, holds)
		if err == nil {
			return sent
		}
		var failed *gateway.SendError
		if !errors.As(err, &failed) || failed.Cause != gateway.CauseDisconnected && failed.Cause != gateway.CauseOffline {
			l.w.t.Fatalf("send %s: %v", m.ID, err)
		}
		select {
		case <-time.After(20 * time.Millisecond): // the connection is on its way
		case <-ctx.Done():
			l.w.t.Fatalf("send %s: %v", m.ID, err)
		}
	}
}
