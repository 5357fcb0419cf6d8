package wa

import (
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
	return c.from(e.Info.Sender, &received.SenderAlt, gateway.ClientEvent{Kind: gateway.ClientMessage, Inbound: &received})
}
