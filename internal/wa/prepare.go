package wa

import (
	"context"
	"fmt"

	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/wa/convert"
)

// maxPrepared is how many people one query asks about.
const maxPrepared = 50

// Prepare asks WhatsApp about people who are about to be written to what the sends would ask one by one: their LIDs and their devices.
// The sends then find that in whatsmeow's memory, and a first contact costs two round trips instead of four. What is known already is
// not asked, so that repeating it costs next to nothing; groups are passed over. No key of theirs is fetched: those are meant for one use.
//
// It does not wait for sends and they do not wait for it, but that one which needs a list of devices waits while this asks for lists. Nothing
// depends on its success. The error is a *gateway.SendError.
func (c *Client) Prepare(ctx context.Context, recipients []string) error {
	if c.online() == nil {
		return (&attempt{proof: &proof{}}).sendError(errOffline)
	}
	for len(recipients) > 0 {
		n := min(len(recipients), maxPrepared)
		if err := c.prepare(ctx, recipients[:n]); err != nil {
			return (&attempt{proof: &proof{}}).sendError(err)
		}
		recipients = recipients[n:]
	}
	return nil
}

func (c *Client) prepare(ctx context.Context, recipients []string) error {
	var numbers, lids []types.JID
	for _, to := range recipients {
		jid, err := convert.Recipient(to)
		switch {
		case err != nil: // the send will say so
		case jid.Server == types.HiddenUserServer:
			lids = append(lids, jid)
		case jid.Server == types.DefaultUserServer:
			numbers = append(numbers, jid)
		}
	}
	known, err := c.cli.Store.LIDs.GetManyLIDsForPNs(ctx, numbers)
	if err != nil {
		return storeFailed("look up the LIDs of numbers", err)
	}
	var unknown []string
	for _, pn := range numbers {
		if lid := known[pn]; !lid.IsEmpty() {
			lids = append(lids, lid)
		} else {
			unknown = append(unknown, "+"+pn.User)
		}
	}
	if len(unknown) > 0 {
		answers, err := c.cli.IsOnWhatsApp(ctx, unknown) // and it keeps the LIDs
		if err != nil && len(answers) == 0 {
			return fmt.Errorf("ask which numbers are on WhatsApp: %w", err)
		}
		if err != nil {
			return storeFailed("store the LIDs of numbers", err)
		}
		for _, answer := range answers {
			if answer.IsIn && answer.JID.Server == types.HiddenUserServer {
				lids = append(lids, answer.JID.ToNonAD())
			}
		}
	}
	if len(lids) == 0 {
		return nil
	}
	if _, err := c.cli.GetUserDevices(ctx, lids); err != nil { // and it keeps them
		return fmt.Errorf("ask for the devices of contacts: %w", err)
	}
	return nil
}
