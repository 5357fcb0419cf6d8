package wa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
	"github.com/wapro/hub/internal/wasim"
)

// ledger is the rows of messages: what a phone asks for again is looked up here and in the store.
type ledger struct {
	mu    sync.Mutex
	rows  map[string]*gateway.Message
	fails int // so many look-ups fail first
}

// withLedger lets phones ask for what the returned ledger has.
func withLedger(w *world) *ledger {
	l := &ledger{rows: map[string]*gateway.Message{}}
	w.factory.opts.Lookup = func(ctx context.Context, key int64, id string) (*gateway.Message, []byte, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.fails > 0 {
			l.fails--
			return nil, nil, errors.New("the database is locked")
		}
		if key != w.row.TenantKey {
			w.t.Errorf("asked for tenant %d", key)
		}
		content, err := w.store.SentContent(ctx, key, id)
		return l.rows[id], content, err
	}
	return l
}

// sends sends m and records that.
func (l *ledger) sends(c *live, m *gateway.Message) *gateway.Message {
	sent := c.sends(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	m.RecipientJID, m.RecipientLID = sent.RecipientJID, sent.RecipientLID
	l.rows[m.WhatsAppID] = m
	return m
}

// kinds is one message to a chat of every kind that is rebuilt in its own way.
func (w *world) kinds(to string) []*gateway.Message {
	w.t.Helper()
	media := func(name string, m gateway.Message) *gateway.Message {
		content := []byte("the content of " + name + " to " + to)
		m.ID, m.To, m.WhatsAppID, m.Text = name, to, stanzaID(name+to), "a caption"
		m.Media.SHA256, m.Media.Size = w.file(content), int64(len(content))
		return &m
	}
	return []*gateway.Message{
		text(to, "a text to "+to),
		media("image", gateway.Message{Type: gateway.TypeImage, Media: &gateway.Media{MimeType: "image/png"}}),
		media("document", gateway.Message{Type: gateway.TypeDocument, Media: &gateway.Media{MimeType: "application/pdf", Filename: "a.pdf"}}),
		reply(to, "a reply to "+to),
		previewed(to, "https://shop.example of "+to),
	}
}

// previewed is a text that shows what its link leads to.
func previewed(to, body string) *gateway.Message {
	m := text(to, body)
	m.Content = &gateway.Content{LinkPreview: true}
	m.Preview = &gateway.LinkPreview{Link: "https://shop.example", Title: "The shop", Description: "of tea", JPEG: []byte("a picture")}
	return m
}

// reply is a text that answers something of the recipient's and mentions somebody.
func reply(to, body string) *gateway.Message {
	m := text(to, body)
	m.Content = &gateway.Content{
		Target: &gateway.Target{StanzaID: "3A00", Sender: "1@lid", Type: gateway.TypeText, Text: "what was asked"}, Mentions: []string{carol},
	}
	return m
}

// heals waits until the phone of number shows every message, each decrypted once.
func (w *world) heals(number string, messages []*gateway.Message) {
	w.t.Helper()
	w.showsOnce(number, messages, 1)
}

// showsOnce waits until the phone of number shows every message, each once and decrypted at most so many times.
func (w *world) showsOnce(number string, messages []*gateway.Message, decrypted int) {
	w.t.Helper()
	shown, err := w.sim.WaitShown(w.ctx(), number, len(messages))
	if err != nil {
		w.t.Fatal(err)
	}
	byID := map[string]wasim.Shown{}
	for _, s := range shown {
		byID[s.ID] = s
	}
	for _, m := range messages {
		got, ok := byID[m.WhatsAppID]
		content := got.Text
		if m.Media != nil {
			content = got.Caption
		}
		if !ok || content != m.Text || len(got.Decrypted) > decrypted || got.MediaError != "" || got.Type != string(m.Type) {
			w.t.Errorf("%s is shown as %+v", m.ID, got)
		}
		if p := m.Preview; (p != nil) != (got.Preview != nil) || p != nil && (got.Preview.Title != p.Title || string(got.Preview.JPEG) != string(p.JPEG)) {
			w.t.Errorf("%s is shown with the preview %+v, want %+v", m.ID, got.Preview, p)
		}
		if m.Media != nil && got.SHA256 != m.Media.SHA256 {
			w.t.Errorf("%s has the content %s, want %s", m.ID, got.SHA256, m.Media.SHA256)
		}
	}
	if len(shown) != len(messages) {
		w.t.Errorf("the phone shows %d messages, want %d", len(shown), len(messages))
	}
}

// TestWaitingForThisMessageHeals: a phone that could not decrypt asks again, when this process is another one than the one that
// sent, or has sent more than whatsmeow remembers.
func TestWaitingForThisMessageHeals(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*world, *ledger, *live){
		"after a restart": func(w *world, _ *ledger, l *live) {
			l.Disconnect()
			w.online()
		},
		"after more messages than are remembered": func(w *world, _ *ledger, l *live) {
			for i := range 260 {
				l.sends(text("4915110000009", fmt.Sprintf("another message %d", i)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rows := withLedger(w)
			l := w.online()
			group, err := w.sim.CreateGroup(w.ctx(), hubNumber, bob, carol)
			if err != nil {
				t.Fatal(err)
			}
			direct, inGroup := w.kinds(bob), w.kinds(group)
			for _, to := range []string{bob, carol} {
				w.fault(wasim.Fault{Kind: wasim.Undecryptable, To: to, Times: -1, Delay: 24 * time.Hour})
			}
			for _, m := range append(append([]*gateway.Message{}, direct...), inGroup...) {
				rows.sends(l, m)
			}
			w.sim.ClearFaults()
			for _, number := range []string{bob, carol} {
				if shown := w.sim.Shown(number); len(shown) != 0 {
					t.Fatalf("the phone of %s shows %+v", number, shown)
				}
			}
			forget(w, rows, l)
			w.sim.AskAgain(bob)
			w.sim.AskAgain(carol)
			w.heals(bob, append(direct, inGroup...))
			w.heals(carol, inGroup)
		})
	}
}

// TestAPhoneThatLostItsSessionGetsANewOne: what it asks for the second time it asks for with keys.
func TestAPhoneThatLostItsSessionGetsANewOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := withLedger(w)
	l := w.online()
	messages := w.kinds(bob)
	for i, m := range messages { // one by one: a phone gives a message up that it could not read five times
		w.fault(wasim.Fault{Kind: wasim.Undecryptable, To: bob, Times: 3})
		rows.sends(l, m)
		w.heals(bob, messages[:i+1])
	}
}

func TestLookUpsThatFailAreRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := withLedger(w)
	l := w.online()
	messages := w.kinds(bob)
	w.fault(wasim.Fault{Kind: wasim.Undecryptable, To: bob, Times: len(messages), Delay: 24 * time.Hour})
	for _, m := range messages {
		rows.sends(l, m)
	}
	l.Disconnect()
	rows.fails = 4
	w.online()
	w.sim.AskAgain(bob)
	w.heals(bob, messages)
}

