package main

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/proto"
	_ "modernc.org/sqlite" // driver "sqlite"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wa"
	"github.com/wapro/hub/internal/wasim"
)

// bareSettings are what the bare loop is told first. It answers with bareReady when all its sessions are online.
type bareSettings struct {
	Server  string   `json:"server"`  // host:port of the simulator
	RootKey string   `json:"rootKey"` // hex
	Driver  string   `json:"driver"`
	Source  string   `json:"source"`  // what the driver opens; of the guarded loop: the hub's DATABASE_URL
	Conns   int      `json:"conns"`   // to the database
	Numbers []string `json:"numbers"` // one session each; those that are not paired yet are paired
}

type bareReady struct {
	// Pair is a QR code that is to be scanned before anything else is answered; empty when all are online.
	Pair   string `json:"pair,omitempty"`
	Number string `json:"number,omitempty"`
}

// bareOrder asks every session to send messages, To[session][i], in that order.
type bareOrder struct {
	To      [][]string `json:"to"`
	Text    string     `json:"text"`
	Collect bool       `json:"collect"` // instead: collect garbage and tell what is in use
}

type bareDone struct {
	Seconds float64 `json:"seconds"`
	InUse   int64   `json:"inUse"` // bytes of heap and stacks
	Error   string  `json:"error,omitempty"`
}

// serveBare is the baseline of sends and of idle sessions: whatsmeow as it comes, on its own sqlstore, all its defaults on, and one
// loop for each session that calls SendMessage for one message after the other, as the hub sends in order. It keeps no record of what
// it sent, and nothing of it survives the process. The database is as durable as the hub's and as fast as its settings allow: SQLite in WAL
// with synchronous=FULL on one connection, which is faster here than several; Postgres through a pool of the hub's size.
func serveBare(ctx context.Context, c *conversation) error {
	var settings bareSettings
	if err := c.hear(&settings); err != nil {
		return err
	}
	wa.SetProcessDefaults(slog.New(slog.DiscardHandler)) // libsignal would print
	root, err := hex.DecodeString(settings.RootKey)
	if err != nil || len(root) != 32 {
		return errors.New("the root key must be 32 bytes in hex")
	}
	if err := wa.SetRootKey([32]byte(root)); err != nil {
		return err
	}
	db, err := sql.Open(settings.Driver, settings.Source)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(settings.Conns)
	db.SetMaxIdleConns(settings.Conns)
	container := sqlstore.NewWithDB(db, settings.Driver, nil)
	if err := container.Upgrade(ctx); err != nil {
		return err
	}
	defer container.Close() //nolint:errcheck // the process ends
	l := &bareLoop{talk: c, http: wasim.HTTPClient(settings.Server), container: container}
	if err := l.connect(ctx, settings.Numbers); err != nil {
		return err
	}
	defer l.disconnect()
	if err := c.say(bareReady{}); err != nil {
		return err
	}
	for {
		var order bareOrder
		if err := c.hear(&order); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if order.Collect {
			if err := c.say(bareDone{InUse: collect()}); err != nil {
				return err
			}
			continue
		}
		took, err := l.send(ctx, order)
		done := bareDone{Seconds: took.Seconds()}
		if err != nil {
			done.Error = err.Error()
		}
		if err := c.say(done); err != nil {
			return err
		}
	}
}

type bareLoop struct {
	talk      *conversation
	http      *http.Client
	container *sqlstore.Container
	clients   []*whatsmeow.Client
}

// onlineWithin bounds the wait for one session to be paired and logged in.
const onlineWithin = 2 * time.Minute

func (l *bareLoop) connect(ctx context.Context, numbers []string) error {
	if len(numbers) == 0 {
		return nil // so that the memory of a loop without sessions is that
	}
	known, err := l.container.GetAllDevices(ctx)
	if err != nil {
		return err
	}
	devices := map[string]*store.Device{}
	for _, d := range known {
		devices[d.ID.User] = d
	}
	for _, number := range numbers {
		device := devices[number]
		if device == nil {
			device = l.container.NewDevice()
		}
		if err := l.open(ctx, number, device); err != nil {
			return fmt.Errorf("connect session %s: %w", number, err)
		}
	}
	return nil
}

