package wa

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// claimed is a stored message in the hand of the session's owner.
func (w *world) claimed(to, body string) *gateway.Message {
	w.t.Helper()
	m := text(to, body)
	m.TenantKey, m.TenantID, m.Priority, m.Status, m.CreatedAt = w.row.TenantKey, w.row.TenantID, gateway.PriorityNormal, gateway.StatusQueued, time.Now()
	if err := w.store.Accept(w.ctx(), []*gateway.Message{m}, nil); err != nil {
		w.t.Fatal(err)
	}
	return w.claim(m)
}

func (w *world) claim(m *gateway.Message) *gateway.Message {
	w.t.Helper()
	ticket := gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}
	claimed, err := w.store.Claim(w.ctx(), w.row.Fence(), ticket, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Begin(time.Now(), w.row.Owner)
	})
	if err != nil || claimed == nil || claimed.ID != m.ID {
		w.t.Fatalf("claimed %v, %v", claimed, err)
	}
	return claimed
}

// What one statement writes is what whatsmeow reads: sessions and identities, of a first contact, of a known one, and of a group.
func TestSignalStateIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, services.Postgres(t))
	l := w.online()
	group, err := w.sim.CreateGroup(w.ctx(), hubNumber, bob, carol)
	if err != nil {
		t.Fatal(err)
	}
	l.sends(w.claimed(bob, "first"))
	l.sends(w.claimed(bob, "next"))
	l.sends(w.claimed(group, "to both"))
	w.shows(bob, "first", "next", "to both")
	w.shows(carol, "to both")

	// Another client reads it all back, and goes on where this one was.
	l.Disconnect()
	again := w.online()
	again.sends(w.claimed(bob, "from another client"))
	w.shows(bob, "first", "next", "to both", "from another client")
	var identities, sessions int
	err = w.store.Writer().QueryRowContext(w.ctx(), `SELECT (SELECT COUNT(*) FROM whatsmeow_identity_keys WHERE our_jid = $1),
		(SELECT COUNT(*) FROM whatsmeow_sessions WHERE our_jid = $1)`, w.row.JID).Scan(&identities, &sessions)
	if err != nil || identities != 3 || sessions != 3 { // bob, carol, our own phone
		t.Errorf("%d identities and %d sessions are stored, %v", identities, sessions, err)
	}
	stock, err := w.factory.container.GetDevice(w.ctx(), recipientJID(t, w.row.JID))
	if err != nil {
		t.Fatal(err)
	}
	lid, err := again.cli.Store.LIDs.GetLIDForPN(w.ctx(), recipientJID(t, gateway.UserJID(bob)))
	if err != nil {
		t.Fatal(err)
	}
	address := lid.SignalAddress().String()
	before, err := stock.Sessions.GetSession(w.ctx(), address)
	if err != nil || before == nil {
		t.Fatalf("whatsmeow reads %v, %v", before, err)
	}

	// Without the lease, or without the claim, a ratchet does not move.
	lost := w.claimed(bob, "claimed by nobody")
	lost.Attempts++
	again.fails(lost, gateway.SendError{Cause: gateway.CauseClaimLost})
	fenced := w.claimed(bob, "fenced")
	if err := w.store.ReleaseSession(w.ctx(), w.row.Fence()); err != nil {
		t.Fatal(err)
	}
	again.fails(fenced, gateway.SendError{Cause: gateway.CauseFenced})
	after, err := stock.Sessions.GetSession(w.ctx(), address)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the session was written without lease or claim, %v", err)
	}
	w.shows(bob, "first", "next", "to both", "from another client")
}

// A claim does not wait for the disk. A database that dies before the send writes its Signal state forgets it, and then nothing goes out; once that
// is written the claim is on disk as well.
func TestClaimThatADyingDatabaseForgetsSendsNothing(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	w := newWorldOn(t, server.URL)
	for _, query := range []string{`ALTER SYSTEM SET wal_writer_delay = '10s'`, `SELECT pg_reload_conf()`} { // else it is on disk soon by itself
		if _, err := w.store.Writer().ExecContext(w.ctx(), query); err != nil {
			t.Fatal(err)
		}
	}
	l := w.online()
	l.sends(text(bob, "warm"))
	kill := func() {
		server.Kill()
		server.Start(t)
	}
	// try sends until the connections of before are gone from the pool, with which a send fails before it has written anything.
	try := func(m *gateway.Message) (gateway.Sent, error) {
		for {
			sent, err := l.Send(w.ctx(), m, holds)
			var failed *gateway.SendError
			if !errors.As(err, &failed) || failed.Cause != gateway.CauseStore || failed.OnWire {
				return sent, err
			}
		}
	}

	var forgotten *gateway.Message
	for n := 0; forgotten == nil; n++ {
		if n == 10 {
			t.Fatal("no claim was forgotten: the test shows nothing")
		}
		m := w.claimed(carol, fmt.Sprintf("forgotten %d", n))
		kill()
		stored, err := w.store.Message(w.ctx(), m.TenantKey, m.ID)
		for gateway.CodeOf(err) == gateway.CodeUnavailable {
			stored, err = w.store.Message(w.ctx(), m.TenantKey, m.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		if stored.InFlight == "" {
			forgotten = m
		}
	}
	_, err := try(forgotten)
	l.failed(err, gateway.SendError{Cause: gateway.CauseClaimLost})
	if shown := w.sim.Shown(carol); len(shown) != 0 {
		t.Fatalf("a send without a claim reached the phone: %+v", shown)
	}
	again := w.claim(forgotten)
	if _, err := try(again); err != nil {
		t.Fatal(err)
	}
	w.shows(carol, again.Text)

	// Whatever the database forgets now, the claim of what went out is not part of it.
	w.fault(wasim.Fault{Kind: wasim.WithholdAck, Times: 1})
	sent := w.claimed(bob, "on the wire")
	done := make(chan error, 1)
	go func() {
		_, err := l.Send(w.ctx(), sent, holds)
		done <- err
	}()
	w.shows(bob, "warm", sent.Text)
	kill()
	stored, err := w.store.Message(w.ctx(), sent.TenantKey, sent.ID)
	for gateway.CodeOf(err) == gateway.CodeUnavailable {
		stored, err = w.store.Message(w.ctx(), sent.TenantKey, sent.ID)
	}
	if err != nil || stored.Claim() != sent.Claim() {
		t.Errorf("the message is out and its claim is gone: %+v, %v", stored, err)
	}
	l.Disconnect()
	if err := <-done; err == nil {
		t.Error("the send succeeded without an answer")
	}
}
