package wasim_test

import (
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

func TestGroupOfPhonesAndClients(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	a, b := pairedClient(t, s, alice), pairedClient(t, s, bob)
	name, err := s.CreateNamedGroup(testCtx(t), "Friends", alice, bob, carol)
	if err != nil {
		t.Fatal(err)
	}
	jid, err := types.ParseJID(name)
	if err != nil {
		t.Fatal(err)
	}
	joined := await[*events.JoinedGroup](b, nil)
	if joined.JID != jid || joined.Name != "Friends" || len(joined.Participants) != 3 {
		t.Errorf("told of %+v", joined.GroupInfo)
	}

	first := a.sendText(jid, "hello all")
	for _, number := range []string{bob, carol} {
		if shown := waitShown(t, s, number, 1); shown[0].Text != "hello all" || shown[0].Group != name || shown[0].From != alice {
			t.Errorf("%s shows %+v", number, shown[0])
		}
	}
	got := await(b, func(m *events.Message) bool { return m.Info.ID == first.ID && m.Message.GetConversation() != "" })
	if !got.Info.IsGroup || got.Info.SenderAlt.User != alice {
		t.Errorf("b got it from %+v", got.Info.MessageSource)
	}
	for _, typ := range []types.ReceiptType{types.ReceiptTypeDelivered, types.ReceiptTypeRead} {
		receipt := func(r *events.Receipt) bool {
			return r.Type == typ && r.MessageIDs[0] == first.ID && r.Chat == jid && r.Sender.Device == 0
		}
		one := await(a, receipt)
		await(a, func(r *events.Receipt) bool { return receipt(r) && r.Sender.User != one.Sender.User })
	}
	if len(s.Shown(alice)) != 0 || len(s.SentCopies(alice)) != 1 {
		t.Errorf("the own phone shows %+v and copies %+v", s.Shown(alice), s.SentCopies(alice))
	}

	second := b.sendText(jid, "and back")
	await(a, func(m *events.Message) bool {
		return m.Info.ID == second.ID && m.Message.GetConversation() == "and back"
	})
	id, err := s.SendFrom(testCtx(t), carol, name, "from a phone")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{a, b} {
		await(c, func(m *events.Message) bool { return m.Info.ID == id && m.Message.GetConversation() == "from a phone" })
	}
	if shown := waitShown(t, s, alice, 2); shown[0].Text != "and back" || shown[1].Text != "from a phone" {
		t.Errorf("alice's phone shows %+v", shown)
	}
	a.sendText(jid, "again, on known keys")
	if shown := waitShown(t, s, carol, 3); shown[2].Text != "again, on known keys" {
		t.Errorf("carol shows %+v", shown)
	}
}

func TestClientMakesGroup(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	info, err := c.CreateGroup(testCtx(t), whatsmeow.ReqCreateGroup{Name: "Team", Participants: []types.JID{pn(bob), pn(carol)}})
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != "Team" || len(info.Participants) != 3 || info.AddressingMode != types.AddressingModeLID {
		t.Errorf("made %+v", info)
	}
	c.sendText(info.JID, "welcome")
	waitShown(t, s, carol, 1)
	groups, err := c.GetJoinedGroups(testCtx(t))
	if err != nil || len(groups) != 1 || groups[0].JID != info.JID {
		t.Errorf("joined %+v, %v", groups, err)
	}
	foreign, err := s.CreateGroup(testCtx(t), bob, carol)
	if err != nil {
		t.Fatal(err)
	}
	jid, err := types.ParseJID(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetGroupInfo(testCtx(t), jid); err == nil {
		t.Error("a stranger reads a group")
	}
	if _, err := c.SendMessage(testCtx(t), jid, textMessage("hi")); err == nil {
		t.Error("a stranger writes to a group")
	}
}

func TestPhoneInGroupAsksForAMissingSenderKey(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	info, err := c.CreateGroup(testCtx(t), whatsmeow.ReqCreateGroup{Name: "Team", Participants: []types.JID{pn(bob), pn(carol)}})
	if err != nil {
		t.Fatal(err)
	}
	// Bob's keys cannot be fetched, so he gets no sender key; Carol is unharmed.
	if _, err := s.Script(wasim.Fault{Kind: wasim.IQError, Match: "prekeys", To: bob, Code: 500}); err != nil {
		t.Fatal(err)
	}
	resp := c.sendText(info.JID, "hello")
	c.awaitReceipt(resp.ID, types.ReceiptTypeRetry)
	if shown := waitShown(t, s, bob, 1); shown[0].Text != "hello" || shown[0].Group != info.JID.String() {
		t.Errorf("bob shows %+v", shown)
	}
}
