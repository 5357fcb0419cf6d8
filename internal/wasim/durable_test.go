package wasim_test

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

func TestMessagesWaitForAnOfflineClient(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	c.Disconnect()
	if err := s.WaitConnected(testCtx(t), alice, false); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, text := range []string{"one", "two", "three"} {
		id, err := s.SendFrom(testCtx(t), bob, alice, text)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if s.Pending(alice) < 3 {
		t.Errorf("%d stanzas wait", s.Pending(alice))
	}
	c.forget()
	c.connect()
	if done := await[*events.OfflineSyncCompleted](c, nil); done.Count < 3 {
		t.Errorf("%d stanzas announced", done.Count)
	}
	for _, id := range ids {
		await(c, func(m *events.Message) bool { return m.Info.ID == id })
	}
	waitPending(t, s, alice, 0)
}

// waitPending polls until n stanzas wait for number's companions.
func waitPending(t *testing.T, s *wasim.Server, number string, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); s.Pending(number) != n; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%d stanzas still wait for %s", s.Pending(number), number)
		}
	}
}

func TestReceiptTheClientRefusedComesAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{ReadDelay: -1})
	c := pairedClient(t, s, alice)
	c.SynchronousAck = true
	refused := make(chan string, 8)
	handler := c.AddEventHandlerWithSuccessStatus(func(evt any) bool {
		if r, ok := evt.(*events.Receipt); ok && r.Type == types.ReceiptTypeDelivered {
			refused <- r.MessageIDs[0]
			return false
		}
		return true
	})
	resp := c.sendText(pn(bob), "hello")
	select {
	case <-refused:
	case <-time.After(deadline):
		t.Fatal("no receipt")
	}
	c.Disconnect()
	c.RemoveEventHandler(handler)
	c.forget()
	c.connect()
	c.awaitReceipt(resp.ID, types.ReceiptTypeDelivered)
	waitPending(t, s, alice, 0)
}

func TestStateSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, wasim.Config{Dir: dir})
	c := pairedClient(t, s, alice)
	c.sendText(pn(bob), "before")
	group, err := s.CreateGroup(testCtx(t), alice, bob)
	if err != nil {
		t.Fatal(err)
	}
	waitPending(t, s, alice, 0)
	c.Disconnect()
	id, err := s.SendFrom(testCtx(t), bob, alice, "waits")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = startServer(t, wasim.Config{Dir: dir})
	if shown := s.Shown(bob); len(shown) != 1 || shown[0].Text != "before" || len(shown[0].Decrypted) != 1 {
		t.Errorf("the phone shows %+v", shown)
	}
	again := c.reopen(s)
	again.connect()
	await(again, func(m *events.Message) bool { return m.Info.ID == id && m.Message.GetConversation() == "waits" })
	again.sendText(pn(bob), "after") // on the session that was made before
	if shown := waitShown(t, s, bob, 2); shown[1].Text != "after" {
		t.Errorf("the phone shows %+v", shown)
	}
	jid, err := types.ParseJID(group)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := again.GetGroupInfo(testCtx(t), jid); err != nil || len(info.Participants) != 2 {
		t.Errorf("the group is %+v, %v", info, err)
	}
}

// A copy of the files taken at the moment of the ack is what kill -9 would leave.
func TestMessageIsOnDiskBeforeItsAck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, wasim.Config{Dir: dir, ReceiptDelay: time.Hour})
	c := pairedClient(t, s, alice)
	for range 3 {
		resp := c.sendText(pn(bob), "durable")
		copied := t.TempDir()
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if filepath.Ext(f.Name()) == ".db-shm" {
				continue // rebuilt from the write-ahead log
			}
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(copied, f.Name()), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		after := startServer(t, wasim.Config{Dir: copied})
		shown := after.Shown(bob)
		if len(shown) == 0 || shown[len(shown)-1].ID != resp.ID {
			t.Fatalf("acknowledged %s, on disk is %+v", resp.ID, shown)
		}
	}
}