// open connects one session and pairs it when its device is new.
func (l *bareLoop) open(ctx context.Context, number string, device *store.Device) error {
	ctx, cancel := context.WithTimeout(ctx, onlineWithin)
	defer cancel()
	cli := whatsmeow.NewClient(device, nil)
	cli.SetWebsocketHTTPClient(l.http)
	cli.SetPreLoginHTTPClient(l.http)
	cli.SetMediaHTTPClient(l.http)
	l.clients = append(l.clients, cli)
	qr, online := make(chan string, 1), make(chan struct{}, 1)
	handler := cli.AddEventHandler(func(event any) {
		switch e := event.(type) {
		case *events.QR:
			select {
			case qr <- e.Codes[0]:
			default:
			}
		case *events.Connected:
			select {
			case online <- struct{}{}:
			default:
			}
		}
	})
	if err := cli.ConnectContext(context.WithoutCancel(ctx)); err != nil { // the connection outlives its dial
		return err
	}
	for {
		select {
		case code := <-qr:
			if err := l.talk.say(bareReady{Pair: code, Number: number}); err != nil {
				return err
			}
			var scanned struct{}
			if err := l.talk.hear(&scanned); err != nil {
				return err
			}
		case <-online:
			go cli.RemoveEventHandler(handler)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *bareLoop) disconnect() {
	for _, cli := range l.clients {
		cli.Disconnect()
	}
}

// send has every session send its messages and returns how long it took until the last one was acknowledged.
func (l *bareLoop) send(ctx context.Context, order bareOrder) (time.Duration, error) {
	begun := time.Now()
	errs := make([]error, len(order.To))
	var wg sync.WaitGroup
	for i, recipients := range order.To {
		wg.Go(func() {
			for _, to := range recipients {
				message := &waE2E.Message{Conversation: proto.String(order.Text)}
				if _, errs[i] = l.clients[i].SendMessage(ctx, types.NewJID(to, types.DefaultUserServer), message); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun), errors.Join(errs...)
}

// collect collects garbage and returns the bytes of heap and stacks that are in use.
func collect() int64 {
	for range 2 { // the second collects what finalizers have let go
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// bare is the bare loop in its process.
type bare struct{ *child }

// bareOn is where a bare loop keeps its Signal stores: a database of its own, on the same server as the hub's or in a file beside it.
func bareOn(b *bench, sim *testkit.Simulator) bareSettings {
	s := bareSettings{Server: sim.Process.Printed("WHATSAPP_SERVER="), RootKey: sim.Process.Printed("WHATSAPP_ROOT_KEY=")}
	if b.shape.postgres {
		s.Driver, s.Source, s.Conns = "pgx", services.Postgres(b), 20
		return s
	}
	s.Driver, s.Conns, s.Source = "sqlite", 1, bareFile(filepath.Join(b.TempDir(), "bare.db"))
	return s
}

// bareOnHub has the bare loop use the Signal stores in the database of a hub that has ended, for the hub's own numbers.
func bareOnHub(b *bench, sim *testkit.Simulator, h *hub) bareSettings {
	s := bareSettings{Server: sim.Process.Printed("WHATSAPP_SERVER="), RootKey: sim.Process.Printed("WHATSAPP_ROOT_KEY=")}
	if b.shape.postgres {
		s.Driver, s.Source, s.Conns = "pgx", h.database, 20
		return s
	}
	s.Driver, s.Conns, s.Source = "sqlite", 1, bareFile(strings.TrimPrefix(h.database, "sqlite://"))
	return s
}

// bareFile is what the driver opens for a file of SQLite.
func bareFile(path string) string {
	return "file:" + path +
		"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=busy_timeout(5000)&_pragma=cache_size(-16384)"
}

// startBare starts a bare loop and has its new sessions paired.
func startBare(b *bench, sim *testkit.Simulator, settings bareSettings) bare {
	b.Helper()
	return startLoop(b, "bare", sim, settings)
}

// startLoop is startBare for a loop of that role.
func startLoop(b *bench, role string, sim *testkit.Simulator, settings bareSettings) bare {
	b.Helper()
	var ready bareReady
	l := bare{startChild(b, role, settings, &ready)}
	for ready.Pair != "" {
		sim.Scan(ready.Pair, ready.Number)
		ready = bareReady{}
		l.ask(struct{}{}, &ready)
	}
	return l
}

// send returns how long the bare loop took to send to[session][...] until all were acknowledged.
func (l bare) send(b *bench, to [][]string) time.Duration {
	b.Helper()
	var done bareDone
	l.ask(bareOrder{To: to, Text: text}, &done)
	if done.Error != "" {
		b.Fatalf("the bare loop: %s", done.Error)
	}
	return time.Duration(done.Seconds * float64(time.Second))
}
