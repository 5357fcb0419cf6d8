package wa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/wasim"
)

// deadline bounds every wait of these tests.
const deadline = 2 * time.Minute

// rootKey is the private root key of every simulator here: whatsmeow has one trust anchor per process.
func rootKey() [32]byte { return sha256.Sum256([]byte("the root key of the tests of wa")) }

func TestMain(m *testing.M) {
	SetProcessDefaults(slog.New(slog.DiscardHandler))
	if err := SetRootKey(*keys.NewKeyPairFromPrivateKey(rootKey()).Pub); err != nil {
		panic(err)
	}
	leaks.Main(m)
}

// The numbers of these tests.
const (
	hubNumber = "4915110000001"
	bob       = "4915110000002"
	carol     = "4915110000003"
)

// world is a database, a simulator and the clients of one session.
type world struct {
	t       *testing.T
	sim     *wasim.Server
	store   *store.Store
	files   string
	factory *Factory
	row     gateway.Session
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	return newWorldOn(t, "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), change...)
}

// newWorldOn is newWorld on a database of the caller's.
func newWorldOn(t *testing.T, database string, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, files: t.TempDir()}
	var err error
	w.sim, err = wasim.Start(t.Context(), wasim.Config{RootKey: rootKey(), ReadDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.sim.Close() })
	w.store, err = store.Open(t.Context(), database, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	if _, err := w.store.CreateTenant(t.Context(), "algo", ""); err != nil {
		t.Fatal(err)
	}
	taken, err := w.store.AcquireSessions(t.Context(), "test", time.Hour, 1)
	if err != nil || len(taken) != 1 {
		t.Fatalf("took %d sessions: %v", len(taken), err)
	}
	w.row = taken[0]
	opts := Options{
		Database: w.store, Media: folder(w.files), Log: slog.New(slog.DiscardHandler), Server: w.sim.Addr(),
		PairTimings: PairTimings{Settle: 200 * time.Millisecond},
	}
	for _, f := range change {
		f(&opts)
	}
	if w.factory, err = NewFactory(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.factory.Close)
	return w
}

// folder is a blob store.
type folder string

func (f folder) Open(_ context.Context, sha256 string) (*os.File, error) {
	return os.Open(filepath.Join(string(f), sha256))
}

func (f folder) Scratch() string { return string(f) }

// file stores content and returns its hash.
func (w *world) file(content []byte) string {
	w.t.Helper()
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(w.files, name), content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

func (w *world) ctx() context.Context {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) fault(f wasim.Fault) {
	w.t.Helper()
	if _, err := w.sim.Script(f); err != nil {
		w.t.Fatal(err)
	}
}

// live is a client whose events are recorded, and that reconnects by itself when told to.
type live struct {
	*Client
	w         *world
	reconnect atomic.Bool
	refuse    atomic.Bool // receipts are not taken

	mu     sync.Mutex
	events []gateway.ClientEvent
	wake   chan struct{}
}

func (w *world) client(row gateway.Session) *live {
	w.t.Helper()
	l := &live{w: w, wake: make(chan struct{})}
	var err error
	if l.Client, err = w.factory.New(w.ctx(), row, l.on); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		l.reconnect.Store(false)
		l.Disconnect()
	})
	return l
}

func (l *live) on(_ context.Context, e gateway.ClientEvent) error {
	if e.Kind == gateway.ClientReceipt && l.refuse.Load() {
		return errors.New("the database is locked")
	}
	l.mu.Lock()
	l.events = append(l.events, e)
	close(l.wake)
	l.wake = make(chan struct{})
	l.mu.Unlock()
	if e.Kind == gateway.ClientDisconnected && l.reconnect.Load() {
		go func() { _ = l.Connect(context.Background()) }()
	}
	return nil
}

