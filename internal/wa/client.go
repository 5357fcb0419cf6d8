package wa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
)

// Client is one WhatsApp client: of a paired number, or about to be paired. Connect, Pair, Disconnect and Logout are for
// one goroutine at a time; Send may be called beside them. After Disconnect it may connect again, which is how a send
// that was interrupted is completed by whatsmeow, within 5 seconds, with the very same frame.
type Client struct {
	cli       *whatsmeow.Client
	opts      Options
	log       *slog.Logger
	on        func(context.Context, gateway.ClientEvent) error
	container store.DeviceContainer
	tenantKey int64
	slot      chan struct{} // one send at a time: whatsmeow's own lock ignores contexts

	mu   sync.Mutex
	conn *connection // the live one, nil when there is none
	// Our own copies: whatsmeow clears its own in parallel with telling us that we were logged out.
	device  types.JID // with device
	pn, lid types.JID // bare
}

// connection is one attempt to be connected, from the dial to the end. Its context is the one that whatsmeow handles
// everything of this connection under; canceling it closes the socket as if the other side had.
type connection struct {
	ctx    context.Context //nolint:containedctx // whatsmeow's events carry none
	cancel context.CancelFunc

	pairing  bool
	loggedIn atomic.Bool // the server accepted the login of this very connection

	// Below the client's mutex.
	dialed bool
	ready  bool                  // Connected was reported
	reason gateway.SessionReason // why we close it, for the event that reports the end
	paired *gateway.ClientEvent  // reported when the server asks to connect anew
	qr     context.CancelFunc    // stops the show of QR codes
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
	return c.dial(ctx, false)
}

func (c *Client) dial(ctx context.Context, pairing bool) error {
	conn := c.begin(ctx, pairing)
	stop := context.AfterFunc(ctx, conn.cancel)
	err := c.cli.ConnectContext(conn.ctx)
	if errors.Is(err, whatsmeow.ErrAlreadyConnected) {
		// An end that was not reported yet.
		c.cli.Disconnect()
		err = c.cli.ConnectContext(conn.ctx)
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	c.mu.Lock()
	if c.conn == conn {
		if err != nil {
			c.conn = nil
		}
		conn.dialed = true
	}
	c.mu.Unlock()
	if err != nil {
		conn.cancel()
		return fmt.Errorf("connect to WhatsApp: %w", err)
	}
	return nil
}

// begin replaces the connection by one that is not dialled yet.
func (c *Client) begin(ctx context.Context, pairing bool) *connection {
	conn := &connection{pairing: pairing}
	life := context.WithValue(context.WithoutCancel(ctx), connectionKey{}, conn)
	conn.ctx, conn.cancel = context.WithCancel(life)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.cancel()
	}
	c.conn = conn
	return conn
}

// Disconnect closes the connection, if there is one, without an event. A send in flight ends as disconnected.
func (c *Client) Disconnect() {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	dialed := conn != nil && conn.dialed
	c.mu.Unlock()
	if conn != nil && !dialed {
		conn.cancel() // else the socket's lock is held until the dial has timed out
	}
	c.cli.Disconnect()
	if conn != nil {
		conn.cancel()
	}
}

// Logout unlinks this device from the phone, when the connection allows, and deletes its keys here in any case. The client
// cannot be used afterwards. An error means that the keys may still be there.
func (c *Client) Logout(ctx context.Context) error {
	c.mu.Lock()
	conn, device := c.conn, c.device
	c.conn = nil // what the server says to a logout is no event
	c.mu.Unlock()
	told := c.cli.Logout(ctx)
	c.cli.Disconnect()
	if conn != nil {
		conn.cancel()
	}
	if told == nil || device.IsEmpty() {
		return nil
	}
	c.log.Warn("the phone was not told of the logout; it lists this device until it is removed there", "error", told)
	// Not through the client's own device, which a logout by the phone clears in parallel.
	if err := c.container.DeleteDevice(ctx, &store.Device{ID: &device}); err != nil {
		return fmt.Errorf("delete the session's keys: %w", err)
	}
	return nil
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
