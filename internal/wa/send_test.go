package wa

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/store"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

func TestAckErrorsAreToldByNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	for _, code := range []int{400, 420, 429, 463, 479, 500} {
		w.fault(wasim.Fault{Kind: wasim.AckError, Code: code})
		l.fails(text(bob, "refused"), gateway.SendError{Cause: gateway.CauseAck, Server: code})
	}
	for _, n := range wasim.TestNumbers() {
		if n.Behaviour == wasim.ReachOutRestricted {
			l.fails(text(n.Number, "restricted"), gateway.SendError{Cause: gateway.CauseAck, Server: 463})
		}
	}
	l.sends(text(bob, "taken"))
	w.shows(bob, "taken")
}

// bridging is how often a test tries what needs a reconnect within the five seconds for which whatsmeow waits for it: a machine that stands
// still may miss them, but not each time.
const bridging = 3

func TestLostConnectionIsBridgedByAQuickReconnect(t *testing.T) {
	t.Parallel()
	for _, kind := range []wasim.FaultKind{wasim.DropBeforeAccept, wasim.DropAfterAccept} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := w.online()
			l.reconnect.Store(true)
			for try := 1; ; try++ {
				to := bob + strconv.Itoa(try)
				warm, bridged := text(to, fmt.Sprint("warm ", try)), text(to, fmt.Sprint("bridged ", try))
				l.sendsInTheEnd(warm)
				w.fault(wasim.Fault{Kind: kind, To: to})
				_, err := l.Send(w.ctx(), bridged, holds)
				if err != nil && try < bridging {
					l.failed(err, gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true})
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				w.shows(to, warm.Text, bridged.Text)
				return
			}
		})
	}
}

func TestConnectionLostTwiceLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.reconnect.Store(true)
	for try := 1; ; try++ {
		to := bob + strconv.Itoa(try)
		w.fault(wasim.Fault{Kind: wasim.DropAfterAccept, To: to, Times: 2})
		m, from := text(to, fmt.Sprint("hello ", try)), l.seen()
		l.fails(m, gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true})
		_, from = l.awaitKind(gateway.ClientDisconnected, from)
		if len(w.sim.Faults()) > 0 && try < bridging { // there was no connection to lose a second time
			w.sim.ClearFaults()
			l.awaitKind(gateway.ClientConnected, from)
			continue
		}
		_, from = l.awaitKind(gateway.ClientDisconnected, from) // before its login: whatsmeow replays as soon as there is a socket
		l.awaitKind(gateway.ClientConnected, from)
		l.sends(m) // the attempt after it
		shown := w.sim.Shown(to)
		if len(shown) != 1 || shown[0].Text != m.Text {
			t.Errorf("the phone shows %+v, want the message once", shown)
		}
		return
	}
}

func TestLostConnectionWithoutAReconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	w.fault(wasim.Fault{Kind: wasim.DropAfterAccept, To: bob})
	begun := time.Now()
	l.fails(text(bob, "hello"), gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true})
	if took := time.Since(begun); took > deadline {
		t.Errorf("took %s", took)
	}
	w.shows(bob, "hello")
}

func TestMissingAckIsATimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.AckTimeout = 10 * time.Second })
	l := w.online()
	l.sends(text(bob, "warm"))
	w.fault(wasim.Fault{Kind: wasim.WithholdAck, To: bob})
	l.fails(text(bob, "silence"), gateway.SendError{Cause: gateway.CauseTimeout, OnWire: true})
	w.shows(bob, "warm", "silence")
}

// TestReplayIsBounded: whatsmeow's own timeout does not cover the replay after a lost connection.
func TestReplayIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.SendTimeout = 15 * time.Second })
	l := w.online()
	l.reconnect.Store(true)
	l.sends(text(bob, "warm"))
	w.fault(wasim.Fault{Kind: wasim.DropAfterAccept, To: bob})
	w.fault(wasim.Fault{Kind: wasim.WithholdAck, To: bob})
	begun := time.Now()
	l.fails(text(bob, "silence"), gateway.SendError{Cause: gateway.CauseTimeout, OnWire: true})
	if took := time.Since(begun); took > 50*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestDelayedAckIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	w.fault(wasim.Fault{Kind: wasim.DelayAck, To: bob, Delay: 200 * time.Millisecond})
	w.fault(wasim.Fault{Kind: wasim.PHashMismatch, To: bob})
	l.sends(text(bob, "slow"))
	l.sends(text(bob, "hash"))
	l.sends(text(bob, "next"))
	w.shows(bob, "slow", "hash", "next")
}

func TestSendHonoursItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.sends(text(bob, "warm"))
	w.fault(wasim.Fault{Kind: wasim.WithholdAck, To: bob})
	ctx, cancel := context.WithCancel(w.ctx())
	context.AfterFunc(ctx, func() {})
	go func() {
		_, _ = w.sim.WaitShown(ctx, bob, 2)
		cancel()
	}()
	_, err := l.Send(ctx, text(bob, "stopped"), holds)
	l.failed(err, gateway.SendError{Cause: gateway.CauseStopped, OnWire: true})
	before, cancel := context.WithCancel(w.ctx())
	cancel()
	_, err = l.Send(before, text(bob, "never begun"), holds)
	l.failed(err, gateway.SendError{Cause: gateway.CauseStopped})
	l.sends(text(bob, "next"))
	w.shows(bob, "warm", "stopped", "next")
}

// TestFailedPrekeyFetchIsNoSuccess: whatsmeow swallows it and reports a send that nobody got (I5).
func TestFailedPrekeyFetchIsNoSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	for i, code := range []int{429, 500} {
		number := []string{bob, carol}[i]
		w.fault(wasim.Fault{Kind: wasim.IQError, Match: "prekeys", Code: code})
		m := text(number, "hello "+number)
		l.fails(m, gateway.SendError{Cause: gateway.CauseNoCiphertext})
		if shown := w.sim.Shown(number); len(shown) != 0 {
			t.Fatalf("the phone shows %+v", shown)
		}
		l.sends(m)
		w.shows(number, m.Text)
	}
}

func TestFailedQueriesAreToldByNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	for i, code := range []int{429, 500, 503} {
		number := bob + strconv.Itoa(i) // whose LID is not known yet
		for _, match := range []string{"usync-contact", "usync-devices"} {
			w.fault(wasim.Fault{Kind: wasim.IQError, Match: match, Code: code})
			l.fails(text(number, "hello"), gateway.SendError{Cause: gateway.CauseIQ, Server: code})
		}
		l.sends(text(number, "hello"))
		w.shows(number, "hello")
	}
}

func TestQueryWithoutAnAnswerIsATimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.SendTimeout = 200 * time.Millisecond })
	l := w.online()
	w.fault(wasim.Fault{Kind: wasim.IQSilent, Match: "usync"})
	l.fails(text(bob, "hello"), gateway.SendError{Cause: gateway.CauseTimeout})
}

// failingStore fails writes of the Signal store below the guard.
type failingStore struct {
	store.IdentityStore
	store.SessionStore
	identities, sessions bool
}

var errDisk = errors.New("disk full")

func (s *failingStore) PutIdentity(ctx context.Context, address string, key [32]byte) error {
	if s.identities {
		return errDisk
	}
	return s.IdentityStore.PutIdentity(ctx, address, key)
}

func (s *failingStore) PutManySessions(ctx context.Context, sessions map[string][]byte) error {
	if s.sessions {
		return errDisk
	}
	return s.SessionStore.PutManySessions(ctx, sessions)
}

func TestFailedSignalStoreIsNoSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.online().sends(text(bob, "warm"))
	// A client made anew, so that no identity is remembered.
	l := w.client(w.row)
	identities := l.cli.Store.Identities.(*guardedIdentities)
	sessions := l.cli.Store.Sessions.(*guardedSessions)
	failing := &failingStore{IdentityStore: identities.IdentityStore, SessionStore: sessions.SessionStore}
	identities.IdentityStore, sessions.SessionStore, sessions.identities = failing, failing, failing
	if err := l.Connect(w.ctx()); err != nil {
		t.Fatal(err)
	}
	l.awaitKind(gateway.ClientConnected, 0)

	failing.identities = true
	l.fails(text(bob, "warm contact"), gateway.SendError{Cause: gateway.CauseStore})
	l.fails(text(carol, "first contact"), gateway.SendError{Cause: gateway.CauseStore})
	failing.identities, failing.sessions = false, true
	l.fails(text(bob, "session not stored"), gateway.SendError{Cause: gateway.CauseStore})
	failing.sessions = false
	l.sends(text(bob, "healed"))
	l.sends(text(carol, "healed too"))
	w.shows(bob, "warm", "healed")
	w.shows(carol, "healed too")
}

func TestSendWithoutTheLeaseWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	l.sends(text(bob, "warm"))
	_, err := l.Send(w.ctx(), text(bob, "fenced"), func(context.Context) error { return gateway.ErrFenced })
	l.failed(err, gateway.SendError{Cause: gateway.CauseFenced})
	// The lease is lost between the check and the write.
	_, err = l.Send(w.ctx(), text(bob, "fenced late"), func(ctx context.Context) error {
		return w.store.ReleaseSessions(ctx, "test")
	})
	l.failed(err, gateway.SendError{Cause: gateway.CauseFenced})
	_, err = l.Send(w.ctx(), text(carol, "fenced first contact"), holds)
	l.failed(err, gateway.SendError{Cause: gateway.CauseFenced})
	w.shows(bob, "warm")
	if shown := w.sim.Shown(carol); len(shown) != 0 {
		t.Errorf("carol's phone shows %+v", shown)
	}
}

func TestPanicInASendIsContained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	_, err := l.Send(w.ctx(), text(bob, "boom"), func(context.Context) error { panic("a bug") })
	l.failed(err, gateway.SendError{Cause: gateway.CauseInternal})
	l.sends(text(bob, "after"))
	w.shows(bob, "after")
}

func TestMediaArrivesAsItWasStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for name, m := range map[string]gateway.Message{
		"image":    {Type: gateway.TypeImage, Text: "a caption", Media: &gateway.Media{MimeType: "image/png"}},
		"video":    {Type: gateway.TypeVideo, Media: &gateway.Media{MimeType: "video/mp4"}},
		"audio":    {Type: gateway.TypeAudio, Media: &gateway.Media{MimeType: "audio/mpeg"}},
		"voice":    {Type: gateway.TypeAudio, Media: &gateway.Media{MimeType: "audio/ogg", Voice: true, Seconds: 2}},
		"document": {Type: gateway.TypeDocument, Text: "read", Media: &gateway.Media{MimeType: "application/pdf", Filename: "a.pdf"}},
		"empty":    {Type: gateway.TypeDocument, Media: &gateway.Media{MimeType: "text/plain", Filename: "empty.txt"}},
	} {
		body := append([]byte(name), content...)
		if name == "empty" {
			body = nil
		}
		sum := sha256.Sum256(body)
		m.ID, m.To, m.WhatsAppID = name, bob, stanzaID(name)
		m.Media.SHA256, m.Media.Size = w.file(body), int64(len(body))
		l.sends(&m)
		var got *wasim.Shown
		for _, shown := range w.sim.Shown(bob) {
			if shown.ID == m.WhatsAppID {
				got = &shown
			}
		}
		if got == nil {
			t.Fatalf("%s is not shown", name)
		}
		mimetype := m.Media.MimeType
		if m.Media.Voice {
			mimetype = "audio/ogg; codecs=opus"
		}
		if got.Type != string(m.Type) || got.Caption != m.Text || got.Filename != m.Media.Filename || got.Mimetype != mimetype ||
			got.SHA256 != hex.EncodeToString(sum[:]) || got.Size != m.Media.Size || got.Voice != m.Media.Voice || got.MediaError != "" {
			t.Errorf("%s is shown as %+v", name, *got)
		}
	}
}

func TestMediaFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	m := &gateway.Message{
		ID: "m", Type: gateway.TypeImage, To: bob, WhatsAppID: stanzaID("m"),
		Media: &gateway.Media{MimeType: "image/png", SHA256: w.file([]byte("pixels")), Size: 6},
	}
	w.fault(wasim.Fault{Kind: wasim.IQError, Match: "media_conn", Code: 503})
	l.fails(m, gateway.SendError{Cause: gateway.CauseUpload, Server: 503})
	for _, code := range []int{401, 500} {
		w.fault(wasim.Fault{Kind: wasim.UploadError, Code: code})
		l.fails(m, gateway.SendError{Cause: gateway.CauseUpload, Server: code})
	}
	lost := *m
	lost.Media = &gateway.Media{MimeType: "image/png", SHA256: stanzaID("lost"), Size: 6}
	l.fails(&lost, gateway.SendError{Cause: gateway.CauseMedia})
	changed := *m
	changed.Media = &gateway.Media{MimeType: "image/png", SHA256: w.file([]byte("original")), Size: 8}
	if err := os.WriteFile(filepath.Join(w.files, changed.Media.SHA256), []byte("damaged!"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.fails(&changed, gateway.SendError{Cause: gateway.CauseMedia})
	if shown := w.sim.Shown(bob); len(shown) != 0 {
		t.Errorf("the phone shows %+v", shown)
	}
	l.sends(m)
}

func TestGroupMessagesTellWhomTheyMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	group, err := w.sim.CreateGroup(w.ctx(), hubNumber, bob, carol)
	if err != nil {
		t.Fatal(err)
	}
	l.sends(text(bob, "warm"))
	w.fault(wasim.Fault{Kind: wasim.IQError, Match: "prekeys", Code: 500})
	sent := l.sends(text(group, "to bob alone"))
	if sent.RecipientJID != group || sent.RecipientLID != "" || len(sent.Missed) != 1 {
		t.Errorf("the proof is %+v, want carol missed", sent)
	}
	// Carol's phone sees that there was something and asks for it: whatsmeow sends it again, with the key.
	if _, err := w.sim.WaitShown(w.ctx(), carol, 1); err != nil {
		t.Error(err)
	}
	sent = l.sends(text(group, "to all"))
	if len(sent.Missed) != 0 {
		t.Errorf("missed %v", sent.Missed)
	}
	others, err := w.sim.CreateGroup(w.ctx(), hubNumber, "4915110000004", "4915110000005")
	if err != nil {
		t.Fatal(err)
	}
	w.fault(wasim.Fault{Kind: wasim.IQError, Match: "prekeys", Code: 500})
	l.fails(text(others, "to nobody"), gateway.SendError{Cause: gateway.CauseNoCiphertext, OnWire: true})
	for number, want := range map[string]string{bob: "to all", carol: "to all"} {
		shown := w.sim.Shown(number)
		if last := shown[len(shown)-1]; last.Text != want || last.Group != group {
			t.Errorf("%s shows %+v", number, last)
		}
	}
	r, _ := l.await("a member's receipt", 0, func(e gateway.ClientEvent) bool {
		return e.Receipt != nil && e.Receipt.Chat == group && e.Receipt.StanzaIDs[0] == stanzaID("to all")
	})
	if r.Receipt.Sender == group || r.Receipt.Sender == "" {
		t.Errorf("the receipt is %+v", r.Receipt)
	}
}

func TestGroupsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	foreign, err := w.sim.CreateGroup(w.ctx(), bob, carol)
	if err != nil {
		t.Fatal(err)
	}
	l.fails(text(foreign, "let me in"), gateway.SendError{Cause: gateway.CauseGroup})
	l.fails(text("120363999999999999@g.us", "anybody"), gateway.SendError{Cause: gateway.CauseGroup})
	group, err := w.sim.CreateGroup(w.ctx(), hubNumber, bob)
	if err != nil {
		t.Fatal(err)
	}
	w.fault(wasim.Fault{Kind: wasim.IQError, Match: "w:g2", Code: 429})
	l.fails(text(group, "too many"), gateway.SendError{Cause: gateway.CauseIQ, Server: 429})
}
