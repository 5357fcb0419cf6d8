package wasim_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.mau.fi/libsignal/logger"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/wasim"
)

const deadline = 2 * time.Minute // generous: pairing alone costs a second of CPU under -race

// rootKey is the private root key of every simulator here: whatsmeow has one trust anchor per process.
func rootKey() [32]byte {
	return [32]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}
}

type quietSignal struct{}

func (quietSignal) Debug(string, string)   {}
func (quietSignal) Info(string, string)    {}
func (quietSignal) Warning(string, string) {}
func (quietSignal) Error(string, string)   {}
func (quietSignal) Configure(string)       {}

func TestMain(m *testing.M) {
	var l logger.Loggable = quietSignal{}
	logger.Setup(&l)
	if os.Getenv(childDir) != "" {
		os.Exit(runChild())
	}
	whatsmeow.WACertPubKey = *keys.NewKeyPairFromPrivateKey(rootKey()).Pub
	os.Exit(m.Run())
}

func testCtx(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t testing.TB, cfg wasim.Config) *wasim.Server {
	t.Helper()
	cfg.RootKey = rootKey()
	if cfg.ReadDelay == 0 {
		cfg.ReadDelay = time.Millisecond
	}
	s, err := wasim.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the simulator: %v", err)
		}
	})
	return s
}

// client is an unmodified whatsmeow client and the events it saw.
type client struct {
	*whatsmeow.Client
	t         testing.TB
	container *sqlstore.Container
	http      *http.Client

	mu      sync.Mutex
	seen    []any
	changed chan struct{}
}

func newClient(t testing.TB, s *wasim.Server) *client {
	t.Helper()
	return newClientAt(t, s.Addr())
}

func newClientAt(t testing.TB, addr string) *client {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "client.db")+"?_pragma=foreign_keys(1)&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	container := sqlstore.NewWithDB(db, "sqlite3", nil)
	if err := container.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, container: container, changed: make(chan struct{})}
	device := container.NewDevice()
	device.Container = fewPreKeys{container}
	c.Client = whatsmeow.NewClient(device, nil)
	c.use(addr)
	t.Cleanup(func() {
		c.hangUp()
		c.http.CloseIdleConnections()
		_ = container.Close()
	})
	return c
}

// fewPreKeys makes a paired device upload 30 one-time keys instead of 812: making them is most of what pairing costs.
type fewPreKeys struct{ store.DeviceContainer }

func (f fewPreKeys) PutDevice(ctx context.Context, d *store.Device) error {
	err := f.DeviceContainer.PutDevice(ctx, d)
	if _, ok := d.PreKeys.(cappedKeys); !ok {
		d.PreKeys = cappedKeys{d.PreKeys}
	}
	return err
}

type cappedKeys struct{ store.PreKeyStore }

func (c cappedKeys) GetOrGenPreKeys(ctx context.Context, count uint32) ([]*keys.PreKey, error) {
	return c.PreKeyStore.GetOrGenPreKeys(ctx, min(count, 30))
}

// reopen makes another client of the same paired device, as after a restart of its process.
func (c *client) reopen(s *wasim.Server) *client {
	c.t.Helper()
	c.Disconnect()
	device, err := c.container.GetDevice(testCtx(c.t), *c.Store.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	device.PreKeys = cappedKeys{device.PreKeys}
	other := &client{t: c.t, container: c.container, changed: make(chan struct{})}
	other.Client = whatsmeow.NewClient(device, nil)
	other.use(s.Addr())
	c.t.Cleanup(func() {
		other.hangUp()
		other.http.CloseIdleConnections()
	})
	return other
}

// use points the client at a simulator, listens to its events and reconnects it. whatsmeow's own reconnecting is off: it
// and a send that waits for it race for a flag inside whatsmeow, which the race detector reports now and then.
func (c *client) use(addr string) {
	c.http = wasim.HTTPClient(addr)
	c.SetWebsocketHTTPClient(c.http)
	c.SetPreLoginHTTPClient(c.http)
	c.SetMediaHTTPClient(c.http)
	c.EnableAutoReconnect = false
	c.SetMaxParallelRetryReceiptHandling(1) // two at once race for the message of a group inside whatsmeow
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(cancel)
	c.AddEventHandler(func(evt any) {
		if _, ok := evt.(*events.Disconnected); ok {
			go c.reconnect(ctx)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, evt)
		close(c.changed)
		c.changed = make(chan struct{})
	})
}

// awaitClosed waits until the server has hung up. Hanging up at the same time is a race inside whatsmeow.
func (c *client) awaitClosed() {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); c.IsConnected(); <-tick.C {
		if time.Now().After(end) {
			c.t.Fatal("the server does not hang up")
		}
	}
}

// hangUp disconnects, unless the server was faster.
func (c *client) hangUp() {
	if c.IsConnected() {
		c.Disconnect()
	}
}

func (c *client) reconnect(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Connect()
		if err == nil || errors.Is(err, whatsmeow.ErrAlreadyConnected) || errors.Is(err, store.ErrDeviceDeleted) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// await waits for the first event of type T, from the position on, that matches; nil matches all.
func await[T any](c *client, match func(T) bool) T {
	c.t.Helper()
	timeout := time.After(deadline)
	for {
		c.mu.Lock()
		for _, evt := range c.seen {
			if e, ok := evt.(T); ok && (match == nil || match(e)) {
				c.mu.Unlock()
				return e
			}
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			var zero T
			c.t.Fatalf("no event %T in time", zero)
			return zero
		}
	}
}

// awaitCount waits until n events match.
func (c *client) awaitCount(n int, match func(any) bool) {
	c.t.Helper()
	timeout := time.After(deadline)
	for {
		c.mu.Lock()
		got := 0
		for _, evt := range c.seen {
			if match(evt) {
				got++
			}
		}
		changed := c.changed
		c.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			c.t.Fatalf("%d of %d events in time", got, n)
		}
	}
}

// forget drops the events seen so far.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = nil
}

func (c *client) connect() {
	c.t.Helper()
	if err := c.Connect(); err != nil {
		c.t.Fatal(err)
	}
}

// pairedClient pairs a fresh client with number and waits until it is connected.
func pairedClient(t testing.TB, s *wasim.Server, number string) *client {
	t.Helper()
	c := newClient(t, s)
	c.connect()
	qr := await[*events.QR](c, nil)
	if err := s.Pair(testCtx(t), qr.Codes[0], number); err != nil {
		t.Fatal(err)
	}
	await[*events.Connected](c, nil)
	return c
}

func pn(number string) types.JID { return types.NewJID(number, types.DefaultUserServer) }

func textMessage(text string) *waE2E.Message { return &waE2E.Message{Conversation: proto.String(text)} }

func (c *client) sendText(to types.JID, text string) whatsmeow.SendResponse {
	c.t.Helper()
	resp, err := c.SendMessage(testCtx(c.t), to, textMessage(text))
	if err != nil {
		c.t.Fatalf("sending: %v", err)
	}
	return resp
}

func (c *client) awaitReceipt(id string, typ types.ReceiptType) *events.Receipt {
	c.t.Helper()
	return await(c, func(r *events.Receipt) bool { return r.Type == typ && r.MessageIDs[0] == id })
}

func waitShown(t testing.TB, s *wasim.Server, number string, n int) []wasim.Shown {
	t.Helper()
	shown, err := s.WaitShown(testCtx(t), number, n)
	if err != nil {
		t.Fatal(err)
	}
	return shown
}
