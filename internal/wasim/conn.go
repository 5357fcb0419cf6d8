package wasim

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"google.golang.org/protobuf/proto"
)

const (
	handshakeTimeout = 20 * time.Second
	writeTimeout     = 30 * time.Second

	// A client reads a stream error or failure in one goroutine and the end of the connection in another; were the socket
	// closed at once, it could miss the reason. Restart is longer since the client itself hangs up then.
	farewell = 300 * time.Millisecond
	restart  = 2 * time.Second
)

// The bytes a client opens with: optionally the edge routing header, a 3-byte length and its data, then the version header,
// which is the prologue of the Noise handshake. The version header's third byte is the protocol, its fourth the dictionary's version.
var (
	edgeHeader    = []byte{0xED, 0x00, 0x01}       //nolint:gochecknoglobals // a constant
	versionHeader = []byte{0x57, 0x41, 0x06, 0x03} //nolint:gochecknoglobals // a constant
)

// conn is one web socket of a client. One goroutine reads, one writes, one handles stanzas in order.
type conn struct {
	srv    *Server
	ws     *websocket.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	log    *slog.Logger

	in       chan timed // frames from the reader
	noiseKey []byte     // the client's static key
	read     cipher.AEAD
	readN    uint32
	write    cipher.AEAD
	writeN   uint32

	device  *device                // after login; set before any stanza is handled
	pairing *pairing               // instead of it, while the client shows a QR code
	number  atomic.Pointer[string] // of the account, for the writer

	outMu sync.Mutex
	out   []timed
	last  time.Duration // > 0: nothing follows, close so long after out is written
	wake  chan struct{}
}

type timed struct {
	data []byte
	at   time.Time
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if f := s.faults.take(func(f *Fault) bool { return f.Kind == UpgradeError }); f != nil {
		http.Error(w, http.StatusText(f.Code), f.Code)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.log.Debug("a web socket was refused", "error", err)
		return
	}
	ws.SetReadLimit(maxFrame + 3)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	c := &conn{srv: s, ws: ws, ctx: ctx, cancel: cancel, log: s.log, in: make(chan timed, 64), wake: make(chan struct{}, 1)}
	if !s.conns.add(c) {
		c.drop()
		return
	}
	defer s.conns.remove(c)
	c.run() //nolint:contextcheck // it outlives the request and has its own context
}

func (c *conn) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.drop()
	header := make(chan []byte, 1)
	wg.Go(func() {
		defer c.cancel() // without a reader there is nothing left to do
		if err := c.readLoop(header); err != nil {
			c.log.Debug("a client went away", "error", err)
		}
	})
	payload, err := c.handshake(header)
	if err != nil {
		c.log.Debug("a handshake failed", "error", err)
		return
	}
	wg.Go(c.writeLoop)
	defer c.leave()
	if payload.GetDevicePairingData() != nil {
		err = c.startPairing(payload.GetDevicePairingData())
	} else {
		err = c.login(payload)
	}
	if err != nil {
		c.log.Debug("a login failed", "error", err)
		c.finish(farewell)
	}
	c.handleLoop()
}

// leave forgets the connection where others could find it.
func (c *conn) leave() {
	if c.device != nil {
		c.device.detach(c)
		c.srv.online.notify()
	}
	c.stopPairing()
}

// drop cuts the connection without a word.
func (c *conn) drop() {
	c.cancel()
	_ = c.ws.CloseNow() // already closed is fine
}

// finish closes the connection once everything sent so far is written and the client had time to act on it.
func (c *conn) finish(grace time.Duration) {
	c.outMu.Lock()
	c.last = grace
	c.outMu.Unlock()
	c.poke()
}

func (c *conn) ending() bool {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	return c.last > 0
}

