package wa

import (
	"context"
	"runtime/debug"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// lookupTimeout bounds the search for a message that a phone wants again.
const lookupTimeout = 5 * time.Second

// messageForRetry rebuilds a message that a phone could not decrypt and asks for again, when whatsmeow does not remember it,
// after a restart for example. Only text can be rebuilt from its row: the keys of an upload are not kept.
func (c *Client) messageForRetry(requester, to types.JID, id types.MessageID) (msg *waE2E.Message) {
	if c.opts.Lookup == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while rebuilding a message", "panic", p, "stack", string(debug.Stack()))
			msg = nil
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout) // whatsmeow passes none
	defer cancel()
	m, err := c.opts.Lookup(ctx, c.tenantKey, id)
	if err != nil {
		c.log.Warn("look up a message that a phone asks for again", "error", err)
		return nil
	}
	if m == nil || m.Type != gateway.TypeText || !c.mayAskAgain(ctx, m, requester, to) {
		return nil
	}
	return convert.Text(m.Text)
}

// mayAskAgain reports whether the message m went to the chat to, or to its other name: a stanza id alone, which members of a group
// see as well, must not get a stranger the text. Own devices ask about the chat they see.
func (c *Client) mayAskAgain(ctx context.Context, m *gateway.Message, requester, to types.JID) bool {
	chat := to.ToNonAD()
	names := []string{chat.String()}
	if alt, err := c.cli.Store.GetAltJID(ctx, chat); err == nil && !alt.IsEmpty() {
		names = append(names, convert.Bare(alt))
	}
	pn, lid := c.own()
	if r := requester.ToNonAD(); !m.IsGroup() && r != chat && r != pn && r != lid {
		return false
	}
	for _, name := range names {
		if name == m.RecipientJID || name == m.RecipientLID || name == m.To || name == gateway.UserJID(m.To) {
			return true
		}
	}
	return false
}
