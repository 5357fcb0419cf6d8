package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// bigChunk is more than any confirmation or keepalive that a client sends, and less than a message of ours: encrypted twice, for the
// recipient and for the own phone, and with at least the text in each.
const bigChunk = 300

// wire passes connections on to the simulator and tells when a message begins to arrive there.
type wire struct {
	listener net.Listener
	server   string // host:port of the simulator
	seen     chan time.Time

	mu    sync.Mutex
	conns []net.Conn
	deaf  bool // connections from now on are passed on without being looked at
	wg    sync.WaitGroup
}

func startWire(b *bench, server string) *wire {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	w := &wire{listener: listener, server: server, seen: make(chan time.Time, 1)}
	ctx := context.WithoutCancel(b.Context())
	w.wg.Go(func() { w.serve(ctx) })
	b.Cleanup(w.stop)
	return w
}

func (w *wire) addr() string { return w.listener.Addr().String() }

func (w *wire) serve(ctx context.Context) {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := new(net.Dialer).DialContext(ctx, "tcp", w.server)
		if err != nil {
			client.Close() //nolint:errcheck // it will try again
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, client, server)
		look := !w.deaf
		w.mu.Unlock()
		w.wg.Go(func() { w.pass(client, server, look) })
		w.wg.Go(func() { w.pass(server, client, false) })
	}
}

// onlyThese leaves out what connections carry that do not exist yet.
func (w *wire) onlyThese() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = true
}

func (w *wire) stop() {
	w.listener.Close() //nolint:errcheck // only listened on
	w.mu.Lock()
	for _, conn := range w.conns {
		conn.Close() //nolint:errcheck // may be closed already
	}
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *wire) pass(from, to net.Conn, look bool) {
	defer from.Close() //nolint:errcheck // may be closed already
	defer to.Close()   //nolint:errcheck // may be closed already
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if look && n >= bigChunk {
			select {
			case w.seen <- time.Now():
			default:
			}
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

// forget drops what was seen so far.
func (w *wire) forget() {
	select {
	case <-w.seen:
	default:
	}
}

// next waits for the next message.
func (w *wire) next(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case at := <-w.seen:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, errors.Join(io.ErrNoProgress, ctx.Err())
	}
}
