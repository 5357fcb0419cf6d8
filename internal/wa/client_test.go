package wa

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

func TestPairedClientSendsAndHearsReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	sent := l.sends(text(bob, "hello"))
	if sent.RecipientJID != bob+"@s.whatsapp.net" || gateway.BareJID(sent.RecipientLID) != sent.RecipientLID || sent.RecipientLID == "" ||
		time.Since(sent.At).Abs() > time.Minute || sent.Missed != nil {
		t.Errorf("the proof is %+v", sent)
	}
	w.shows(bob, "hello")
	for _, kind := range []gateway.ReceiptKind{gateway.ReceiptDelivered, gateway.ReceiptRead} {
		e, _ := l.await(string(kind), 0, func(e gateway.ClientEvent) bool { return e.Receipt != nil && e.Receipt.Kind == kind })
		r := e.Receipt
		if len(r.StanzaIDs) != 1 || r.StanzaIDs[0] != stanzaID("hello") || r.Sender != sent.RecipientLID || r.Chat != sent.RecipientLID ||
			r.SenderAlt != sent.RecipientJID || time.Since(r.At).Abs() > time.Minute {
			t.Errorf("the receipt is %+v", r)
		}
	}
	own := l.seen()
	for i := range own {
		if r := l.events[i].Receipt; r != nil && r.Sender != sent.RecipientLID {
			t.Errorf("a receipt of a stranger or of ourselves was reported: %+v", r)
		}
	}
}

func TestSendsThroughLIDsAndNumbersReachTheSamePhone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	first := l.sends(text(bob, "number"))
	lid := l.sends(text(first.RecipientLID, "lid"))
	if lid.RecipientJID != first.RecipientJID || lid.RecipientLID != first.RecipientLID {
		t.Errorf("by LID: %+v, by number: %+v", lid, first)
	}
	l.sends(text(first.RecipientJID, "jid"))
	w.shows(bob, "number", "lid", "jid")
}

func TestKnownContactCostsNoQuery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.sends(text(bob, "one"))
	for _, match := range []string{"usync", "prekeys"} {
		w.fault(wasim.Fault{Kind: wasim.IQError, Match: match, Code: 429, Times: -1})
	}
	l.sends(text(bob, "two"))
	l.fails(text(carol, "three"), gateway.SendError{Cause: gateway.CauseIQ, Server: 429})
	w.shows(bob, "one", "two")
}

func TestNumberWithoutAnAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	for _, n := range wasim.TestNumbers() {
		if n.Behaviour == wasim.NotOnWhatsApp {
			l.fails(text(n.Number, "nobody"), gateway.SendError{Cause: gateway.CauseNotOnWhatsApp})
		}
	}
}

func TestClientSurvivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.sends(text(bob, "before"))
	l.Disconnect()
	if err := w.sim.WaitConnected(w.ctx(), hubNumber, false); err != nil {
		t.Fatal(err)
	}
	l.fails(text(bob, "while down"), gateway.SendError{Cause: gateway.CauseOffline})
	again := w.online()
	again.sends(text(bob, "after"))
	w.shows(bob, "before", "after")
}

func TestUnknownKeysAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	row := w.row
	row.JID = "4915110000009:4@s.whatsapp.net"
	if _, err := w.factory.New(t.Context(), row, nil); !errors.Is(err, gateway.ErrNoKeys) {
		t.Errorf("a client without keys: %v", err)
	}
}

func TestCodesRotateAndThenPairingTimesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.PairTimings = PairTimings{FirstCode: 30 * time.Millisecond, NextCodes: 10 * time.Millisecond}
	})
	l := w.client(w.row)
	if err := l.Pair(w.ctx(), ""); err != nil {
		t.Fatal(err)
	}
	failed, _ := l.awaitKind(gateway.ClientPairFailed, 0)
	if failed.Reason != gateway.ReasonPairingTimeout {
		t.Errorf("pairing failed as %s", failed.Reason)
	}
	codes := map[string]bool{}
	for _, e := range l.events {
		if e.Kind == gateway.ClientPairCode {
			codes[e.Code] = true
		}
	}
	if len(codes) < 2 {
		t.Errorf("%d codes were shown", len(codes))
	}
}