func (c *conn) readLoop(header chan<- []byte) error {
	var fr frameReader
	gotHeader := false
	for {
		_, data, err := c.ws.Read(c.ctx)
		if err != nil {
			return fmt.Errorf("reading from a client: %w", err)
		}
		fr.feed(data)
		if !gotHeader {
			prologue, err := readHeader(&fr)
			if err != nil {
				return err
			}
			if prologue == nil {
				continue
			}
			gotHeader = true
			header <- prologue
		}
		for f := fr.next(); f != nil; f = fr.next() {
			select {
			case c.in <- timed{f, time.Now()}:
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
		}
	}
}

// readHeader takes what a client opens with, nil when more bytes are needed.
func readHeader(fr *frameReader) ([]byte, error) {
	if bytes.HasPrefix(fr.buf, edgeHeader) {
		if len(fr.buf) < 6 {
			return nil, nil
		}
		n := int(fr.buf[3])<<16 | int(fr.buf[4])<<8 | int(fr.buf[5])
		if fr.take(6+n) == nil {
			return nil, nil
		}
	}
	prologue := fr.take(len(versionHeader))
	if prologue != nil && !bytes.Equal(prologue[:3], versionHeader[:3]) {
		return nil, errors.New("the client opened with an unknown header")
	}
	return prologue, nil
}

// receive returns the next frame, after the scripted latency.
func (c *conn) receive(ctx context.Context) ([]byte, error) {
	select {
	case f := <-c.in:
		if err := sleepUntil(ctx, f.at.Add(c.latency())); err != nil {
			return nil, err
		}
		return f.data, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conn) handshake(header <-chan []byte) (*waWa6.ClientPayload, error) {
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
	defer cancel()
	var prologue []byte
	select {
	case prologue = <-header:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	hello, err := c.receive(ctx)
	if err != nil {
		return nil, err
	}
	h, reply, ephemeral, err := c.srv.noise.respond(prologue, hello)
	if err != nil {
		return nil, err
	}
	if err := c.ws.Write(ctx, websocket.MessageBinary, frame(reply)); err != nil {
		return nil, fmt.Errorf("answering the client hello: %w", err)
	}
	finish, err := c.receive(ctx)
	if err != nil {
		return nil, err
	}
	var msg waWa6.HandshakeMessage
	if err := proto.Unmarshal(finish, &msg); err != nil {
		return nil, fmt.Errorf("reading the client finish: %w", err)
	}
	if c.noiseKey, err = h.decrypt(msg.GetClientFinish().GetStatic()); err != nil {
		return nil, err
	}
	if err := h.mix(ephemeral, c.noiseKey); err != nil {
		return nil, err
	}
	raw, err := h.decrypt(msg.GetClientFinish().GetPayload())
	if err != nil {
		return nil, err
	}
	if c.read, c.write, err = h.transport(); err != nil {
		return nil, err
	}
	var payload waWa6.ClientPayload
	if err := proto.Unmarshal(raw, &payload); err != nil {
		return nil, fmt.Errorf("reading the client payload: %w", err)
	}
	return &payload, nil
}

// login admits a paired device, or says why not.
func (c *conn) login(payload *waWa6.ClientPayload) error {
	number := strconv.FormatUint(payload.GetUsername(), 10)
	if f := c.srv.faults.take(func(f *Fault) bool { return f.Kind == LoginFailure && f.forAccount(number) }); f != nil {
		c.send(f.failureNode())
		return fmt.Errorf("login of %s refused by script", number)
	}
	a, ok := c.srv.existing(number)
	var d *device
	if ok {
		d = a.device(uint16(payload.GetDevice()))
	}
	if d == nil || !bytes.Equal(d.keys.Noise, c.noiseKey) {
		c.send(waBinary.Node{Tag: "failure", Attrs: waBinary.Attrs{"reason": 401}})
		return fmt.Errorf("%s has no such device", number)
	}
	c.log = c.srv.log.With("account", number, "device", d.index)
	if f := c.srv.faults.take(func(f *Fault) bool { return f.Kind == DelaySuccess && f.forAccount(number) }); f != nil {
		if err := sleepUntil(c.ctx, time.Now().Add(f.Delay)); err != nil {
			return err
		}
	}
	c.device = d
	c.number.Store(&a.number)
	if old := d.attach(c); old != nil {
		old.send(waBinary.Node{Tag: "stream:error", Content: []waBinary.Node{{Tag: "conflict", Attrs: waBinary.Attrs{"type": "replaced"}}}})
		old.finish(farewell)
	}
	if a.device(d.index) != d { // unlinked meanwhile
		c.send(waBinary.Node{Tag: "failure", Attrs: waBinary.Attrs{"reason": 401}})
		return fmt.Errorf("%s has no such device any more", number)
	}
	c.send(waBinary.Node{Tag: "success", Attrs: waBinary.Attrs{
		"t": now().Unix(), "lid": d.lid(), "props": "1", "location": "sim",
	}})
	c.log.Debug("a device logged in")
	c.srv.online.notify()
	if f := c.srv.faults.take(func(f *Fault) bool { return f.immediate() && f.forAccount(number) }); f != nil {
		c.srv.interrupt(d, c, f)
	}
	return nil
}

func (c *conn) handleLoop() {
	for {
		data, err := c.receive(c.ctx)
		if err != nil {
			return
		}
		plain, err := c.read.Open(nil, nonce(c.readN), data, nil)
		if err != nil {
			c.log.Warn("a frame cannot be decrypted", "error", err)
			return
		}
		c.readN++
		if c.ending() {
			continue // it was told to go: what it says now is not heard
		}
		if err := c.handleFrame(plain); err != nil {
			c.log.Warn("a stanza failed", "error", err)
			return
		}
	}
}

// handleFrame handles one stanza. An error ends the connection.
func (c *conn) handleFrame(plain []byte) (err error) {
	defer func() {
		// The codec panics on some malformed input; that must not end the process.
		if p := recover(); p != nil {
			c.log.Error("handling a stanza panicked", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("a stanza panicked")
		}
	}()
	raw, err := waBinary.Unpack(plain)
	if err != nil {
		return fmt.Errorf("unpacking a stanza: %w", err)
	}
	n, err := waBinary.Unmarshal(raw)
	if err != nil {
		return fmt.Errorf("decoding a stanza: %w", err)
	}
	if c.pairing != nil {
		return c.handlePairing(n)
	}
	if c.device == nil {
		return nil // it was told to go away
	}
	switch n.Tag {
	case "iq":
		return c.handleIQ(n)
	case "message":
		return c.handleMessage(n)
	case "receipt", "ack":
		if f := c.srv.faults.takeFor(c.device.account.number, describeConfirmation(n), DropBeforeAccept); f != nil {
			c.drop()
			return nil
		}
		if n.Tag == "ack" {
			return c.handleAck(n)
		}
		return c.handleReceipt(n)
	}
	return nil // presence, chat state, telemetry: nothing here depends on them
}

func (c *conn) send(n waBinary.Node) {
	data, err := waBinary.Marshal(n)
	if err != nil {
		c.log.Error("a stanza cannot be encoded", "tag", n.Tag, "error", err)
		return
	}
	c.sendRaw(data)
}

func (c *conn) sendRaw(data []byte) {
	c.outMu.Lock()
	if c.last == 0 {
		c.out = append(c.out, timed{data, time.Now()})
	}
	c.outMu.Unlock()
	c.poke()
}

func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) writeLoop() {
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
		c.outMu.Lock()
		todo, last := c.out, c.last
		c.out = nil
		c.outMu.Unlock()
		for _, o := range todo {
			if err := c.writeFrame(o); err != nil {
				c.drop()
				return
			}
		}
		if last > 0 {
			if sleepUntil(c.ctx, time.Now().Add(last)) == nil {
				_ = c.ws.Close(websocket.StatusNormalClosure, "") // the client may have been faster
			}
			c.cancel()
			return
		}
	}
}

func (c *conn) writeFrame(o timed) error {
	if err := sleepUntil(c.ctx, o.at.Add(c.latency())); err != nil {
		return err
	}
	ct := c.write.Seal(nil, nonce(c.writeN), o.data, nil)
	c.writeN++
	ctx, cancel := context.WithTimeout(c.ctx, writeTimeout)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageBinary, frame(ct))
}

// latency is the scripted one-way delay of this connection.
func (c *conn) latency() time.Duration {
	if c.srv.faults.empty() {
		return 0
	}
	number := ""
	if n := c.number.Load(); n != nil {
		number = *n
	}
	return c.srv.faults.latency(number)
}

func sleepUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
