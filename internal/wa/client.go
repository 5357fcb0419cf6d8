package wa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
)

// Client is one WhatsApp client: of a paired number, or about to be paired. Connect, Pair, Disconnect and Logout are for
// one goroutine at a time; Send may be called beside them. After its connection was lost it may connect again: when that
// happens within 5 seconds, whatsmeow completes a send that was waiting, with the very same frame.
type Client struct {
	cli       *whatsmeow.Client
	opts      Options
	log       *slog.Logger
	on        func(context.Context, gateway.ClientEvent) error
	container store.DeviceContainer
	tenantKey int64
	slot      chan struct{} // one send at a time: whatsmeow's own lock ignores contexts

	mu      sync.Mutex
	conn    *connection   // the live one, nil when there is none
	retired []*connection // closed, but perhaps not yet let go by whatsmeow
	// Our own copies: whatsmeow clears its own in parallel with telling us that we were logged out.
	device  types.JID // with device
	pn, lid types.JID // bare
	writing string    // the user of the LID that a send is for, which begins the Signal sessions with its devices itself
}

// connection is one attempt to be connected, from the dial to the end. Its context is the one that whatsmeow handles
// everything of this connection under.
type connection struct {
	ctx    context.Context //nolint:containedctx // whatsmeow's events carry none
	cancel context.CancelFunc

	pairing  bool
	phone    string      // that is to enter a code, while pairing; empty: by QR code
	loggedIn atomic.Bool // the server accepted the login of this very connection

	mu     sync.Mutex
	socket net.Conn
	closed bool

	// Below the client's mutex.
	ready   bool                  // Connected was reported
	leaving bool                  // nothing is reported any more
	reason  gateway.SessionReason // why we close it, for the event that reports the end
	paired  *gateway.ClientEvent  // reported when the server asks to connect anew

	loginAsked bool               // the server asked, and whatsmeow has not told of the pairing yet
	qr         context.CancelFunc // stops the show of codes
}

func newConnection(ctx context.Context) *connection {
	conn := &connection{}
	ctx = context.WithValue(context.WithoutCancel(ctx), connectionKey{}, conn)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: conn.got})
	conn.ctx, conn.cancel = context.WithCancel(ctx)
	return conn
}

// got notes the connection of the web socket.
func (conn *connection) got(info httptrace.GotConnInfo) {
	conn.mu.Lock()
	conn.socket = info.Conn
	closed := conn.closed
	conn.mu.Unlock()
	if closed {
		_ = info.Conn.Close()
	}
}

// close ends the connection below whatsmeow, which then handles it as any loss of a connection. Its own ways race: Disconnect
// with a close by the other side, and a canceled context with a frame that is being handed on, which then is never
// closed at all. It does not wait; see released.
func (conn *connection) close() {
	conn.mu.Lock()
	socket := conn.socket
	conn.closed = true
	conn.mu.Unlock()
	if socket == nil {
		conn.cancel() // still dialling
		return
	}
	_ = socket.Close() // an error means that it is closed
}

// dialled reports whether there was a connection at all.
func (conn *connection) dialled() bool {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.socket != nil
}

type connectionKey struct{}

// loginSeen is called with a context of the connection whose login the server accepted.
func loginSeen(ctx context.Context) {
	if conn, ok := ctx.Value(connectionKey{}).(*connection); ok {
		conn.loggedIn.Store(true)
	}
}

// Connect dials WhatsApp and logs in. It returns when the connection stands; ClientConnected follows when sends may begin, or
// one of the events that say why not. ctx bounds the dial alone.
func (c *Client) Connect(ctx context.Context) error {
	return c.dial(ctx, newConnection(ctx))
}

func (c *Client) dial(ctx context.Context, conn *connection) error {
	c.retire(conn)
	defer context.AfterFunc(ctx, conn.close)()
	err := c.released(ctx)
	if err == nil {
		err = c.cli.ConnectContext(conn.ctx) //nolint:contextcheck // the context of the connection outlives that of the dial
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.mu.Lock()
		live := c.conn == conn
		c.mu.Unlock()
		if live {
			c.retire(nil)
		}
		return fmt.Errorf("connect to WhatsApp: %w", err)
	}
	return nil
}