// TestALookUpInVainIsAskedAgain: while the database does not answer, the request is not acknowledged, and WhatsApp repeats it.
func TestALookUpInVainIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := withLedger(w)
	l := w.online()
	messages := w.kinds(bob)[:1]
	w.fault(wasim.Fault{Kind: wasim.Undecryptable, To: bob, Delay: 24 * time.Hour})
	rows.sends(l, messages[0])
	l.Disconnect()
	rows.fails = 1_000_000
	l = w.online()
	seen := l.seen()
	w.sim.AskAgain(bob)
	l.awaitKind(gateway.ClientDisconnected, seen) // after lookupPatience
	rows.mu.Lock()
	rows.fails = 0
	rows.mu.Unlock()
	if err := l.Connect(w.ctx()); err != nil {
		t.Fatal(err)
	}
	w.heals(bob, messages)
}

// TestOnlyItsRecipientGetsAMessageAgain: a stanza id alone is no reason to hand a message out.
func TestOnlyItsRecipientGetsAMessageAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := withLedger(w)
	l := w.online()
	messages := w.kinds(bob)
	for _, m := range messages {
		rows.sends(l, m)
	}
	bobLID, bobPN := recipientJID(t, messages[0].RecipientLID), recipientJID(t, messages[0].RecipientJID)
	carolLID := recipientJID(t, l.sends(text(carol, "other")).RecipientLID)
	for _, m := range messages {
		for name, jid := range map[string]types.JID{"by LID": bobLID, "by number": bobPN} {
			got := l.messageForRetry(jid, jid, m.WhatsAppID)
			want := w.sentAs(m)
			if got.String() != want.String() || got == nil {
				t.Errorf("%s %s: rebuilt %v, want %v", m.ID, name, got, want)
			}
		}
		for name, got := range map[string]*waE2E.Message{
			"a stranger":  l.messageForRetry(carolLID, carolLID, m.WhatsAppID),
			"a bystander": l.messageForRetry(carolLID, bobLID, m.WhatsAppID),
			"unknown id":  l.messageForRetry(bobLID, bobLID, "unknown"),
		} {
			if got != nil {
				t.Errorf("%s, %s: got %v", m.ID, name, got)
			}
		}
	}
	old := *messages[1]
	old.WhatsAppID = "not kept"
	rows.rows[old.WhatsAppID] = &old
	if got := l.messageForRetry(bobLID, bobLID, old.WhatsAppID); got != nil {
		t.Errorf("media that is not kept is rebuilt as %v", got)
	}
}

// sentAs is what a message must have gone out as, as far as it can be told from outside.
func (w *world) sentAs(m *gateway.Message) *waE2E.Message {
	w.t.Helper()
	content, err := w.store.SentContent(w.ctx(), w.row.TenantKey, m.WhatsAppID)
	if err != nil || (content != nil) != m.Unrepeatable() {
		w.t.Fatalf("%s: kept %d bytes, %v", m.ID, len(content), err)
	}
	msg, err := contentOf(m, content, convert.Chat{})
	if err != nil {
		w.t.Fatal(err)
	}
	if m.Preview != nil && msg.GetExtendedTextMessage().GetTitle() != m.Preview.Title {
		w.t.Errorf("%s went out as %v", m.ID, msg)
	}
	if m.Media == nil {
		return msg
	}
	sum := msg.GetImageMessage().GetFileSHA256()
	if sum == nil {
		sum = msg.GetDocumentMessage().GetFileSHA256()
	}
	if len(sum) != sha256.Size || hex.EncodeToString(sum) != m.Media.SHA256 {
		w.t.Errorf("%s went out with the hash %x", m.ID, sum)
	}
	return msg
}
