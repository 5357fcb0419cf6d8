package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// showsCode asks for pairing by a code that hubNumber enters, and returns the row that shows it.
func (b *bench) showsCode(phone string) gateway.Session {
	b.t.Helper()
	b.ask(gateway.CommandConnect, phone)
	for {
		row := b.state(gateway.SessionPairing, gateway.ReasonEnterCode)
		if row.PairingPhone != phone {
			b.t.Fatalf("the code is for %q", row.PairingPhone)
		}
		if row.PairingCode != "" {
			return row
		}
	}
}

func TestPairingByCodeIsStoredAndLogsIn(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start()
	b.ask(gateway.CommandConnect, "49151000001")
	c := b.client()
	wait(t, "the dial", c.connects)
	if phone := *c.phone.Load(); phone != "49151000001" {
		t.Errorf("the client pairs with %q", phone)
	}
	until := time.Now().Add(time.Minute).UTC()
	c.tell(gateway.ClientEvent{Kind: gateway.ClientPairCode, Reason: gateway.ReasonEnterCode, Code: "ABCD-1234", Until: until})
	b.ask(gateway.CommandConnect, "49151000001") // a second one changes nothing
	row := b.state(gateway.SessionPairing, gateway.ReasonEnterCode)
	for row.PairingCode == "" {
		row = b.state(gateway.SessionPairing, gateway.ReasonEnterCode)
	}
	if row.PairingCode != "ABCD-1234" || row.PairingPhone != "49151000001" || row.PairingExpiresAt.Sub(until).Abs() > time.Millisecond {
		t.Errorf("the row says %+v", row)
	}
	c.tell(gateway.ClientEvent{Kind: gateway.ClientPaired, JID: jid, LID: "777@lid"})
	if row = b.state(gateway.SessionConnecting, gateway.ReasonConnecting); row.PairingCode != "" || row.PairingPhone != "" || !row.PairingExpiresAt.IsZero() {
		t.Errorf("after pairing the row says %+v", row)
	}
	wait(t, "the end of the pairing client", c.gone)
	if login := b.client(); login.row.JID != jid {
		t.Errorf("the login is for %q", login.row.JID)
	}
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

func TestAnotherWayToPairMakesTheCodeVoid(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start()
	var before *scriptedClient
	for _, phone := range []string{"49151000001", "49151000002", "", "49151000002"} {
		b.ask(gateway.CommandConnect, phone)
		c := b.client()
		wait(t, "the dial", c.connects)
		if got := *c.phone.Load(); got != phone {
			t.Errorf("the client pairs with %q, want %q", got, phone)
		}
		reason := gateway.ReasonScanQR
		if phone != "" {
			reason = gateway.ReasonEnterCode
		}
		if row := b.state(gateway.SessionPairing, reason); row.PairingCode != "" || row.PairingPhone != phone {
			t.Errorf("the row says %+v", row)
		}
		if before != nil {
			wait(t, "the end of the client before", before.gone)
			before.tell(gateway.ClientEvent{Kind: gateway.ClientPaired, JID: jid}) // too late
		}
		c.tell(gateway.ClientEvent{Kind: gateway.ClientPairCode, Reason: reason, Code: "code for " + phone, Until: time.Now().Add(time.Minute)})
		if row := b.state(gateway.SessionPairing, reason); row.PairingCode != "code for "+phone || row.JID != "" {
			t.Errorf("the row says %+v", row)
		}
		before = c
	}
}

func TestSessionIsPairedByCodeWithWhatsApp(t *testing.T) {
	t.Parallel()
	b, sim := liveBench(t)
	row := b.showsCode(hubNumber)
	if left := time.Until(row.PairingExpiresAt); left < time.Minute {
		t.Errorf("the code is on show for %s", left)
	}
	if err := sim.PairCode(t.Context(), "AAAA-AAAA", hubNumber); !errors.Is(err, wasim.ErrWrongCode) {
		t.Errorf("a wrong code: %v", err)
	}
	if err := sim.PairCode(t.Context(), row.PairingCode, hubNumber); err != nil {
		t.Fatal(err)
	}
	if row = b.state(gateway.SessionOnline, gateway.ReasonConnected); row.Number() != hubNumber {
		t.Errorf("online as %q", row.Number())
	}
	b.delivers(sim, "paired by code", 1)
}

func TestSessionSaysThatWhatsAppGaveNoCode(t *testing.T) {
	t.Parallel()
	b, sim := liveBench(t)
	if _, err := sim.Script(wasim.Fault{Kind: wasim.IQError, Match: "pair-code", Code: 429}); err != nil {
		t.Fatal(err)
	}
	b.ask(gateway.CommandConnect, hubNumber)
	if row := b.state(gateway.SessionUnpaired, gateway.ReasonPairingFailed); row.PairingCode != "" || row.PairingPhone != "" {
		t.Errorf("the row says %+v", row)
	}
	b.showsCode(hubNumber)
}
