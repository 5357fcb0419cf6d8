package wa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// receiver stores what a client hands it, after it has crashed as often as it is told to.
type receiver struct {
	w *world

	mu      sync.Mutex
	crashes map[string]int // by stanza id: how often the handler is still to crash
	crashed int
	wake    chan struct{}
}

func (r *receiver) on(ctx context.Context, e gateway.ClientEvent) error {
	if e.Kind != gateway.ClientMessage {
		return nil
	}
	m := *e.Inbound
	r.mu.Lock()
	left := r.crashes[m.StanzaID]
	if left > 0 {
		r.crashes[m.StanzaID]--
		r.crashed++
	}
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
	r.mu.Unlock()
	switch {
	case left > 1:
		panic("the handler dies")
	case left > 0:
		return errors.New("the handler gives up")
	}
	m.ID, m.TenantKey, m.ReceivedAt = uuid.Must(uuid.NewV7()).String(), r.w.row.TenantKey, m.At
	return r.w.store.ReceiveInbound(ctx, &m)
}

// life connects a client anew on the same keys, until enough is true.
func (r *receiver) life(enough func() bool) {
	r.w.t.Helper()
	client, err := r.w.factory.New(r.w.ctx(), r.w.row, r.on)
	if err != nil {
		r.w.t.Fatal(err)
	}
	defer client.Disconnect()
	if err := client.Connect(r.w.ctx()); err != nil {
		r.w.t.Fatal(err)
	}
	for {
		r.mu.Lock()
		wake := make(chan struct{})
		r.wake = wake
		r.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-wake:
		case <-r.w.ctx().Done():
			r.w.t.Fatalf("waited in vain; the handler crashed %d times", r.crashed)
		}
	}
}

// received are the texts that are stored, oldest first.
func (w *world) received() (texts []string) {
	w.t.Helper()
	for before := ""; ; {
		page, err := w.store.Inbounds(w.ctx(), w.row.TenantKey, gateway.InboundFilter{Before: before, Limit: 200})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range page {
			texts = append([]string{m.Text}, texts...)
		}
		if len(page) < 200 {
			return texts
		}
		before = page[len(page)-1].ID
	}
}

// TestAThousandCrashesAfterDecryptionLoseNothing: the handler of a message fails or panics when whatsmeow has decrypted it, whose ratchet can do so no
// second time, and the client is opened anew on the same database. What was decrypted is handed on again, until it is stored, once.
func TestAThousandCrashesAfterDecryptionLoseNothing(t *testing.T) {
	t.Parallel()
	const messages, lives = 250, 4 // each message crashes once in each life
	w := newWorld(t)
	w.pair()
	r := &receiver{w: w, crashes: map[string]int{}}
	for i := range messages {
		id, err := w.sim.SendFrom(w.ctx(), bob, hubNumber, fmt.Sprintf("message %03d", i))
		if err != nil {
			t.Fatal(err)
		}
		r.crashes[id] = lives
	}
	for life := 1; life <= lives; life++ {
		r.life(func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.crashed >= life*messages
		})
	}
	if got := w.received(); len(got) > 0 {
		t.Fatalf("%d messages were stored by handlers that crashed", len(got))
	}
	r.life(func() bool { return len(w.received()) >= messages })
	got := w.received()
	for i, text := range got {
		if want := fmt.Sprintf("message %03d", i); text != want {
			t.Fatalf("message %d is %q", i, text)
		}
	}
	if len(got) != messages || r.crashed != messages*lives {
		t.Errorf("%d messages are stored after %d crashes", len(got), r.crashed)
	}
	// Nothing comes again: what was stored was acknowledged.
	l := w.online()
	l.sends(text(bob, "still there"))
	w.shows(bob, "still there")
	if got := w.received(); len(got) != messages {
		t.Errorf("%d messages are stored now", len(got))
	}
}

