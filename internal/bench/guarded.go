package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wa"
)

// guardedOwner holds the leases of the guarded loop.
const guardedOwner = "bench"

// serveGuarded is the bare loop on the hub's stores instead of stock sqlstore: the clients of the wa room, with the lease checked in each write
// and the proof of each send, but without queue, claim and record. It talks as serveBare does.
func serveGuarded(ctx context.Context, c *conversation) error {
	var settings bareSettings
	if err := c.hear(&settings); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	wa.SetProcessDefaults(log)
	root, err := hex.DecodeString(settings.RootKey)
	if err != nil || len(root) != 32 {
		return errors.New("the root key must be 32 bytes in hex")
	}
	if err := wa.SetRootKey([32]byte(root)); err != nil {
		return err
	}
	db, err := store.Open(ctx, settings.Source, store.Options{})
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the process ends
	factory, err := wa.NewFactory(ctx, wa.Options{Database: db, Log: log, Server: settings.Server})
	if err != nil {
		return err
	}
	defer factory.Close()
	l := &guardedLoop{talk: c, factory: factory}
	defer l.disconnect() //nolint:contextcheck // bounded by itself
	for i, number := range settings.Numbers {
		if _, err := db.CreateTenant(ctx, fmt.Sprintf("session-%d", i), ""); err != nil {
			return err
		}
		sessions, err := db.AcquireSessions(ctx, guardedOwner, time.Hour, 1)
		if err != nil || len(sessions) != 1 {
			return fmt.Errorf("acquire a session: %w", err)
		}
		if err := l.open(ctx, number, sessions[0]); err != nil {
			return fmt.Errorf("connect session %s: %w", number, err)
		}
	}
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

type guardedLoop struct {
	talk    *conversation
	factory *wa.Factory
	clients []*wa.Client
	sent    int
}

// open pairs one session and connects it.
func (l *guardedLoop) open(ctx context.Context, number string, row gateway.Session) error {
	ctx, cancel := context.WithTimeout(ctx, onlineWithin)
	defer cancel()
	events := make(chan gateway.ClientEvent, 64)
	client := func() (*wa.Client, error) {
		return l.factory.New(ctx, row, func(_ context.Context, e gateway.ClientEvent) error {
			select {
			case events <- e:
			default: // receipts, later
			}
			return nil
		})
	}
	await := func(kind gateway.ClientEventKind) (gateway.ClientEvent, error) {
		for {
			select {
			case e := <-events:
				if e.Kind == kind {
					return e, nil
				}
			case <-ctx.Done():
				return gateway.ClientEvent{}, fmt.Errorf("wait for %s: %w", kind, ctx.Err())
			}
		}
	}
	pairing, err := client()
	if err != nil {
		return err
	}
	if err := pairing.Pair(ctx, ""); err != nil {
		return err
	}
	code, err := await(gateway.ClientPairCode)
	if err != nil {
		return err
	}
	if err := l.talk.say(bareReady{Pair: code.Code, Number: number}); err != nil {
		return err
	}
	var scanned struct{}
	if err := l.talk.hear(&scanned); err != nil {
		return err
	}
	paired, err := await(gateway.ClientPaired)
	pairing.Disconnect() //nolint:contextcheck // bounded by itself
	if err != nil {
		return err
	}
	row.JID, row.LID = paired.JID, paired.LID
	live, err := client()
	if err != nil {
		return err
	}
	l.clients = append(l.clients, live)
	if err := live.Connect(ctx); err != nil {
		return err
	}
	_, err = await(gateway.ClientConnected)
	return err
}

func (l *guardedLoop) disconnect() {
	for _, client := range l.clients {
		client.Disconnect()
	}
}

// send has every session send its messages and returns how long it took until the last one was acknowledged.
func (l *guardedLoop) send(ctx context.Context, order bareOrder) (time.Duration, error) {
	messages := make([][]*gateway.Message, len(order.To))
	for i, recipients := range order.To {
		for _, to := range recipients {
			l.sent++
			messages[i] = append(messages[i], &gateway.Message{
				ID: fmt.Sprintf("m%d", l.sent), Type: gateway.TypeText, To: to, Text: order.Text, WhatsAppID: gateway.NewStanzaID(),
			})
		}
	}
	holds := func(context.Context) error { return nil } // each write asks again
	begun := time.Now()
	errs := make([]error, len(messages))
	var wg sync.WaitGroup
	for i := range messages {
		wg.Go(func() {
			for _, m := range messages[i] {
				if _, errs[i] = l.clients[i].Send(ctx, m, holds); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun), errors.Join(errs...)
}

// stores compares the bare loop on the hub's stores with the bare loop on stock sqlstore.
func stores(b *bench) {
	sim := testkit.StartSimulator(b)
	settings := bareOn(b, sim)
	settings.Numbers = bareNumbers(b.many)
	stock := startBare(b, sim, settings)
	ours := settings
	ours.Numbers, ours.Source = nil, "sqlite://"+filepath.Join(b.TempDir(), "guarded.db")
	if b.shape.postgres {
		ours.Source = services.Postgres(b)
	}
	for i := range b.many {
		ours.Numbers = append(ours.Numbers, hubNumber(i))
	}
	guarded := startLoop(b, "guarded", sim, ours)

	s := &sending{b: b}
	s.known = s.recipients(sendCase{sessions: b.many, first: true, each: contacts})
	stock.send(b, s.known)
	guarded.send(b, s.known)
	for _, c := range []sendCase{{sessions: 1, each: 2 * b.n}, {sessions: b.many, each: b.n / 2}} {
		c.each = max(c.each, contacts)
		what := "whatsmeow's stores alone, " + c.String()
		rate := row{what: what, unit: "/s", shape: b.shape.name, baseline: "stock sqlstore"}
		cost := row{what: what + ": CPU time of one", unit: " ms", shape: b.shape.name, baseline: "stock sqlstore"}
		n := float64(c.sessions * c.each)
		run := func(l bare) (perSecond, milli float64) {
			before := processUsage(b, l.pid).cpu
			took := l.send(b, s.recipients(c))
			return n / took.Seconds(), milliseconds(processUsage(b, l.pid).cpu-before) / n
		}
		for range b.pairs {
			r1, c1 := run(guarded)
			r2, c2 := run(stock)
			rate.pairs = append(rate.pairs, pair{r1, r2})
			cost.pairs = append(cost.pairs, pair{c1, c2})
		}
		b.table.add(rate)
		b.table.add(cost)
	}
}
