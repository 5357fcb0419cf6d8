package wa

import (
	"testing"
	"time"

	"go.mau.fi/whatsmeow/store/sqlstore"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// ofBulk is a text of a bulk.
func ofBulk(to, body string) *gateway.Message {
	m := text(to, body)
	m.BulkID = "spring"
	return m
}

func (w *world) optOut(name string) {
	w.t.Helper()
	list := []gateway.OptOut{{Recipient: name, Source: gateway.OptOutByAPI, CreatedAt: time.Now()}}
	if _, err := w.store.AddOptOuts(w.ctx(), w.row.TenantKey, list); err != nil {
		w.t.Fatal(err)
	}
}

// TestWhoOptedOutUnderOneNameGetsNoBulkUnderTheOther: neither who is known under both, nor who is asked about during the send. Single messages go out.
func TestWhoOptedOutUnderOneNameGetsNoBulkUnderTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	refused := gateway.SendError{Cause: gateway.CauseOptedOut}
	lid := l.sends(ofBulk(bob, "known under both")).RecipientLID
	other := l.sends(ofBulk(carol, "somebody else")).RecipientLID

	w.optOut(bob)
	l.fails(ofBulk(lid, "the number opted out"), refused)
	l.fails(ofBulk(bob, "under the same name"), refused)
	l.sends(text(lid, "a single message"))
	l.sends(ofBulk(other, "to somebody else"))
	if err := w.store.RemoveOptOut(w.ctx(), w.row.TenantKey, bob); err != nil {
		t.Fatal(err)
	}
	l.sends(ofBulk(lid, "back again"))

	w.optOut(lid)
	l.fails(ofBulk(bob, "the LID opted out"), refused)

	// Nothing is known of the number before the send: it asks whose it is.
	l.Disconnect()
	if _, err := w.store.Writer().ExecContext(w.ctx(), `DELETE FROM whatsmeow_lid_map`); err != nil {
		t.Fatal(err)
	}
	w.factory.container.LIDMap = sqlstore.NewCachedLIDMap(w.factory.db)
	l = w.online()
	l.fails(ofBulk(bob, "to a stranger"), refused)
	w.shows(bob, "known under both", "a single message", "back again")
	w.shows(carol, "somebody else", "to somebody else")
}

// TestWhoOptedOutUnderOneFormOfANumberGetsNoBulkUnderTheOther: a stop word enters what WhatsApp calls a Brazilian customer, who stands in the tenant's list
// with a ninth digit.
func TestWhoOptedOutUnderOneFormOfANumberGetsNoBulkUnderTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	const list, number = "5511987654321", "551187654321"
	w.optOut(number)
	l.fails(ofBulk(list, "to a stranger"), gateway.SendError{Cause: gateway.CauseOptedOut})
	if sent := l.sends(text(list, "a single message")); sent.RecipientJID != gateway.UserJID(number) {
		t.Errorf("it went to %s", sent.RecipientJID)
	}
	l.fails(ofBulk(list, "to a customer"), gateway.SendError{Cause: gateway.CauseOptedOut})
	w.shows(number, "a single message")
}

// TestABulkIsNotSentBlindly: while it cannot be told whether the recipient opted out, nothing goes out, and it is tried again.
func TestABulkIsNotSentBlindly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	w.fault(wasim.Fault{Kind: wasim.AckError, Code: 500, To: bob}) // would be met by whatever is sent
	if _, err := w.store.Writer().ExecContext(w.ctx(), `ALTER TABLE opt_outs RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	l.fails(ofBulk(bob, "later"), gateway.SendError{Cause: gateway.CauseStore})
	if _, err := w.store.Writer().ExecContext(w.ctx(), `ALTER TABLE away RENAME TO opt_outs`); err != nil {
		t.Fatal(err)
	}
	w.sim.ClearFaults()
	l.sends(ofBulk(bob, "later"))
	w.shows(bob, "later")
}