func TestReceiptIsDeliveredAgainUntilItIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.refuse.Store(true)
	l.sends(text(bob, "hello"))
	w.shows(bob, "hello")
	deadlineC := time.After(deadline)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for w.sim.Pending(hubNumber) < 2 { // delivered and read
		select {
		case <-tick.C:
		case <-deadlineC:
			t.Fatalf("%d receipts wait", w.sim.Pending(hubNumber))
		}
	}
	l.refuse.Store(false)
	l.Disconnect()
	if err := l.Connect(w.ctx()); err != nil {
		t.Fatal(err)
	}
	l.await("the receipt again", 0, func(e gateway.ClientEvent) bool {
		return e.Receipt != nil && e.Receipt.Kind == gateway.ReceiptRead
	})
}

func TestEndsOfConnectionsAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault wasim.Fault
		login bool // the fault hits the login
		want  gateway.ClientEvent
	}{
		"drop":           {fault: wasim.Fault{Kind: wasim.Drop}, want: gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonConnectionLost}},
		"503":            {fault: wasim.Fault{Kind: wasim.StreamError, Code: 503}, want: gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonConnectionLost}},
		"515":            {fault: wasim.Fault{Kind: wasim.StreamError, Code: 515}, want: gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonServerError}},
		"unknown":        {fault: wasim.Fault{Kind: wasim.StreamError, Code: 599}, want: gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonServerError}},
		"device removed": {fault: wasim.Fault{Kind: wasim.StreamError, Code: 401}, want: gateway.ClientEvent{Kind: gateway.ClientLoggedOut, Reason: gateway.ReasonDeviceRemoved}},
		"replaced":       {fault: wasim.Fault{Kind: wasim.StreamError, Conflict: wasim.ConflictReplaced}, want: gateway.ClientEvent{Kind: gateway.ClientReplaced, Reason: gateway.ReasonReplaced}},
		"login 401":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 401}, want: gateway.ClientEvent{Kind: gateway.ClientLoggedOut, Reason: gateway.ReasonDeviceRemoved}},
		"login 402":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 402, Expire: time.Hour}, want: gateway.ClientEvent{Kind: gateway.ClientBanned, Reason: gateway.ReasonTemporaryBan}},
		"login 403":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 403}, want: gateway.ClientEvent{Kind: gateway.ClientLoggedOut, Reason: gateway.ReasonRefused}},
		"login 405":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 405}, want: gateway.ClientEvent{Kind: gateway.ClientOutdated, Reason: gateway.ReasonClientOutdated}},
		"login 406":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 406}, want: gateway.ClientEvent{Kind: gateway.ClientLoggedOut, Reason: gateway.ReasonRefused}},
		"login 409":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 409}, want: gateway.ClientEvent{Kind: gateway.ClientConnectError, Reason: gateway.ReasonConnectFailed}},
		"login 503":      {login: true, fault: wasim.Fault{Kind: wasim.LoginFailure, Code: 503}, want: gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonConnectionLost}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var l *live
			if c.login {
				w.pair()
				w.fault(c.fault)
				l = w.client(w.row)
				if err := l.Connect(w.ctx()); err != nil {
					t.Fatal(err)
				}
			} else {
				l = w.online()
				w.fault(c.fault)
			}
			got, _ := l.awaitKind(c.want.Kind, 0)
			if got.Reason != c.want.Reason {
				t.Errorf("told as %s, want %s", got.Reason, c.want.Reason)
			}
			if left := time.Until(got.Until); c.want.Kind == gateway.ClientBanned && (left < 59*time.Minute || left > time.Hour) {
				t.Errorf("banned for %s", left)
			}
			l.fails(text(bob, "too late"), gateway.SendError{Cause: gateway.CauseOffline})
			if c.want.Kind == gateway.ClientLoggedOut {
				deadlineC := time.After(deadline)
				for {
					if _, err := w.factory.New(w.ctx(), w.row, l.on); errors.Is(err, gateway.ErrNoKeys) {
						return
					}
					select {
					case <-deadlineC:
						t.Fatal("the keys are still there")
					case <-time.After(5 * time.Millisecond):
					}
				}
			}
			if c.want.Kind == gateway.ClientReplaced || c.want.Kind == gateway.ClientDisconnected {
				again := l.seen()
				if err := l.Connect(w.ctx()); err != nil {
					t.Fatal(err)
				}
				l.awaitKind(gateway.ClientConnected, again)
				l.sends(text(bob, "after"))
				w.shows(bob, "after")
			}
		})
	}
}

