package wa

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
	"github.com/wapro/hub/internal/wa/convert"
)

// keepAliveFailures is how many keepalives in a row, 30 to 40 s apart, may stay unanswered before the connection is given up.
const keepAliveFailures = 2

// streamErrorGrace is how long the server may take to close the connection after it announced an error.
const streamErrorGrace = 3 * time.Second

// deleteTimeout bounds the deletion of the keys of a session that was logged out.
const deleteTimeout = 10 * time.Second

// handle takes every event of whatsmeow's. False keeps what caused it unacknowledged, so that WhatsApp delivers it again.
func (c *Client) handle(event any) (handled bool) {
	if _, frequent := event.(*events.Receipt); frequent { // whatsmeow begins a goroutine for each
		loop.Do(func() { handled = c.take(event) })
		return handled
	}
	return c.take(event)
}

// take is handle. A panic is contained here: whatsmeow would contain it too, and acknowledge.
func (c *Client) take(event any) (handled bool) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while handling an event", "event", fmt.Sprintf("%T", event), "panic", p, "stack", string(debug.Stack()))
			handled = false
		}
	}()
	switch e := event.(type) {
	case *events.Receipt:
		return c.receipt(e)
	case *events.Message:
		return c.message(e)
	case *events.Connected:
		c.connected()
	case *events.Disconnected:
		c.disconnected()
	case *events.LoggedOut:
		reason := gateway.ReasonRefused
		if !e.OnConnect || e.Reason == events.ConnectFailureLoggedOut {
			reason = gateway.ReasonDeviceRemoved
		}
		c.loggedOut(gateway.ClientEvent{Kind: gateway.ClientLoggedOut, Reason: reason, Detail: e.Reason.String()})
	case *events.StreamReplaced:
		c.end(gateway.ClientEvent{Kind: gateway.ClientReplaced, Reason: gateway.ReasonReplaced})
	case *events.TemporaryBan:
		c.end(temporaryBan(e, time.Now()))
	case *events.NotifyAccountReachoutTimelock:
		return c.timelocked(e, time.Now())
	case *events.ClientOutdated:
		c.end(gateway.ClientEvent{Kind: gateway.ClientOutdated, Reason: gateway.ReasonClientOutdated})
	case *events.ConnectFailure:
		c.end(gateway.ClientEvent{
			Kind: gateway.ClientConnectError, Reason: gateway.ReasonConnectFailed,
			Detail: "login failed with " + e.Reason.String(),
		})
	case *events.StreamError:
		c.log.Warn("WhatsApp ends the connection", "code", e.Code)
		c.closing(gateway.ReasonServerError)
	case *events.ManualLoginReconnect:
		c.loginAsked()
	case *events.KeepAliveTimeout:
		// Before the login WhatsApp need not answer these; a pairing has its own end.
		if e.ErrorCount >= keepAliveFailures && !c.pairing() {
			c.drop(gateway.ReasonConnectionLost)
		}
	case *events.QR:
		c.showCodes(e.Codes)
	case *events.PairSuccess:
		c.pairSuccess(e)
	case *events.PairError:
		c.log.Warn("pairing failed", "error", e.Error)
		c.end(gateway.ClientEvent{Kind: gateway.ClientPairFailed, Reason: gateway.ReasonPairingFailed})
	case *events.QRScannedWithoutMultidevice:
		c.log.Warn("the code was scanned by a phone that has linked devices switched off")
	}
	return true
}

func temporaryBan(e *events.TemporaryBan, now time.Time) gateway.ClientEvent {
	until := time.Time{}
	if e.Expire > 0 {
		until = now.Add(e.Expire).UTC()
	}
	return gateway.ClientEvent{
		Kind: gateway.ClientBanned, Reason: gateway.ReasonTemporaryBan, Until: until, Detail: e.Code.String(),
	}
}

// timelockDefault is how long a reach-out timelock lasts that does not say so.
const timelockDefault = time.Hour

// timelocked reports that WhatsApp forbids the number to write to new contacts, until when, or that it may again.
func (c *Client) timelocked(e *events.NotifyAccountReachoutTimelock, now time.Time) bool {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return false // delivered again with the next connection
	}
	until := time.Time{}
	if e.IsActive {
		if until = e.TimeEnforcementEnds.UTC(); until.Unix() <= 0 {
			until = now.Add(timelockDefault).UTC()
		}
	}
	return c.emit(conn.ctx, gateway.ClientEvent{Kind: gateway.ClientRestricted, Until: until, Detail: e.EnforcementType})
}

