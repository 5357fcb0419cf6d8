package wa

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// Send sends m under m.WhatsAppID and waits until WhatsApp has acknowledged it. fence is called right before the message
// is encrypted; its error ends the send.
//
// The error is a *gateway.SendError. A nil error is the proof of I5: ciphertext for the recipient's own phone, or for a
// group's members but those in Sent.Missed, was stored and acknowledged.
//
// Sends of one client are made one after the other. ctx is bounded here as well, because whatsmeow's own timeout does not cover a
// replay after a lost connection. One wait ignores ctx: whatsmeow's send lock, which its own messages to the phone also
// take; a send that waits for it returns late, but then without having been written.
func (c *Client) Send(ctx context.Context, m *gateway.Message, fence func(context.Context) error) (sent gateway.Sent, err error) {
	a := &attempt{proof: &proof{claim: m.Claim()}}
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic during a send", "message", m.ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic during the send: %v", p)
			a.panicked = true
		}
		if err != nil {
			sent, err = gateway.Sent{}, a.sendError(err)
		}
	}()
	if c.online() == nil {
		return sent, errOffline
	}
	ctx, cancel := context.WithTimeout(ctx, c.budget(m))
	defer cancel()
	select {
	case c.slot <- struct{}{}:
		defer func() { <-c.slot }()
	case <-ctx.Done():
		return sent, fmt.Errorf("wait for the send before: %w", ctx.Err())
	}
	if c.online() == nil {
		return sent, errOffline
	}
	return c.send(ctx, m, fence, a)
}

// budget bounds a send as a whole.
func (c *Client) budget(m *gateway.Message) time.Duration {
	budget := c.opts.SendTimeout
	if m.Media != nil {
		budget += uploadBase + time.Duration(m.Media.Size/uploadRate)*time.Second
	}
	return budget
}

func (c *Client) send(ctx context.Context, m *gateway.Message, fence func(context.Context) error, a *attempt) (gateway.Sent, error) {
	to, err := c.resolve(ctx, m)
	if err != nil {
		return gateway.Sent{}, err
	}
	if m.BulkID != "" {
		if err := c.wantsBulks(ctx, m, to); err != nil {
			return gateway.Sent{}, err
		}
	}
	a.group = to.group()
	var members []types.JID
	if a.group {
		// SendMessage takes the members from the same cache, so that this costs no query of its own.
		group, err := c.internals().GetCachedGroupData(ctx, to.jid)
		if err != nil {
			return gateway.Sent{}, fmt.Errorf("ask for the members of the group: %w", err)
		}
		members = group.Members
	} else {
		a.proof.require = to.lid.SignalAddress().String()
		c.setWriting(to.lid.User)
		defer c.setWriting("")
	}
	msg, err := c.build(ctx, m, to, a)
	if err != nil {
		return gateway.Sent{}, err
	}
	if m.Unrepeatable() { // any other is rebuilt from its row
		a.proof.stanzaID = m.WhatsAppID
		if a.proof.content, err = proto.Marshal(msg); err != nil {
			return gateway.Sent{}, fmt.Errorf("encode the message: %w", err)
		}
	}
	if err := fence(ctx); err != nil {
		return gateway.Sent{}, fmt.Errorf("check the lease before the send: %w", err)
	}
	resp, err := c.cli.SendMessage(withProof(ctx, a.proof), to.jid, msg, whatsmeow.SendRequestExtra{
		ID: m.WhatsAppID, Timeout: c.opts.AckTimeout,
	})
	a.timings = resp.DebugTimings
	if err != nil {
		return gateway.Sent{}, c.whyUnreached(ctx, to, err)
	}

	sent := to.sent()
	sent.At = resp.Timestamp.UTC()
	if sent.At.Unix() <= 0 {
		sent.At = time.Now().UTC()
	}
	if !a.group {
		if !a.proof.reached(a.proof.require) {
			return gateway.Sent{}, c.whyUnreached(ctx, to, errUnreached)
		}
		return sent, nil
	}
	others := 0
	sent.Missed, others = c.missed(ctx, members, a.proof)
	if others > 0 && len(sent.Missed) == others {
		return gateway.Sent{}, fmt.Errorf("none of %d members: %w", others, errUnreached)
	}
	return sent, nil
}

// whyUnreached turns errUnreached into errNotOnWhatsApp for a known contact that has left WhatsApp since.
func (c *Client) whyUnreached(ctx context.Context, to recipient, err error) error {
	if !errors.Is(err, errUnreached) || to.asked || to.pn.IsEmpty() {
		return err
	}
	if _, gone := c.ask(ctx, to.pn); errors.Is(gone, errNotOnWhatsApp) {
		return gone
	}
	return err
}

// missed lists the members of a group, ourselves excepted, whose phone got no ciphertext, of how many others.
func (c *Client) missed(ctx context.Context, members []types.JID, p *proof) (missed []string, others int) {
	pn, lid := c.own()
	for _, member := range members {
		member = member.ToNonAD()
		if member == pn || member == lid {
			continue
		}
		others++
		reached := p.reached(member.SignalAddress().String())
		if !reached && member.Server == types.DefaultUserServer {
			// whatsmeow encrypts for the LID of a number where it knows one.
			if alt, err := c.cli.Store.LIDs.GetLIDForPN(ctx, member); err == nil && !alt.IsEmpty() {
				reached = p.reached(alt.SignalAddress().String())
			}
		}
		if !reached {
			missed = append(missed, member.String())
		}
	}
	return missed, others
}

// build makes the protobuf of m, uploading its media first.
func (c *Client) build(ctx context.Context, m *gateway.Message, to recipient, a *attempt) (*waE2E.Message, error) {
	if m.Media == nil {
		switch {
		case m.EditsCaption():
			return c.editCaption(ctx, m, to)
		case m.WantsPreview():
			// What an attempt before went out as, or was about to: the page may say something else by now.
			if content, err := c.opts.Database.SentContent(ctx, c.tenantKey, m.WhatsAppID); err != nil || content != nil {
				return decoded(content, storeFailed("read what was sent", err))
			}
		}
		return convert.Message(m, c.chat(to.jid, to.lid))
	}
	up, err := c.uploaded(ctx, m, a)
	if err != nil {
		return nil, err
	}
	msg, err := convert.Media(m, up)
	if err != nil {
		return nil, &mediaError{err: err}
	}
	convert.Relate(msg, m, c.chat(to.jid, to.lid))
	return msg, nil
}

// editCaption makes an edit of what the file was sent as, whose keys the phones have.
func (c *Client) editCaption(ctx context.Context, m *gateway.Message, to recipient) (*waE2E.Message, error) {
	content, err := c.opts.Database.SentContent(ctx, c.tenantKey, m.Content.Target.StanzaID)
	if err == nil && content == nil {
		return nil, &mediaError{err: errNotKept}
	}
	file, err := decoded(content, storeFailed("read what was sent", err))
	if err != nil {
		return nil, err
	}
	return convert.EditCaption(m, c.chat(to.jid, to.lid), file)
}

// chat names the chat of a message as whatsmeow addresses it, a person by the LID, and ourselves in it.
func (c *Client) chat(jid, lid types.JID) convert.Chat {
	if !lid.IsEmpty() {
		jid = lid
	}
	own, ownLID := c.own()
	if !ownLID.IsEmpty() {
		own = ownLID
	}
	return convert.Chat{JID: convert.Bare(jid), Own: convert.Bare(own)}
}
