package session_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
	"github.com/wapro/hub/internal/testkit/leaks"
)

func TestMain(m *testing.M) {
	if err := trustSimulators(); err != nil {
		panic(err)
	}
	leaks.Main(m)
}

const jid = "49151000001:3@s.whatsapp.net"

func TestPairedSessionComesOnlineAtStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	if c.row.JID != jid || c.row.Owner != "one" {
		t.Errorf("the client was made for %+v", c.row)
	}
	b.state(gateway.SessionConnecting, gateway.ReasonConnecting)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
	if !b.sup.Online(b.tenant.Key) {
		t.Error("the session does not count as online")
	}
}

func TestUnpairedSessionIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start()
	eventually(t, "an owner", func() bool {
		s, err := b.store.Session(t.Context(), b.tenant.Key)
		return err == nil && s.Owner == "one"
	})
	b.stop()
	s, err := b.store.Session(t.Context(), b.tenant.Key)
	if err != nil || s.State != gateway.SessionUnpaired || s.Owner != "" {
		t.Errorf("the session is %+v, %v", s, err)
	}
	if len(b.script.clients) != 0 {
		t.Error("a client was made for a session without a number")
	}
}

func TestNewTenantIsTakenAtOnceWhenKicked(t *testing.T) {
	t.Parallel()
	b := newBench(t, "", func(d *session.Deps) { d.Timings.Find, d.Timings.Commands = time.Hour, time.Hour })
	b.start()
	eventually(t, "the first tenant", func() bool {
		s, err := b.store.Session(t.Context(), b.tenant.Key)
		return err == nil && s.Owner == "one"
	})
	late, err := b.store.CreateTenant(t.Context(), "late", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.AddCommand(t.Context(), gateway.Command{TenantKey: late.Key, Kind: gateway.CommandConnect}); err != nil {
		t.Fatal(err)
	}
	b.sup.Kick()
	if c := b.client(); c.row.TenantID != "late" {
		t.Errorf("a client was made for %s", c.row.TenantID)
	}
}

func TestPairingShowsCodesThenLogsIn(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start()
	b.command(gateway.CommandConnect)
	c := b.client()
	wait(t, "the dial", c.connects)
	b.state(gateway.SessionPairing, gateway.ReasonScanQR)
	until := time.Now().Add(time.Minute).UTC()
	c.tell(gateway.ClientEvent{Kind: gateway.ClientPairCode, Reason: gateway.ReasonScanQR, Code: "2@x", Until: until})
	if s := b.state(gateway.SessionPairing, gateway.ReasonScanQR); s.PairingCode != "2@x" || s.PairingExpiresAt.Sub(until).Abs() > time.Millisecond {
		t.Errorf("the code on show is %q until %s", s.PairingCode, s.PairingExpiresAt)
	}
	b.command(gateway.CommandConnect) // a second one changes nothing
	c.tell(gateway.ClientEvent{Kind: gateway.ClientPaired, JID: jid, LID: "777@lid"})
	if s := b.state(gateway.SessionConnecting, gateway.ReasonConnecting); s.JID != jid || s.LID != "777@lid" || s.PairingCode != "" {
		t.Errorf("after pairing: %+v", s)
	}
	wait(t, "the end of the pairing client", c.gone)
	paired := b.client()
	if paired.row.JID != jid {
		t.Errorf("the login is for %q", paired.row.JID)
	}
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

func TestPairingThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	for _, reason := range []gateway.SessionReason{gateway.ReasonPairingTimeout, gateway.ReasonPairingFailed} {
		b := newBench(t, "")
		b.start()
		b.command(gateway.CommandConnect)
		c := b.client()
		wait(t, "the dial", c.connects)
		c.tell(gateway.ClientEvent{Kind: gateway.ClientPairFailed, Reason: reason})
		b.state(gateway.SessionUnpaired, reason)
		b.command(gateway.CommandConnect)
		wait(t, "another dial", b.client().connects)
		b.stop()
	}
}

func TestLostConnectionIsRestoredByTheSameClient(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	wait(t, "the first dial", c.connects)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	for range 3 {
		c.tell(gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonConnectionLost})
		b.state(gateway.SessionOffline, gateway.ReasonConnectionLost)
		wait(t, "another dial", c.connects)
		b.state(gateway.SessionOnline, gateway.ReasonConnected)
	}
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
}

func TestReconnectDoesNotWaitForTheSendInHand(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	release := make(chan struct{})
	b.lanes.closed = func() { <-release }
	b.start()
	c := b.client()
	wait(t, "the first dial", c.connects)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
	c.tell(gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonConnectionLost})
	wait(t, "the reconnect, while a message is in hand", c.connects)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	close(release)
	eventually(t, "lanes opened again after they were closed", func() bool {
		b.lanes.mu.Lock()
		defer b.lanes.mu.Unlock()
		return len(b.lanes.log) == 3 && b.lanes.log[1] == "close" && b.lanes.log[2] == "open"
	})
}

func TestFailedDialsBackOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	var left atomic.Int32
	left.Store(3)
	b.script.connect = func(c *scriptedClient) error {
		if left.Add(-1) >= 0 {
			return errors.New("dial tcp: connection refused")
		}
		return c.accept()
	}
	b.start()
	b.state(gateway.SessionOffline, gateway.ReasonConnectFailed)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

func TestLoginThatNeverComesIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid, func(d *session.Deps) { d.Timings.ConnectTimeout = 30 * time.Millisecond })
	var calls atomic.Int32
	b.script.connect = func(c *scriptedClient) error {
		if calls.Add(1) == 1 {
			return nil // connected, and then silence
		}
		return c.accept()
	}
	b.start()
	b.state(gateway.SessionOffline, gateway.ReasonConnectFailed)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

func TestLogoutByThePhoneHoldsUntilPairedAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	c.tell(gateway.ClientEvent{Kind: gateway.ClientLoggedOut, Reason: gateway.ReasonDeviceRemoved})
	if s := b.state(gateway.SessionLoggedOut, gateway.ReasonDeviceRemoved); s.JID != "" {
		t.Errorf("the number %s is still there", s.JID)
	}
	eventually(t, "closed lanes", func() bool { return !b.lanes.isOpen(b.tenant.Key) })
	b.command(gateway.CommandConnect)
	if next := b.client(); next.row.JID != "" {
		t.Errorf("a client with the keys of %s", next.row.JID)
	}
	b.state(gateway.SessionPairing, gateway.ReasonScanQR)
}

func TestKeysThatAreGoneMeanPairingAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.script.onMake = func(row gateway.Session) error {
		if row.JID != "" {
			return gateway.ErrNoKeys
		}
		return nil
	}
	b.start()
	b.state(gateway.SessionLoggedOut, gateway.ReasonDeviceRemoved)
}

func TestLogoutOnRequest(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	b.command(gateway.CommandLogout)
	wait(t, "the logout", c.logouts)
	if s := b.state(gateway.SessionUnpaired, gateway.ReasonLogoutByUser); s.JID != "" || s.LID != "" {
		t.Errorf("after the logout: %+v", s)
	}
	if b.lanes.isOpen(b.tenant.Key) {
		t.Error("the lanes are open")
	}
}

func TestReplacedOnceReconnectsTwiceHolds(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	c.tell(gateway.ClientEvent{Kind: gateway.ClientReplaced, Reason: gateway.ReasonReplaced})
	b.state(gateway.SessionOffline, gateway.ReasonReplaced)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	c.tell(gateway.ClientEvent{Kind: gateway.ClientReplaced, Reason: gateway.ReasonReplaced})
	b.state(gateway.SessionReplaced, gateway.ReasonReplaced)
	eventually(t, "closed lanes", func() bool { return !b.lanes.isOpen(b.tenant.Key) })
	b.command(gateway.CommandConnect)
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
}

func TestBanEndsByItself(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	until := time.Now().Add(150 * time.Millisecond).UTC()
	c.tell(gateway.ClientEvent{Kind: gateway.ClientBanned, Reason: gateway.ReasonTemporaryBan, Until: until})
	s := b.state(gateway.SessionBanned, gateway.ReasonTemporaryBan)
	if s.Restriction.Kind != gateway.RestrictionBan || s.Restriction.Until.Sub(until).Abs() > time.Millisecond || s.Restriction.Count != 1 {
		t.Errorf("the restriction is %+v", s.Restriction)
	}
	s = b.state(gateway.SessionOnline, gateway.ReasonConnected)
	if time.Now().Before(until) {
		t.Error("connected before the ban was over")
	}
	if s.Restriction != (gateway.Restriction{}) {
		t.Errorf("the restriction %+v outlived the ban", s.Restriction)
	}
}

func TestBanHoldsAcrossOwners(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	until := time.Now().Add(200 * time.Millisecond).UTC()
	b.row(func(row *gateway.Session) {
		row.State, row.Reason = gateway.SessionBanned, gateway.ReasonTemporaryBan
		row.Restriction = gateway.Restriction{Kind: gateway.RestrictionBan, Until: until}
	})
	b.start()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	if time.Now().Before(until) {
		t.Error("connected before the ban was over")
	}
}

func TestOutdatedFetchesTheVersionOnceThenHolds(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int32
	b := newBench(t, jid, func(d *session.Deps) {
		d.RefreshVersion = func(context.Context) error { fetched.Add(1); return nil }
	})
	refused := make(chan struct{}, 8)
	b.script.connect = func(c *scriptedClient) error {
		c.tell(gateway.ClientEvent{Kind: gateway.ClientOutdated, Reason: gateway.ReasonClientOutdated})
		refused <- struct{}{}
		return nil
	}
	b.start()
	wait(t, "the first login", refused)
	wait(t, "the login with the fetched version", refused)
	b.state(gateway.SessionOutdated, gateway.ReasonClientOutdated)
	b.state(gateway.SessionConnecting, gateway.ReasonConnecting)
	b.state(gateway.SessionOutdated, gateway.ReasonClientOutdated)
	b.stop()
	if n := fetched.Load(); n != 1 || len(refused) != 0 {
		t.Errorf("fetched %d times, %d further logins", n, len(refused))
	}
}

func TestReceiptIsRecordedBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	b.state(gateway.SessionOnline, gateway.ReasonConnected)
	receipt := gateway.ClientEvent{Kind: gateway.ClientReceipt, Receipt: &gateway.Receipt{Kind: gateway.ReceiptRead, StanzaIDs: []string{"A"}}}
	b.receipts.fails = 2
	if err := c.on(t.Context(), receipt); err != nil || len(b.receipts.got) != 1 {
		t.Errorf("a passing failure lost a receipt: %v, %d recorded", err, len(b.receipts.got))
	}
	if own := b.receipts.own; len(own) != 2 || own[0] != "49151000001@s.whatsapp.net" || own[1] != "777@lid" {
		t.Errorf("own names: %v", own)
	}
	b.receipts.fails = 100
	if err := c.on(t.Context(), receipt); err == nil {
		t.Error("a receipt that was not recorded would be acknowledged")
	}
}

func TestRestrictionIsKeptInTheRow(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	online := b.state(gateway.SessionOnline, gateway.ReasonConnected)
	fence := online.Fence()
	r := gateway.Restriction{Kind: gateway.RestrictionFirstContacts, Until: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond), Count: 2}
	if err := b.sup.SetRestriction(t.Context(), fence, r); err != nil {
		t.Fatal(err)
	}
	if s, err := b.store.Session(t.Context(), b.tenant.Key); err != nil || s.Restriction != r {
		t.Errorf("stored %+v, %v; want %+v", s.Restriction, err, r)
	}
	if err := b.sup.ClearRestriction(t.Context(), fence); err != nil {
		t.Fatal(err)
	}
	if s, err := b.store.Session(t.Context(), b.tenant.Key); err != nil || s.Restriction != (gateway.Restriction{}) {
		t.Errorf("stored %+v, %v; want none", s.Restriction, err)
	}
	fence.Epoch--
	if err := b.sup.SetRestriction(t.Context(), fence, r); !errors.Is(err, gateway.ErrFenced) {
		t.Errorf("an old fence: %v", err)
	}
}

// TestWhatIsHeldIsJudgedAnewWhenItsReasonChanges: the tenant's pacing, or what WhatsApp says of a restriction.
func TestWhatIsHeldIsJudgedAnewWhenItsReasonChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	c := b.client()
	wait(t, "the first dial", c.connects)
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
	log := []string{"open"}
	judged := func(why string) {
		t.Helper()
		log = append(log, "reconsider", "open") // opened again, they rest no longer
		eventually(t, why, func() bool {
			b.lanes.mu.Lock()
			defer b.lanes.mu.Unlock()
			return slices.Equal(b.lanes.log, log)
		})
	}
	b.command(gateway.CommandPacing)
	judged("another pacing")
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	c.tell(gateway.ClientEvent{Kind: gateway.ClientRestricted, Until: until})
	judged("a restriction")
	if s, err := b.store.Session(t.Context(), b.tenant.Key); err != nil || !s.Restriction.Until.Equal(until) || s.Restriction.Count != gateway.RestrictionFirm {
		t.Errorf("the restriction is %+v, %v", s.Restriction, err)
	}
	c.tell(gateway.ClientEvent{Kind: gateway.ClientRestricted})
	judged("its end")
	if s, err := b.store.Session(t.Context(), b.tenant.Key); err != nil || s.Restriction != (gateway.Restriction{}) {
		t.Errorf("the restriction is %+v, %v", s.Restriction, err)
	}
}

// TestAnotherPacingIsJudgedByTheNextOwnerToo: what was held is judged anew in steps, and a hand-over may come between.
func TestAnotherPacingIsJudgedByTheNextOwnerToo(t *testing.T) {
	t.Parallel()
	b := newBench(t, jid)
	b.start()
	wait(t, "the first dial", b.client().connects)
	eventually(t, "open lanes", func() bool { return b.lanes.isOpen(b.tenant.Key) })
	b.command(gateway.CommandPacing)
	eventually(t, "what is held is judged anew", func() bool {
		b.lanes.mu.Lock()
		defer b.lanes.mu.Unlock()
		return slices.Contains(b.lanes.log, "reconsider")
	})
	if err := b.sup.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.AcquireSessions(t.Context(), "next", time.Minute, 1); err != nil {
		t.Fatal(err)
	}
	left, err := b.store.TakeCommands(t.Context(), "next")
	if err != nil || len(left) != 1 || left[0].Kind != gateway.CommandPacing || left[0].TenantKey != b.tenant.Key {
		t.Errorf("the next owner is told %+v, %v", left, err)
	}
}
