package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/util/keys"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
	"github.com/wapro/hub/internal/wa"
	"github.com/wapro/hub/internal/wasim"
)

// The tests of this file run sessions over real whatsmeow against the simulator: what each fault makes of a session.

const (
	hubNumber = "4915110000001"
	bob       = "4915110000002"
)

func rootKey() [32]byte { return sha256.Sum256([]byte("the root key of the tests of session")) }

func trustSimulators() error {
	wa.SetProcessDefaults(slog.New(slog.DiscardHandler))
	return wa.SetRootKey(*keys.NewKeyPairFromPrivateKey(rootKey()).Pub)
}

// noFiles is the blob store of tests without media.
type noFiles struct{}

func (noFiles) Open(context.Context, string) (*os.File, error) { return nil, os.ErrNotExist }

func (noFiles) Scratch() string { return "" }

// pairedBench is a liveBench whose session is paired and online.
func pairedBench(t *testing.T, change ...func(*session.Deps)) (*bench, *wasim.Server) {
	t.Helper()
	b, sim := liveBench(t, change...)
	b.pairWith(sim)
	return b, sim
}

// liveBench is a bench over real whatsmeow and the simulator, started.
func liveBench(t *testing.T, change ...func(*session.Deps)) (*bench, *wasim.Server) {
	t.Helper()
	sim, err := wasim.Start(t.Context(), wasim.Config{RootKey: rootKey(), ReadDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	b := newBench(t, "", append([]func(*session.Deps){func(d *session.Deps) {
		factory, err := wa.NewFactory(t.Context(), wa.Options{
			Database: d.Store.(wa.Database), Media: noFiles{}, Log: slog.New(slog.DiscardHandler), Server: sim.Addr(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(factory.Close)
		d.Clients = func(ctx context.Context, s gateway.Session, on func(context.Context, gateway.ClientEvent) error) (session.Client, error) {
			client, err := factory.New(ctx, s, on)
			if err != nil {
				return nil, err
			}
			return client, nil
		}
	}}, change...)...)
	b.start()
	return b, sim
}

// pairWith pairs the session as an operator would: by a command, and with the code of the row.
func (b *bench) pairWith(sim *wasim.Server) {
	b.t.Helper()
	b.command(gateway.CommandConnect)
	row := b.state(gateway.SessionPairing, gateway.ReasonScanQR)
	for row.PairingCode == "" {
		row = b.state(gateway.SessionPairing, gateway.ReasonScanQR)
	}
	if err := sim.Pair(b.t.Context(), row.PairingCode, hubNumber); err != nil {
		b.t.Fatal(err)
	}
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

// send sends body to bob when the session is online.
func (b *bench) send(body string) error {
	b.t.Helper()
	var fence gateway.Fence
	// The state is stored first, and the lanes may not have been closed yet for the connection before.
	eventually(b.t, "an online session and open lanes", func() bool {
		b.lanes.mu.Lock()
		defer b.lanes.mu.Unlock()
		var open bool
		fence, open = b.lanes.open[b.tenant.Key]
		return open && b.sup.Online(b.tenant.Key)
	})
	sum := sha256.Sum256([]byte(body))
	m := &gateway.Message{ID: body, Type: gateway.TypeText, To: bob, Text: body, WhatsAppID: "3EB0" + strings.ToUpper(hex.EncodeToString(sum[:9]))}
	_, err := b.sup.Send(b.t.Context(), fence, m)
	return err
}

// delivers sends body to bob, whose phone must show it.
func (b *bench) delivers(sim *wasim.Server, body string, nth int) {
	b.t.Helper()
	if err := b.send(body); err != nil {
		b.t.Fatalf("send: %v", err)
	}
	shown, err := sim.WaitShown(b.t.Context(), bob, nth)
	if err != nil || shown[nth-1].Text != body {
		b.t.Fatalf("bob's phone shows %+v, %v", shown, err)
	}
}

func (b *bench) fault(sim *wasim.Server, f wasim.Fault) {
	b.t.Helper()
	if _, err := sim.Script(f); err != nil {
		b.t.Fatal(err)
	}
}

func TestBrokenConnectionsAreRestored(t *testing.T) {
	t.Parallel()
	b, sim := pairedBench(t)
	b.delivers(sim, "before", 1)
	for i, c := range []struct {
		name   string
		faults []wasim.Fault
		reason gateway.SessionReason
	}{
		{"drop", []wasim.Fault{{Kind: wasim.Drop}}, gateway.ReasonConnectionLost},
		{"stream error 503", []wasim.Fault{{Kind: wasim.StreamError, Code: 503}}, gateway.ReasonConnectionLost},
		{"stream error 515", []wasim.Fault{{Kind: wasim.StreamError, Code: 515}}, gateway.ReasonServerError},
		{"unknown stream error", []wasim.Fault{{Kind: wasim.StreamError, Code: 599}}, gateway.ReasonServerError},
		{"login refused for now", []wasim.Fault{{Kind: wasim.LoginFailure, Code: 503}, {Kind: wasim.Drop}}, gateway.ReasonConnectionLost},
		{"login refused", []wasim.Fault{{Kind: wasim.LoginFailure, Code: 409}, {Kind: wasim.Drop}}, gateway.ReasonConnectFailed},
		{"upgrade refused", []wasim.Fault{{Kind: wasim.UpgradeError, Code: 503, Times: 2}, {Kind: wasim.Drop}}, gateway.ReasonConnectFailed},
	} {
		for _, f := range c.faults {
			b.fault(sim, f)
		}
		b.state(gateway.SessionOffline, c.reason)
		b.state(gateway.SessionOnline, gateway.ReasonConnected)
		b.delivers(sim, c.name, i+2)
	}
}

func TestSessionsThatEndSayWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults []wasim.Fault
		state  gateway.SessionState
		reason gateway.SessionReason
	}{
		"device removed": {[]wasim.Fault{{Kind: wasim.StreamError, Code: 401}}, gateway.SessionLoggedOut, gateway.ReasonDeviceRemoved},
		"login 401":      {[]wasim.Fault{{Kind: wasim.LoginFailure, Code: 401}, {Kind: wasim.Drop}}, gateway.SessionLoggedOut, gateway.ReasonDeviceRemoved},
		"login 403":      {[]wasim.Fault{{Kind: wasim.LoginFailure, Code: 403}, {Kind: wasim.Drop}}, gateway.SessionLoggedOut, gateway.ReasonRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, sim := pairedBench(t)
			for _, f := range c.faults {
				b.fault(sim, f)
			}
			row := b.state(c.state, c.reason)
			if row.JID != "" || row.Reason.Hint() == "" {
				t.Errorf("the row is %+v", row)
			}
			eventually(t, "closed lanes", func() bool { return !b.lanes.isOpen(b.tenant.Key) })
			b.pairWith(sim) // pairs anew
			b.delivers(sim, "after", 1)
		})
	}
}

func TestReplacedByTheSimulatorTwiceHolds(t *testing.T) {
	t.Parallel()
	b, sim := pairedBench(t)
	replaced := wasim.Fault{Kind: wasim.StreamError, Conflict: wasim.ConflictReplaced}
	b.fault(sim, replaced)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	b.fault(sim, replaced)
	b.state(gateway.SessionReplaced, gateway.ReasonReplaced)
	b.command(gateway.CommandConnect)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	b.delivers(sim, "after", 1)
}

func TestTemporaryBanOfTheSimulatorEnds(t *testing.T) {
	t.Parallel()
	b, sim := pairedBench(t)
	b.fault(sim, wasim.Fault{Kind: wasim.LoginFailure, Code: 402, Expire: time.Second})
	b.fault(sim, wasim.Fault{Kind: wasim.Drop})
	row := b.state(gateway.SessionBanned, gateway.ReasonTemporaryBan)
	if row.Restriction.Kind != gateway.RestrictionBan || row.Restriction.Until.IsZero() {
		t.Errorf("the restriction is %+v", row.Restriction)
	}
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	b.delivers(sim, "after", 1)
}

func TestOutdatedClientHolds(t *testing.T) {
	t.Parallel()
	b, sim := pairedBench(t)
	b.fault(sim, wasim.Fault{Kind: wasim.LoginFailure, Code: 405})
	b.fault(sim, wasim.Fault{Kind: wasim.Drop})
	b.state(gateway.SessionOutdated, gateway.ReasonClientOutdated)
	b.command(gateway.CommandConnect)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

// TestSendSurvivesALostConnection: whatsmeow waits for the next one for five seconds, which a machine that stands still may miss, but not
// each time.
func TestSendSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	const tries = 3
	b, sim := pairedBench(t)
	b.delivers(sim, "warm", 1)
	for try := 1; ; try++ {
		b.fault(sim, wasim.Fault{Kind: wasim.DropAfterAccept, To: bob})
		err := b.send(fmt.Sprint("bridged ", try))
		shown, failed := sim.Shown(bob), new(gateway.SendError)
		if len(shown) != 1+try || len(shown[try].Decrypted) != 1 {
			t.Fatalf("bob's phone shows %+v", shown)
		}
		if err == nil {
			return
		}
		if !errors.As(err, &failed) || failed.Cause != gateway.CauseDisconnected || try == tries {
			t.Fatalf("send: %v", err)
		}
	}
}

func TestReceiptsReachTheLedgerWithBothNames(t *testing.T) {
	t.Parallel()
	b, sim := pairedBench(t)
	b.delivers(sim, "hello", 1)
	eventually(t, "a read receipt", func() bool {
		b.receipts.mu.Lock()
		defer b.receipts.mu.Unlock()
		for _, r := range b.receipts.got {
			if r.Kind == gateway.ReceiptRead && r.SenderAlt == gateway.UserJID(bob) {
				return len(b.receipts.own) == 2
			}
		}
		return false
	})
}

func TestLogoutOnRequestUnlinksTheDevice(t *testing.T) {
	t.Parallel()
	b, sim := pairedBench(t)
	b.command(gateway.CommandLogout)
	b.state(gateway.SessionUnpaired, gateway.ReasonLogoutByUser)
	if err := sim.WaitConnected(t.Context(), hubNumber, false); err != nil {
		t.Error(err)
	}
	b.pairWith(sim)
	b.delivers(sim, "after", 1)
}

func TestSessionIsRestoredByTheNextProcess(t *testing.T) {
	t.Parallel()
	var deps session.Deps
	b, sim := pairedBench(t, func(d *session.Deps) { deps = *d })
	b.stop()
	row := b.state(gateway.SessionOffline, gateway.ReasonShutdown)
	if row.JID == "" {
		t.Errorf("after the stop: %+v", row)
	}
	if err := sim.WaitConnected(t.Context(), hubNumber, false); err != nil {
		t.Error(err)
	}
	deps.Instance = "next"
	b.sup = session.New(deps)
	b.start()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	b.delivers(sim, "after", 1)
}
