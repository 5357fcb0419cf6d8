package wa

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// How long a message that a phone asks for again is looked for while the database does not answer, and the pauses between.
const (
	lookupPatience   = 30 * time.Second
	lookupFirstPause = 50 * time.Millisecond
	lookupLastPause  = 2 * time.Second
)

// messageForRetry is the message that a phone could not decrypt and asks for again, when whatsmeow does not remember it: it
// remembers the last 256, in memory. What has no file is built from its row as it was for its send; of media the very protobuf that was
// sent is stored, for the keys of an upload are in it.
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
	parent := context.Background() // whatsmeow passes none
	c.mu.Lock()
	if c.conn != nil {
		parent = c.conn.ctx
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(parent, lookupPatience)
	defer cancel()
	m, content, err := c.lookup(ctx, id)
	if err != nil {
		// whatsmeow acknowledges the request whatever comes of it, and then the phone would wait for ever. Without a connection it
		// cannot, and WhatsApp delivers the request again.
		c.log.Warn("cannot look up a message that a phone asks for again", "error", err)
		if parent.Err() == nil {
			c.drop(gateway.ReasonConnectionLost)
		}
		return nil
	}
	if m == nil || !c.mayAskAgain(ctx, m, requester, to) {
		return nil
	}
	if msg, err = contentOf(m, content, c.chat(to.ToNonAD(), types.EmptyJID)); err != nil {
		c.log.Warn("a phone asks in vain for a message again", "message", m.ID, "error", err)
	}
	return msg
}

// lookup asks until the database answers or ctx ends.
func (c *Client) lookup(ctx context.Context, id types.MessageID) (*gateway.Message, []byte, error) {
	for pause := lookupFirstPause; ; pause = min(2*pause, lookupLastPause) {
		m, content, err := c.opts.Lookup(ctx, c.tenantKey, id)
		if err == nil {
			return m, content, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, err
		}
	}
}

var errNotKept = errors.New("what it was sent as is not kept, or no longer")

// contentOf is what m was sent as.
func contentOf(m *gateway.Message, content []byte, chat convert.Chat) (*waE2E.Message, error) {
	if !m.Unrepeatable() {
		return convert.Message(m, chat)
	}
	if content == nil {
		return nil, errNotKept
	}
	return decoded(content, nil)
}

// decoded is a message as it was sent, from what the database gave.
func decoded(content []byte, err error) (*waE2E.Message, error) {
	if err != nil {
		return nil, fmt.Errorf("read what it was sent as: %w", err)
	}
	msg := &waE2E.Message{}
	if err := proto.Unmarshal(content, msg); err != nil {
		return nil, fmt.Errorf("decode what it was sent as: %w", err)
	}
	return msg, nil
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