func TestReceiptsAreSentAfterRestart(t *testing.T) {
	t.Parallel()
	dir, delay := t.TempDir(), 1500*time.Millisecond
	s := startServer(t, wasim.Config{Dir: dir, ReadDelay: delay})
	c := pairedClient(t, s, alice)
	for {
		resp := c.sendText(pn(bob), "hello")
		c.awaitReceipt(resp.ID, types.ReceiptTypeDelivered)
		c.Disconnect()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		early := slices.ContainsFunc(c.seen, func(evt any) bool {
			r, ok := evt.(*events.Receipt)
			return ok && r.Type == types.ReceiptTypeRead && r.MessageIDs[0] == resp.ID
		})
		c.mu.Unlock()
		delay *= 3
		s = startServer(t, wasim.Config{Dir: dir, ReadDelay: delay})
		c = c.reopen(s)
		c.connect()
		if early && delay < time.Minute {
			await[*events.Connected](c, nil)
			continue // on a machine that stood still for as long as the delay
		}
		c.awaitReceipt(resp.ID, types.ReceiptTypeRead)
		return
	}
}

func TestReplayAfterRestartIsShownOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, wasim.Config{Dir: dir})
	c := pairedClient(t, s, alice)
	extra := whatsmeow.SendRequestExtra{ID: "3EB0BBBBBBBBBBBBBBBB"}
	if _, err := c.SendMessage(testCtx(t), pn(bob), textMessage("once"), extra); err != nil {
		t.Fatal(err)
	}
	c.Disconnect()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, wasim.Config{Dir: dir})
	again := c.reopen(s)
	again.connect()
	await[*events.Connected](again, nil)
	if _, err := again.SendMessage(testCtx(t), pn(bob), textMessage("once"), extra); err != nil {
		t.Fatal(err)
	}
	if shown := s.Shown(bob); len(shown) != 1 || len(shown[0].Decrypted) != 2 {
		t.Errorf("the phone shows %+v", shown)
	}
}

func TestLostConfirmationMeansOneMoreDelivery(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{ReadDelay: -1})
	c := pairedClient(t, s, alice)
	script(t, s, wasim.Fault{Kind: wasim.DropBeforeAccept, Match: "ack"}) // the ack of the delivery receipt
	resp := c.sendText(pn(bob), "hello")
	c.awaitCount(2, func(evt any) bool {
		r, ok := evt.(*events.Receipt)
		return ok && r.MessageIDs[0] == resp.ID && (r.Type == types.ReceiptTypeDelivered || r.Type == types.ReceiptTypeSender)
	})
	waitPending(t, s, alice, 0)
	if left := s.Faults(); len(left) != 0 {
		t.Errorf("still planned: %+v", left)
	}
}

// Everybody writes to everybody at once: phones are locked in one order, so nobody waits for ever, and nothing is lost.
func TestManySendersAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{Dir: t.TempDir()})
	clients := []*client{pairedClient(t, s, alice), pairedClient(t, s, bob)}
	phones := []string{carol, "4915110000004", "4915110000005"}
	group, err := s.CreateGroup(testCtx(t), alice, append([]string{bob}, phones...)...)
	if err != nil {
		t.Fatal(err)
	}
	jid, err := types.ParseJID(group)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 10
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for range rounds {
				for _, to := range []types.JID{pn(carol), pn(alice), pn(bob), jid} {
					if _, err := c.SendMessage(testCtx(t), to, textMessage("from a client")); err != nil {
						t.Errorf("sending: %v", err)
					}
				}
			}
		})
	}
	for _, phone := range phones {
		wg.Go(func() {
			for range rounds {
				for _, to := range []string{alice, bob, phones[0], group} {
					if _, err := s.SendFrom(testCtx(t), phone, to, "from a phone"); err != nil {
						t.Errorf("sending: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	// Carol: from both clients, from two other phones, and in the group from four others.
	if shown := waitShown(t, s, carol, rounds*(2+2+4)); len(shown) != rounds*(2+2+4) {
		t.Errorf("carol shows %d", len(shown))
	}
	// Alice: from bob, her own notes, from three phones, and in the group from four others.
	if shown := waitShown(t, s, alice, rounds*(2+3+4)); len(shown) != rounds*(2+3+4) {
		t.Errorf("alice shows %d", len(shown))
	}
	waitPending(t, s, alice, 0)
	waitPending(t, s, bob, 0)
}
