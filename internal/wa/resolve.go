package wa

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// recipient is whom a message goes to, as WhatsApp names it.
type recipient struct {
	jid   types.JID // what SendMessage is given: a number, a LID or a group
	pn    types.JID // the number, empty when not known
	lid   types.JID // the LID, empty for groups
	asked bool      // WhatsApp confirmed during this very send that the number has an account
}

func (r recipient) group() bool { return r.jid.Server == types.GroupServer }

// sent names the recipient in a proof of a send.
func (r recipient) sent() gateway.Sent {
	if r.pn.IsEmpty() {
		return gateway.Sent{RecipientJID: r.jid.String(), RecipientLID: convert.Bare(r.lid)}
	}
	return gateway.Sent{RecipientJID: r.pn.String(), RecipientLID: convert.Bare(r.lid)}
}

// names are all that is known of the recipient of m, as gateway.OptOutName writes them.
func (r recipient) names(m *gateway.Message) (names []string) {
	for _, name := range []string{m.To, m.RecipientLID, convert.Bare(r.jid), convert.Bare(r.pn), convert.Bare(r.lid)} {
		if name = gateway.OptOutName(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// errOptedOut says that the recipient of a message of a bulk wants none.
var errOptedOut = errors.New("the recipient wants no bulk messages")

// wantsBulks returns errOptedOut when the recipient of m opted out, under whatever name: a person's number and LID are not known to be one's before WhatsApp
// was asked, so that this cannot be looked up earlier.
func (c *Client) wantsBulks(ctx context.Context, m *gateway.Message, to recipient) error {
	out, err := c.opts.Database.OptedOut(ctx, c.tenantKey, to.names(m))
	switch {
	case err != nil:
		return storeFailed("look up whether the recipient opted out", err)
	case len(out) > 0:
		return errOptedOut
	}
	return nil
}

// resolve finds out whom m goes to. A contact whose LID is known costs no query; a new number costs one, which tells
// whether it has an account at all.
func (c *Client) resolve(ctx context.Context, m *gateway.Message) (recipient, error) {
	to := m.To
	if m.RecipientJID != "" {
		to = m.RecipientJID // what WhatsApp said at an earlier attempt
	}
	jid, err := convert.Recipient(to)
	if err != nil {
		return recipient{}, err
	}
	switch jid.Server {
	case types.GroupServer:
		return recipient{jid: jid}, nil
	case types.HiddenUserServer:
		pn, err := c.cli.Store.LIDs.GetPNForLID(ctx, jid)
		if err != nil {
			return recipient{}, storeFailed("look up the number of a LID", err)
		}
		return recipient{jid: jid, pn: pn, lid: jid}, nil
	}
	lid, err := c.cli.Store.LIDs.GetLIDForPN(ctx, jid)
	if err != nil {
		return recipient{}, storeFailed("look up the LID of a number", err)
	}
	if !lid.IsEmpty() {
		return recipient{jid: jid, pn: jid, lid: lid}, nil
	}
	return c.ask(ctx, jid)
}

// errNotOnWhatsApp says that a number has no account.
var errNotOnWhatsApp = errors.New("the number is not on WhatsApp")

// ask asks WhatsApp who has the number pn. The answer may be another number, where a country's numbers have two forms.
func (c *Client) ask(ctx context.Context, pn types.JID) (recipient, error) {
	answers, err := c.cli.IsOnWhatsApp(ctx, []string{"+" + pn.User})
	if err != nil && len(answers) == 0 {
		return recipient{}, fmt.Errorf("ask whether the number is on WhatsApp: %w", err)
	}
	if err != nil {
		return recipient{}, storeFailed("store the LID of a number", err)
	}
	for _, answer := range answers {
		if !answer.IsIn {
			continue
		}
		r := recipient{asked: true}
		switch answer.JID.Server {
		case types.HiddenUserServer:
			r.lid, r.pn = answer.JID.ToNonAD(), answer.PhoneNumber.ToNonAD()
		case types.DefaultUserServer:
			r.pn = answer.JID.ToNonAD()
		default:
			continue
		}
		if r.pn.IsEmpty() {
			r.pn = pn
		}
		r.jid = r.pn
		if r.lid.IsEmpty() {
			if r.lid, err = c.askLID(ctx, r.pn); err != nil {
				return recipient{}, err
			}
		}
		return r, nil
	}
	return recipient{}, errNotOnWhatsApp
}

// askLID asks for the LID of a number that has an account; messages are encrypted for LIDs only.
func (c *Client) askLID(ctx context.Context, pn types.JID) (types.JID, error) {
	info, err := c.cli.GetUserInfo(ctx, []types.JID{pn})
	if err != nil {
		return types.EmptyJID, fmt.Errorf("ask for the LID of a number: %w", err)
	}
	lid := info[pn].LID
	if lid.IsEmpty() {
		return types.EmptyJID, fmt.Errorf("WhatsApp told no LID for the number: %w", errUnreached)
	}
	return lid.ToNonAD(), nil
}
