package wasim_test

import (
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

const (
	alice = "4915110000001"
	bob   = "4915110000002"
	carol = "4915110000003"
)

func TestTextReachesThePhoneAndComesBackAsReceipts(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	resp := c.sendText(pn(bob), "hello")
	shown := waitShown(t, s, bob, 1)
	if shown[0].Text != "hello" || shown[0].From != alice || shown[0].ID != resp.ID || shown[0].Type != "text" {
		t.Fatalf("the phone shows %+v", shown[0])
	}
	delivered := c.awaitReceipt(resp.ID, types.ReceiptTypeDelivered)
	if delivered.Sender.Server != types.HiddenUserServer || delivered.Sender.User == bob {
		t.Errorf("the receipt comes from %s, not from a LID", delivered.Sender)
	}
	c.awaitReceipt(resp.ID, types.ReceiptTypeRead)
	c.awaitReceipt(resp.ID, types.ReceiptTypeSender)
	if copies := s.SentCopies(alice); len(copies) != 1 || copies[0].To != bob || copies[0].Text != "hello" {
		t.Errorf("the own phone has %+v", copies)
	}
	for _, text := range []string{"two", "three"} {
		c.sendText(pn(bob), text)
	}
	if shown := waitShown(t, s, bob, 3); shown[2].Text != "three" || len(shown[2].Decrypted) != 1 {
		t.Errorf("the phone shows %+v", shown)
	}
}

func TestPhoneSendsTextToClient(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	for _, text := range []string{"one", "two", "three"} {
		id, err := s.SendFrom(testCtx(t), bob, alice, text)
		if err != nil {
			t.Fatal(err)
		}
		msg := await(c, func(m *events.Message) bool { return m.Info.ID == id })
		if msg.Message.GetConversation() != text || msg.Info.SenderAlt.User != bob || msg.Info.IsFromMe {
			t.Fatalf("got %+v", msg.Info)
		}
	}
}

func TestTwoClientsTalk(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	a, b := pairedClient(t, s, alice), pairedClient(t, s, bob)
	first := a.sendText(pn(bob), "from a")
	got := await(b, func(m *events.Message) bool { return m.Info.ID == first.ID })
	if got.Message.GetConversation() != "from a" || got.Info.SenderAlt.User != alice {
		t.Errorf("b got %q from %+v", got.Message.GetConversation(), got.Info.MessageSource)
	}
	a.awaitReceipt(first.ID, types.ReceiptTypeInactive) // b's companion
	a.awaitReceipt(first.ID, types.ReceiptTypeDelivered)
	reply := b.sendText(got.Info.Sender.ToNonAD(), "from b")
	back := await(a, func(m *events.Message) bool { return m.Info.ID == reply.ID })
	if back.Message.GetConversation() != "from b" {
		t.Errorf("a got %q", back.Message.GetConversation())
	}
	if shown := waitShown(t, s, alice, 1); shown[0].Text != "from b" {
		t.Errorf("a's phone shows %+v", shown)
	}
}

func TestNewCompanionIsReachedByTheNextMessage(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	a := pairedClient(t, s, alice)
	a.sendText(pn(bob), "before") // a now caches bob's devices: the phone alone
	b := pairedClient(t, s, bob)
	a.sendText(pn(bob), "tells the client that its list is old")
	last := a.sendText(pn(bob), "after")
	await(b, func(m *events.Message) bool { return m.Info.ID == last.ID })
}

func TestCompanionSeesWhatItsPhoneSends(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	id, err := s.SendFrom(testCtx(t), alice, bob, "typed on the phone")
	if err != nil {
		t.Fatal(err)
	}
	msg := await(c, func(m *events.Message) bool { return m.Info.ID == id })
	if !msg.Info.IsFromMe || msg.Message.GetConversation() != "typed on the phone" || msg.Info.RecipientAlt.User != bob {
		t.Errorf("the companion got %+v", msg.Info.MessageSource)
	}
	if shown := waitShown(t, s, bob, 1); shown[0].From != alice {
		t.Errorf("bob's phone shows %+v", shown[0])
	}
}

func TestNoteToSelfIsShown(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	c.sendText(pn(alice), "remember the milk")
	if shown := waitShown(t, s, alice, 1); shown[0].Text != "remember the milk" {
		t.Errorf("the phone shows %+v", shown[0])
	}
}

func TestSecondSendOfAnIDIsDecryptedButShownOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	extra := whatsmeow.SendRequestExtra{ID: "3EB0AAAAAAAAAAAAAAAA"}
	for range 2 {
		if _, err := c.SendMessage(testCtx(t), pn(bob), textMessage("once"), extra); err != nil {
			t.Fatal(err)
		}
	}
	shown := s.Shown(bob)
	if len(shown) != 1 || len(shown[0].Decrypted) != 2 {
		t.Errorf("the phone shows %+v", shown)
	}
	c.awaitCount(2, func(e any) bool {
		r, ok := e.(*events.Receipt)
		return ok && r.Type == types.ReceiptTypeDelivered && r.MessageIDs[0] == extra.ID
	})
}

