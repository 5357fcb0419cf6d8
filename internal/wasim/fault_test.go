package wasim_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

func script(t *testing.T, s *wasim.Server, f wasim.Fault) {
	t.Helper()
	if _, err := s.Script(f); err != nil {
		t.Fatal(err)
	}
}

// numbers hands out phones that no other part of a test uses.
func numbers() func() string {
	next := 4915120000000
	return func() string {
		next++
		return strconv.Itoa(next)
	}
}

func TestMessageFaults(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{ReadDelay: -1})
	c := pairedClient(t, s, alice)
	fresh := numbers()
	c.sendText(pn(fresh()), "warm up")

	// The client waits for the next connection for five seconds: a machine that stands still may miss them, but not each time.
	const tries = 3
	var lost *whatsmeow.DisconnectedError
	t.Run("a socket that drops once is survived by the client's replay", func(t *testing.T) {
		for _, kind := range []wasim.FaultKind{wasim.DropBeforeAccept, wasim.DropAfterAccept} {
			for try := 1; ; try++ {
				to := fresh()
				c.forget()
				script(t, s, wasim.Fault{Kind: kind, To: to})
				_, err := c.SendMessage(testCtx(t), pn(to), textMessage("once"))
				if errors.As(err, &lost) && try < tries && c.WaitForConnection(deadline) {
					continue
				}
				if err != nil {
					t.Fatalf("sending: %v", err)
				}
				if shown := waitShown(t, s, to, 1); len(shown) != 1 || len(shown[0].Decrypted) != 1 {
					t.Errorf("%s: the phone shows %+v", kind, shown)
				}
				break
			}
		}
	})
	t.Run("a socket that drops twice fails the send though it was delivered", func(t *testing.T) {
		for try := 1; ; try++ {
			to := fresh()
			c.forget()
			script(t, s, wasim.Fault{Kind: wasim.DropAfterAccept, To: to, Times: 2})
			_, err := c.SendMessage(testCtx(t), pn(to), textMessage("once"))
			if !errors.As(err, &lost) {
				t.Errorf("sending: %v", err)
			}
			if shown := waitShown(t, s, to, 1); len(shown[0].Decrypted) != 1 {
				t.Errorf("the phone shows %+v", shown)
			}
			if !c.WaitForConnection(deadline) {
				t.Error("the client did not come back")
			}
			left := s.Faults()
			if len(left) == 0 {
				return
			}
			if try == tries {
				t.Fatalf("still planned: %+v", left)
			}
			s.ClearFaults()
		}
	})
	t.Run("a withheld ack", func(t *testing.T) {
		to := fresh()
		script(t, s, wasim.Fault{Kind: wasim.WithholdAck, To: to})
		_, err := c.SendMessage(testCtx(t), pn(to), textMessage("once"), whatsmeow.SendRequestExtra{Timeout: 300 * time.Millisecond})
		if !errors.Is(err, whatsmeow.ErrMessageTimedOut) {
			t.Errorf("sending: %v", err)
		}
		waitShown(t, s, to, 1)
	})
	t.Run("a late ack comes after the receipt", func(t *testing.T) {
		to := fresh()
		c.forget()
		script(t, s, wasim.Fault{Kind: wasim.DelayAck, To: to, Delay: 400 * time.Millisecond})
		started := time.Now()
		resp := c.sendText(pn(to), "late")
		if took := time.Since(started); took < 400*time.Millisecond {
			t.Errorf("the ack came after %s", took)
		}
		c.awaitReceipt(resp.ID, types.ReceiptTypeDelivered)
	})
	t.Run("an ack error delivers nothing", func(t *testing.T) {
		for _, code := range []int{400, 420, 429, 463, 479, 500} {
			to := fresh()
			script(t, s, wasim.Fault{Kind: wasim.AckError, To: to, Code: code, Account: alice})
			_, err := c.SendMessage(testCtx(t), pn(to), textMessage("no"))
			if !errors.Is(err, whatsmeow.ErrServerReturnedError) || !strings.HasSuffix(err.Error(), strconv.Itoa(code)) {
				t.Errorf("sending: %v", err)
			}
			if shown := s.Shown(to); len(shown) != 0 {
				t.Errorf("the phone shows %+v", shown)
			}
			c.sendText(pn(to), "yes")
			waitShown(t, s, to, 1)
		}
	})
	t.Run("another participant hash is only a warning", func(t *testing.T) {
		to := fresh()
		script(t, s, wasim.Fault{Kind: wasim.PHashMismatch, To: to})
		c.sendText(pn(to), "one")
		c.sendText(pn(to), "two")
		waitShown(t, s, to, 2)
	})
	t.Run("a fault for another account or number does nothing", func(t *testing.T) {
		script(t, s, wasim.Fault{Kind: wasim.AckError, Account: carol, Code: 500})
		script(t, s, wasim.Fault{Kind: wasim.AckError, To: carol, Code: 500})
		c.sendText(pn(fresh()), "unharmed")
		if left := s.Faults(); len(left) != 2 {
			t.Errorf("planned: %+v", left)
		}
		s.ClearFaults()
	})
	t.Run("latency ends by itself", func(t *testing.T) {
		script(t, s, wasim.Fault{Kind: wasim.Latency, Delay: time.Millisecond, Expire: 50 * time.Millisecond})
		if planned := s.Faults(); len(planned) > 1 {
			t.Errorf("planned: %+v", planned)
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.After(time.Minute); len(s.Faults()) > 0; {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal("it is still in force")
			}
		}
		c.sendText(pn(fresh()), "unharmed")
	})
	t.Run("latency delays both ways", func(t *testing.T) {
		script(t, s, wasim.Fault{Kind: wasim.Latency, Delay: 100 * time.Millisecond})
		defer s.ClearFaults()
		to := fresh()
		started := time.Now()
		c.sendText(pn(to), "slow")
		if took := time.Since(started); took < 800*time.Millisecond { // two queries, keys and the ack: four round trips
			t.Errorf("a first contact took %s", took)
		}
	})
}