// connected reports that sends may begin. An event of an older connection, which whatsmeow dispatches when that one's
// last query is given up, is told apart by the login: this connection's own has not been accepted yet.
func (c *Client) connected() {
	c.mu.Lock()
	conn := c.conn
	if conn == nil || conn.pairing || conn.ready || !conn.loggedIn.Load() {
		c.mu.Unlock()
		return
	}
	conn.ready = true
	if c.lid.IsEmpty() {
		c.lid = c.cli.Store.GetLID().ToNonAD() // told by the login
	}
	event := gateway.ClientEvent{
		Kind: gateway.ClientConnected, Reason: gateway.ReasonConnected, JID: c.device.String(), LID: convert.Bare(c.lid),
	}
	c.mu.Unlock()
	c.emit(conn.ctx, event)
}

// loggedOut deletes the keys, which are worth nothing any more, and reports that. whatsmeow deletes them too, but its
// attempt ends with the connection.
func (c *Client) loggedOut(event gateway.ClientEvent) {
	c.mu.Lock()
	conn, device := c.conn, c.device
	ours := conn != nil && !conn.leaving
	c.mu.Unlock()
	if !ours {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(conn.ctx), deleteTimeout)
	defer cancel()
	if err := c.deleteKeys(ctx, device); err != nil {
		c.log.Warn("after a logout by the phone", "error", err)
	}
	c.end(event)
}

// disconnected reports the end of a connection that the server, the network or drop closed.
func (c *Client) disconnected() {
	if c.awaitsPairing() || c.reportPaired() {
		return
	}
	event := gateway.ClientEvent{Kind: gateway.ClientDisconnected, Reason: gateway.ReasonConnectionLost}
	c.mu.Lock()
	conn := c.conn
	if conn == nil || !conn.dialled() {
		c.mu.Unlock()
		return // a late word of the connection before
	}
	// Not by retire: a send that waits for its acknowledgement may still get it through the next connection.
	c.conn = nil
	if conn.reason != gateway.ReasonNone {
		event.Reason = conn.reason
	}
	c.mu.Unlock()
	conn.cancel()
	if conn.pairing {
		event = gateway.ClientEvent{Kind: gateway.ClientPairFailed, Reason: gateway.ReasonPairingFailed}
	}
	if !conn.leaving {
		c.emit(context.WithoutCancel(conn.ctx), event)
	}
}

// end reports the last event of the live connection and forgets it; without one it reports nothing.
func (c *Client) end(event gateway.ClientEvent) {
	if old := c.retire(nil); old != nil && !old.leaving {
		c.emit(context.WithoutCancel(old.ctx), event)
	}
}

// drop closes the live connection as if the other side had, so that its end is reported and a send that waits for its
// acknowledgement survives a quick reconnect. Disconnect would end that send.
func (c *Client) drop(reason gateway.SessionReason) {
	c.mu.Lock()
	conn := c.conn
	if conn != nil {
		conn.reason = reason
	}
	c.mu.Unlock()
	if conn != nil {
		conn.close()
	}
}

// closing notes that the server is about to close the live connection, and closes it when the server does not.
func (c *Client) closing(reason gateway.SessionReason) {
	c.mu.Lock()
	conn := c.conn
	if conn != nil {
		conn.reason = reason
		conn.ready = false
	}
	c.mu.Unlock()
	if conn == nil {
		return
	}
	timer := time.AfterFunc(streamErrorGrace, conn.close)
	context.AfterFunc(conn.ctx, func() { timer.Stop() })
}

// receipt passes a recipient's receipt on and reports whether it may be acknowledged.
func (c *Client) receipt(e *events.Receipt) bool {
	receipt, ok := convert.Receipt(e)
	if !ok {
		return true
	}
	return c.from(e.Sender, &receipt.SenderAlt, gateway.ClientEvent{Kind: gateway.ClientReceipt, Receipt: &receipt})
}

// from passes on an event of somebody else, after completing alt, the sender's other name. It reports whether the event may be acknowledged; else it
// comes again, at the latest with the next connection.
func (c *Client) from(sender types.JID, alt *string, event gateway.ClientEvent) bool {
	pn, lid := c.own()
	sender = sender.ToNonAD()
	if sender == pn || sender == lid {
		return true
	}
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return false
	}
	if *alt == "" && (sender.Server == types.DefaultUserServer || sender.Server == types.HiddenUserServer) {
		other, err := c.cli.Store.GetAltJID(conn.ctx, sender)
		if err != nil {
			// Without it the sender could pass for a stranger: a receipt would be lost, a stop word ascribed to nobody.
			c.log.Warn("look up the other name of a sender", "event", string(event.Kind), "error", err)
			return false
		}
		*alt = convert.Bare(other)
	}
	return c.emit(conn.ctx, event)
}

func (c *Client) emit(ctx context.Context, event gateway.ClientEvent) bool {
	if err := c.on(ctx, event); err != nil {
		c.log.Warn("an event was not taken", "event", string(event.Kind), "error", err)
		return false
	}
	return true
}