// retire closes the live connection, if there is one, puts next in its place, and returns the old one. Of it nothing more is
// reported.
func (c *Client) retire(next *connection) (old *connection) {
	c.mu.Lock()
	old = c.conn
	c.conn = next
	if old != nil {
		c.retired = append(c.retired, old)
	}
	c.mu.Unlock()
	if old != nil {
		c.internals().ExpectDisconnect() // else whatsmeow reports the end, at a time when next may be live
		old.close()
	}
	return old
}

// Disconnect closes the connection, if there is one, without an event. A send in flight ends as disconnected.
func (c *Client) Disconnect() {
	c.retire(nil)
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := c.released(ctx); err != nil {
		c.log.Warn("the connection does not close", "error", err)
	}
	c.cli.Disconnect() // there is nothing left to close: it tells a waiting send that no connection will come
}

// releaseTimeout bounds the end of a connection, a dial in its handshake included.
const releaseTimeout = 25 * time.Second

// released waits until whatsmeow has let go of the connection that was closed or lost before, and ends what was still being
// done for it.
func (c *Client) released(ctx context.Context) error {
	probe, cancel := context.WithCancel(ctx)
	cancel() // a node is never written under a canceled context: the error alone tells whether there is a socket
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := c.internals().SendNode(probe, waBinary.Node{Tag: "probe"})
		if errors.Is(err, whatsmeow.ErrNotConnected) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, conn := range c.retired {
				conn.cancel()
			}
			c.retired = nil
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for the end of the connection before: %w", ctx.Err())
		}
	}
}

// Logout unlinks this device from the phone, when the connection allows, and deletes its keys here in any case. The client
// cannot be used afterwards. An error means that the keys may still be there.
func (c *Client) Logout(ctx context.Context) error {
	c.mu.Lock()
	conn, device := c.conn, c.device
	if conn != nil {
		conn.leaving = true // what the server says to a logout is no event
	}
	c.mu.Unlock()
	err := errOffline
	if conn != nil {
		err = c.unlink(ctx, device)
	}
	if err != nil {
		c.log.Warn("the phone was not told of the logout; it lists this device until it is removed there", "error", err)
	}
	c.Disconnect() //nolint:contextcheck // bounded by itself
	return c.deleteKeys(ctx, device)
}

// unlink asks WhatsApp to remove device. whatsmeow's own Logout also disconnects and deletes, in a race with the server,
// which closes the connection of a removed device.
func (c *Client) unlink(ctx context.Context, device types.JID) error {
	_, err := c.internals().SendIQ(ctx, whatsmeow.DangerousInfoQuery{
		Namespace: "md",
		Type:      "set",
		To:        types.ServerJID,
		NoRetry:   true,
		Content: []waBinary.Node{{
			Tag:   "remove-companion-device",
			Attrs: waBinary.Attrs{"jid": device, "reason": "user_initiated"},
		}},
	})
	return err
}

// deleteKeys deletes device and all its Signal stores. Not through the client's own device, which whatsmeow clears in
// parallel when the phone logs us out.
func (c *Client) deleteKeys(ctx context.Context, device types.JID) error {
	if device.IsEmpty() {
		return nil
	}
	if err := c.container.DeleteDevice(ctx, &store.Device{ID: &device}); err != nil {
		return fmt.Errorf("delete the session's keys: %w", err)
	}
	return nil
}

// internals are whatsmeow's own: what it offers no other way to, and what a newer whatsmeow may change. Each use says what for.
func (c *Client) internals() *whatsmeow.DangerousInternalClient {
	return c.cli.DangerousInternals() //nolint:staticcheck // deprecated to warn, not to go away
}

// pairing reports whether the live connection is there to pair.
func (c *Client) pairing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.pairing
}

// online is the live connection that sends may use, nil when there is none.
func (c *Client) online() *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || !c.conn.ready {
		return nil
	}
	return c.conn
}

// own is the client's number and LID, bare.
func (c *Client) own() (pn, lid types.JID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pn, c.lid
}