func TestQueryFaults(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{ReadDelay: -1})
	c := pairedClient(t, s, alice)
	fresh := numbers()
	c.sendText(pn(fresh()), "warm up") // from here on the own phone has a session

	t.Run("lid lookup", func(t *testing.T) {
		to := fresh()
		script(t, s, wasim.Fault{Kind: wasim.IQError, Match: "usync-lid", To: to, Code: 429})
		if _, err := c.SendMessage(testCtx(t), pn(to), textMessage("no")); !errors.Is(err, whatsmeow.ErrIQRateOverLimit) {
			t.Errorf("sending: %v", err)
		}
		c.sendText(pn(to), "yes")
	})
	t.Run("device list", func(t *testing.T) {
		to := fresh()
		script(t, s, wasim.Fault{Kind: wasim.IQError, Match: "usync-devices", To: to, Code: 503})
		if _, err := c.SendMessage(testCtx(t), pn(to), textMessage("no")); !errors.Is(err, whatsmeow.ErrIQServiceUnavailable) {
			t.Errorf("sending: %v", err)
		}
		c.sendText(pn(to), "yes")
	})
	t.Run("prekeys: the send succeeds and reaches nobody", func(t *testing.T) {
		for _, code := range []int{429, 500} {
			to := fresh()
			script(t, s, wasim.Fault{Kind: wasim.IQError, Match: "prekeys", To: to, Code: code})
			c.sendText(pn(to), "lost")
			if shown := s.Shown(to); len(shown) != 0 {
				t.Errorf("the phone shows %+v", shown)
			}
			c.sendText(pn(to), "found")
			waitShown(t, s, to, 1)
		}
	})
	t.Run("contact lookup", func(t *testing.T) {
		script(t, s, wasim.Fault{Kind: wasim.IQError, Match: "usync-contact", Code: 500})
		if _, err := c.IsOnWhatsApp(testCtx(t), []string{"+" + bob}); !errors.Is(err, whatsmeow.ErrIQInternalServerError) {
			t.Errorf("asking: %v", err)
		}
	})
	t.Run("groups", func(t *testing.T) {
		script(t, s, wasim.Fault{Kind: wasim.IQError, Match: "w:g2", Code: 500})
		if _, err := c.GetJoinedGroups(testCtx(t)); !errors.Is(err, whatsmeow.ErrIQInternalServerError) {
			t.Errorf("asking: %v", err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		to := fresh()
		script(t, s, wasim.Fault{Kind: wasim.IQSilent, Match: "usync-lid", To: to})
		ctx, cancel := context.WithCancel(testCtx(t))
		go func() {
			for tick := time.Tick(5 * time.Millisecond); len(s.Faults()) > 0 && ctx.Err() == nil; {
				<-tick
			}
			cancel() // it was asked, and is not answered
		}()
		if _, err := c.SendMessage(ctx, pn(to), textMessage("no")); !errors.Is(err, context.Canceled) {
			t.Errorf("sending: %v", err)
		}
	})
	t.Run("media connection and upload", func(t *testing.T) {
		upload := func() error {
			_, err := c.Upload(testCtx(t), bytes.Repeat([]byte{7}, 1000), whatsmeow.MediaImage)
			return err
		}
		script(t, s, wasim.Fault{Kind: wasim.IQError, Match: "media_conn", Code: 503})
		if err := upload(); !errors.Is(err, whatsmeow.ErrIQServiceUnavailable) {
			t.Errorf("uploading without a connection: %v", err)
		}
		script(t, s, wasim.Fault{Kind: wasim.UploadError, Code: 500})
		if err := upload(); err == nil || !strings.HasSuffix(err.Error(), "500") {
			t.Errorf("uploading: %v", err)
		}
		if err := upload(); err != nil {
			t.Errorf("uploading again: %v", err)
		}
	})
}

func TestStreamFaults(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)

	for name, f := range map[string]wasim.Fault{
		"drop":         {Kind: wasim.Drop, Account: alice},
		"503":          {Kind: wasim.StreamError, Account: alice, Code: 503},
		"515":          {Kind: wasim.StreamError, Account: alice, Code: 515},
		"unknown code": {Kind: wasim.StreamError, Account: alice, Code: 777},
	} {
		t.Run(name+" is followed by a reconnect", func(t *testing.T) {
			c.forget()
			script(t, s, f)
			if f.Code == 777 {
				if got := await[*events.StreamError](c, nil); got.Code != "777" {
					t.Errorf("stream error %s", got.Code)
				}
			}
			await[*events.Connected](c, nil)
		})
	}
	t.Run("replaced", func(t *testing.T) {
		c.forget()
		script(t, s, wasim.Fault{Kind: wasim.StreamError, Account: alice, Conflict: wasim.ConflictReplaced})
		await[*events.StreamReplaced](c, nil)
		if err := s.WaitConnected(testCtx(t), alice, false); err != nil {
			t.Fatal(err)
		}
		c.awaitClosed()
		c.connect()
		await[*events.Connected](c, nil)
	})
	t.Run("device removed", func(t *testing.T) {
		c.forget()
		script(t, s, wasim.Fault{Kind: wasim.StreamError, Account: alice, Code: 401})
		if got := await[*events.LoggedOut](c, nil); got.OnConnect {
			t.Errorf("logged out: %+v", got)
		}
		c.awaitClosed()
	})
}

func TestFaultsThatCannotHappenAreRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	for _, f := range []wasim.Fault{
		{},
		{Kind: "nonsense"},
		{Kind: wasim.AckError},
		{Kind: wasim.IQError},
		{Kind: wasim.LoginFailure},
		{Kind: wasim.DelayAck},
		{Kind: wasim.DelaySuccess},
		{Kind: wasim.Latency},
		{Kind: wasim.UpgradeError, Code: 200},
		{Kind: wasim.UploadError},
		{Kind: wasim.StreamError},
	} {
		if _, err := s.Script(f); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
	if left := s.Faults(); len(left) != 0 {
		t.Errorf("planned: %+v", left)
	}
}

func TestTestNumbersMisbehave(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{SlowDelay: 500 * time.Millisecond})
	c := pairedClient(t, s, alice)
	by := map[wasim.Behaviour]string{}
	for _, n := range wasim.TestNumbers() {
		parsed, err := phonenumbers.Parse("+"+n.Number, "")
		if err != nil || !phonenumbers.IsPossibleNumber(parsed) {
			t.Errorf("%s is not a possible number: %v", n.Number, err)
		}
		by[n.Behaviour] = n.Number
	}
	if _, err := c.SendMessage(testCtx(t), pn(by[wasim.NotOnWhatsApp]), textMessage("no")); err == nil {
		t.Error("a number that is not on WhatsApp got a message")
	}
	if _, err := c.SendMessage(testCtx(t), pn(by[wasim.ReachOutRestricted]), textMessage("no")); err == nil || !strings.HasSuffix(err.Error(), "463") {
		t.Errorf("reaching out: %v", err)
	}
	started := time.Now()
	slow := c.sendText(pn(by[wasim.SlowReceipts]), "slow")
	dead := c.sendText(pn(by[wasim.NeverDelivered]), "never")
	unread := c.sendText(pn(by[wasim.NeverRead]), "unread")
	normal := c.sendText(pn(bob), "normal")
	c.awaitReceipt(normal.ID, types.ReceiptTypeRead)
	c.awaitReceipt(unread.ID, types.ReceiptTypeDelivered)
	waitShown(t, s, by[wasim.SlowReceipts], 1)
	c.awaitReceipt(slow.ID, types.ReceiptTypeDelivered)
	if took := time.Since(started); took < 500*time.Millisecond {
		t.Errorf("the slow receipt came after %s", took)
	}
	c.awaitReceipt(slow.ID, types.ReceiptTypeRead)
	// Everything that would have come is older than what just came.
	if len(s.Shown(by[wasim.NeverDelivered])) != 0 {
		t.Error("the phone that is switched off shows something")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, evt := range c.seen {
		r, ok := evt.(*events.Receipt)
		if ok && (r.MessageIDs[0] == dead.ID && r.Type != types.ReceiptTypeSender || r.MessageIDs[0] == unread.ID && r.Type == types.ReceiptTypeRead) {
			t.Errorf("an unexpected receipt %+v", r)
		}
	}
}