// TestAMessageIsNotLostToABrokenDatabase: when it cannot be decrypted because our database fails, WhatsApp is told nothing and delivers it again. An error
// of the sender's is not taken for that.
func TestAMessageIsNotLostToABrokenDatabase(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func() string{
		"sqlite": func() string { return "" }, "postgres": func() string { return services.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := (*world)(nil)
			if database := url(); database != "" {
				w = newWorldOn(t, database)
			} else {
				w = newWorld(t)
			}
			l := w.online()
			rename := func(from, to string) {
				t.Helper()
				if _, err := w.store.Writer().ExecContext(w.ctx(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
					t.Fatal(err)
				}
			}
			for i, table := range []string{"whatsmeow_event_buffer", "whatsmeow_sessions", "whatsmeow_pre_keys"} {
				seen := l.seen()
				rename(table, "away")
				from := []string{bob, carol, "4915110000004"}[i] // whose first message needs all of them
				body := "while " + table + " is away"
				if _, err := w.sim.SendFrom(w.ctx(), from, hubNumber, body); err != nil {
					t.Fatal(err)
				}
				l.awaitKind(gateway.ClientDisconnected, seen)
				rename("away", table)
				if err := l.Connect(w.ctx()); err != nil {
					t.Fatal(err)
				}
				got, _ := l.awaitKind(gateway.ClientMessage, seen)
				if got.Inbound.Text != body || got.Inbound.Number() != from {
					t.Errorf("received %+v", got.Inbound)
				}
			}
		})
	}
}

// TestGroupsTellWhoWroteAndOwnMessagesAreNotReceived.
func TestGroupsTellWhoWroteAndOwnMessagesAreNotReceived(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	group, err := w.sim.CreateGroup(w.ctx(), bob, carol, hubNumber)
	if err != nil {
		t.Fatal(err)
	}
	send := func(from, to string, out wasim.Outgoing) string {
		t.Helper()
		id, err := w.sim.Send(w.ctx(), from, to, out)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	send(hubNumber, bob, wasim.Outgoing{Text: "typed on our own phone"})
	send(hubNumber, group, wasim.Outgoing{Text: "typed on our own phone, to the group"})
	first := send(carol, group, wasim.Outgoing{Text: "from carol"})
	send(bob, group, wasim.Outgoing{Text: "an answer", ReplyTo: first})

	got, next := l.awaitKind(gateway.ClientMessage, 0)
	if m := got.Inbound; m.Text != "from carol" || m.Chat != group || m.Number() != carol || m.StanzaID != first || !m.IsGroup() {
		t.Errorf("received %+v", m)
	}
	got, _ = l.awaitKind(gateway.ClientMessage, next)
	if m := got.Inbound; m.Text != "an answer" || m.Number() != bob || m.RefersTo != first {
		t.Errorf("received %+v", m)
	}
}

// TestFilesAreFetchedWhileWhatsAppHasThem, within their bound.
func TestFilesAreFetchedWhileWhatsAppHasThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	content := []byte("a document")
	if _, err := w.sim.Send(w.ctx(), bob, hubNumber, wasim.Outgoing{Media: &wasim.OutgoingMedia{Mimetype: "application/pdf", Data: content}}); err != nil {
		t.Fatal(err)
	}
	got, _ := l.awaitKind(gateway.ClientMessage, 0)
	fetch := func() ([]byte, error) {
		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close() //nolint:errcheck // it is read again below
		if err := l.Download(w.ctx(), got.Inbound.Type, got.Inbound.Media, file); err != nil {
			return nil, err
		}
		return os.ReadFile(file.Name())
	}
	if have, err := fetch(); err != nil || string(have) != string(content) {
		t.Errorf("fetched %q, %v", have, err)
	}
	w.sim.ForgetMedia()
	if _, err := fetch(); !errors.Is(err, &gateway.Error{Code: gateway.CodeMediaExpired}) {
		t.Errorf("of a file that is gone: %v", err)
	}
	l.Disconnect()
	_, err := fetch()
	l.failed(err, gateway.SendError{Cause: gateway.CauseOffline})

	bounded := &boundedFile{}
	bounded.written = gateway.MaxMediaBytes + sealedOverhead
	if _, err := io.Copy(bounded, strings.NewReader("x")); !errors.Is(err, errFileTooLarge) {
		t.Errorf("beyond the bound: %v", err)
	}
}