// await waits for an event that match takes, among those already seen from index on, and returns it and the index behind it.
func (l *live) await(what string, from int, match func(gateway.ClientEvent) bool) (gateway.ClientEvent, int) {
	l.w.t.Helper()
	timeout := time.After(deadline)
	for i := from; ; {
		l.mu.Lock()
		wake := l.wake
		for ; i < len(l.events); i++ {
			if e := l.events[i]; match(e) {
				l.mu.Unlock()
				return e, i + 1
			}
		}
		seen := fmt.Sprint(l.events)
		l.mu.Unlock()
		select {
		case <-wake:
		case <-timeout:
			l.w.t.Fatalf("waited for %s; saw %s", what, seen)
		}
	}
}

func (l *live) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

func (l *live) awaitKind(kind gateway.ClientEventKind, from int) (gateway.ClientEvent, int) {
	l.w.t.Helper()
	return l.await(string(kind), from, func(e gateway.ClientEvent) bool { return e.Kind == kind })
}

// pair pairs the session with hubNumber, as the session room would, and returns its row.
func (w *world) pair() gateway.Session {
	w.t.Helper()
	l := w.client(w.row)
	if err := l.Pair(w.ctx(), ""); err != nil {
		w.t.Fatal(err)
	}
	code, _ := l.awaitKind(gateway.ClientPairCode, 0)
	if until := time.Until(code.Until); until < 20*time.Second || until > time.Minute {
		w.t.Errorf("the first code is on show for %s", until)
	}
	if err := w.sim.Pair(w.ctx(), code.Code, hubNumber); err != nil {
		w.t.Fatal(err)
	}
	paired, _ := l.awaitKind(gateway.ClientPaired, 0)
	l.Disconnect()
	w.row.JID, w.row.LID = paired.JID, paired.LID
	return w.row
}

// online is a client that is paired and connected.
func (w *world) online() *live {
	w.t.Helper()
	if w.row.JID == "" {
		w.pair()
	}
	l := w.client(w.row)
	if err := l.Connect(w.ctx()); err != nil {
		w.t.Fatal(err)
	}
	l.awaitKind(gateway.ClientConnected, 0)
	return l
}

func text(to, body string) *gateway.Message {
	return &gateway.Message{ID: "m-" + body, Type: gateway.TypeText, To: to, Text: body, WhatsAppID: stanzaID(body)}
}

func stanzaID(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "3EB0" + hex.EncodeToString(sum[:9])
}

func holds(context.Context) error { return nil }

// sends sends m, which must succeed.
func (l *live) sends(m *gateway.Message) gateway.Sent {
	l.w.t.Helper()
	sent, err := l.Send(l.w.ctx(), m, holds)
	if err != nil {
		l.w.t.Fatalf("send %s: %v", m.ID, err)
	}
	return sent
}

// fails sends m, which must fail with cause.
func (l *live) fails(m *gateway.Message, want gateway.SendError) {
	l.w.t.Helper()
	_, err := l.Send(l.w.ctx(), m, holds)
	l.failed(err, want)
}

func (l *live) failed(err error, want gateway.SendError) {
	l.w.t.Helper()
	var got *gateway.SendError
	if !errors.As(err, &got) {
		l.w.t.Fatalf("the send came to %v, want %s", err, want.Cause)
	}
	if got.Cause != want.Cause || got.Server != want.Server || got.OnWire != want.OnWire {
		l.w.t.Errorf("the send came to %v; want %s (server %d, on wire %t)", got, want.Cause, want.Server, want.OnWire)
	}
}

// shows waits until the phone of number shows exactly these texts, each decrypted once.
func (w *world) shows(number string, texts ...string) {
	w.t.Helper()
	shown, err := w.sim.WaitShown(w.ctx(), number, len(texts))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(shown) != len(texts) {
		w.t.Fatalf("the phone shows %d messages, want %d: %+v", len(shown), len(texts), shown)
	}
	for i, want := range texts {
		if shown[i].Text != want || len(shown[i].Decrypted) != 1 || shown[i].ID != stanzaID(want) {
			w.t.Errorf("the phone shows %+v, want %q once", shown[i], want)
		}
	}
}

func recipientJID(t *testing.T, jid string) types.JID {
	t.Helper()
	parsed, err := types.ParseJID(jid)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
