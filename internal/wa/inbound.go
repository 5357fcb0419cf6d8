package wa

import (
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// message passes on what the number has received and reports whether it may be acknowledged. What cannot be read as a message to it is acknowledged:
// it would be the same the next time.
func (c *Client) message(e *events.Message) bool {
	received, ok := convert.Inbound(e)
	if !ok {
		return true
	}
	pn, lid := c.own()
	sender := e.Info.Sender.ToNonAD()
	if sender == pn || sender == lid {
		return true
	}
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return false // delivered again with the next connection
	}
	if received.SenderAlt == "" && (sender.Server == types.DefaultUserServer || sender.Server == types.HiddenUserServer) {
		alt, err := c.cli.Store.GetAltJID(conn.ctx, sender)
		if err != nil {
			// Without it a stop word could be taken for a stranger's.
			c.log.Warn("look up the other name of a message's sender", "error", err)
			return false
		}
		received.SenderAlt = convert.Bare(alt)
	}
	return c.emit(conn.ctx, gateway.ClientEvent{Kind: gateway.ClientMessage, Inbound: &received})
}