func TestIsOnWhatsApp(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	got, err := c.IsOnWhatsApp(testCtx(t), []string{"+" + bob, "+12025550101", "+5511987654321"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 3 && (!got[2].IsIn || got[2].PhoneNumber != pn("551187654321")) {
		t.Errorf("a number with two forms: %+v", got[2])
	}
	if len(got) != 3 || !got[0].IsIn || got[0].Query != "+"+bob || got[0].PhoneNumber != pn(bob) || got[0].JID.Server != types.HiddenUserServer {
		t.Errorf("a number on WhatsApp: %+v", got)
	}
	if got[1].IsIn || got[1].Query != "+12025550101" {
		t.Errorf("a number that is not on WhatsApp: %+v", got[1])
	}
}

func TestPhoneAsksAgainForWhatItCannotDecrypt(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	c.sendText(pn(bob), "one")
	lid, err := c.Store.LIDs.GetLIDForPN(testCtx(t), pn(bob))
	if err != nil {
		t.Fatal(err)
	}
	address := lid.SignalAddress().String()
	old, err := c.Store.Sessions.GetSession(testCtx(t), address)
	if err != nil {
		t.Fatal(err)
	}
	c.sendText(pn(bob), "two")
	// The client's ratchet is rolled back: the next message reuses a counter.
	if err := c.Store.Sessions.PutSession(testCtx(t), address, old); err != nil {
		t.Fatal(err)
	}
	resp := c.sendText(pn(bob), "three")
	c.awaitReceipt(resp.ID, types.ReceiptTypeRetry)
	shown := waitShown(t, s, bob, 3)
	if shown[2].Text != "three" || len(shown[2].Decrypted) != 1 {
		t.Errorf("the phone shows %+v", shown[2])
	}
}

func TestPhoneSendsAgainWhatTheClientCannotDecrypt(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	id, err := s.SendFrom(testCtx(t), bob, alice, "one")
	if err != nil {
		t.Fatal(err)
	}
	msg := await(c, func(m *events.Message) bool { return m.Info.ID == id })
	c.sendText(pn(bob), "so that the phone's session is settled")
	if _, err := s.SendFrom(testCtx(t), bob, alice, "two"); err != nil {
		t.Fatal(err)
	}
	await(c, func(m *events.Message) bool { return m.Message.GetConversation() == "two" })
	if err := c.Store.Sessions.DeleteSession(testCtx(t), msg.Info.Sender.SignalAddress().String()); err != nil {
		t.Fatal(err)
	}
	if id, err = s.SendFrom(testCtx(t), bob, alice, "three"); err != nil {
		t.Fatal(err)
	}
	await(c, func(m *events.Message) bool { return m.Info.ID == id && m.Message.GetConversation() == "three" })
}