func TestRefusedUpgradeIsAnErrorOfConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pair()
	for _, code := range []int{429, 503} {
		w.fault(wasim.Fault{Kind: wasim.UpgradeError, Code: code})
		l := w.client(w.row)
		if err := l.Connect(w.ctx()); err == nil {
			t.Errorf("connected in spite of HTTP %d", code)
		}
		if err := l.Connect(w.ctx()); err != nil {
			t.Errorf("the next dial: %v", err)
		}
		l.awaitKind(gateway.ClientConnected, 0)
		l.Disconnect()
	}
}

func TestSendsWaitForTheLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	seen := l.seen()
	for delay := 300 * time.Millisecond; ; delay *= 4 {
		w.fault(wasim.Fault{Kind: wasim.DelaySuccess, Delay: delay})
		w.fault(wasim.Fault{Kind: wasim.Drop})
		_, seen = l.awaitKind(gateway.ClientDisconnected, seen)
		if err := l.Connect(w.ctx()); err != nil {
			t.Fatal(err)
		}
		_, err := l.Send(w.ctx(), text(carol, "too early"), holds)
		_, seen = l.awaitKind(gateway.ClientConnected, seen)
		if err == nil && delay < 20*time.Second {
			continue // on a machine that stood still for as long
		}
		l.failed(err, gateway.SendError{Cause: gateway.CauseOffline})
		break
	}
	l.sends(text(bob, "in time"))
	w.shows(bob, "in time")
}

func TestDialCanBeGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pair()
	l := w.client(w.row)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled dial: %v", err)
	}
	if err := l.Connect(w.ctx()); err != nil {
		t.Fatal(err)
	}
	l.awaitKind(gateway.ClientConnected, 0)
}

func TestLogoutUnlinksTheDevice(t *testing.T) {
	t.Parallel()
	for name, connected := range map[string]bool{"online": true, "offline": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := w.online()
			if !connected {
				l.Disconnect()
			}
			seen := l.seen()
			if err := l.Logout(w.ctx()); err != nil {
				t.Fatal(err)
			}
			if _, err := w.factory.New(w.ctx(), w.row, l.on); !errors.Is(err, gateway.ErrNoKeys) {
				t.Errorf("after the logout: %v", err)
			}
			if err := w.sim.WaitConnected(w.ctx(), hubNumber, false); err != nil {
				t.Error(err)
			}
			for _, e := range l.events[seen:] {
				if e.Kind != gateway.ClientReceipt {
					t.Errorf("a logout on request was reported: %+v", e)
				}
			}
		})
	}
}

func TestUnansweredKeepalivesEndTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.reconnect.Store(true)
	if l.handle(&events.KeepAliveTimeout{ErrorCount: 1}); l.online() == nil {
		t.Error("one unanswered keepalive ended the connection")
	}
	l.handle(&events.KeepAliveTimeout{ErrorCount: 2})
	e, from := l.awaitKind(gateway.ClientDisconnected, 0)
	if e.Reason != gateway.ReasonConnectionLost {
		t.Errorf("ended as %s", e.Reason)
	}
	l.awaitKind(gateway.ClientConnected, from)
	l.sends(text(bob, "after"))
	w.shows(bob, "after")
}

func TestConnectingAgainReplacesTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	seen := l.seen()
	if err := l.Connect(w.ctx()); err != nil {
		t.Fatal(err)
	}
	l.awaitKind(gateway.ClientConnected, seen)
	l.sends(text(bob, "after"))
	w.shows(bob, "after")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Kind == gateway.ClientDisconnected {
			t.Errorf("the end of the replaced connection was reported: %+v", e)
		}
	}
}

func TestPanicInAHandlerKeepsTheReceiptUnacknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.Client.on = func(context.Context, gateway.ClientEvent) error { panic("a bug") }
	bobLID := types.NewJID("12345", types.HiddenUserServer)
	receipt := &events.Receipt{
		MessageSource: types.MessageSource{Chat: bobLID, Sender: bobLID}, Type: types.ReceiptTypeRead, MessageIDs: []string{"A"},
	}
	if l.handle(receipt) {
		t.Error("a receipt whose handler panicked would be acknowledged")
	}
	pn, _ := l.own()
	receipt.Sender = pn
	if !l.handle(receipt) {
		t.Error("our own receipt was passed on")
	}
}
