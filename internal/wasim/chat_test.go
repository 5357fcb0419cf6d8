package wasim_test

import (
	"testing"

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
