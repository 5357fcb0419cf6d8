package wa

import (
	"context"
	"errors"
	"fmt"

	"go.mau.fi/libsignal/session"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/wa/convert"
)

// maxPrepared is how many people one query asks about.
const maxPrepared = 50

// errNoKeys: whatsmeow does not say why.
var errNoKeys = errors.New("WhatsApp gave no keys of the next contacts")

// Prepare asks WhatsApp about people who are about to be written to what the sends would ask one by one: their LIDs, their devices, and a key
// of each device that there is no Signal session with, which then is begun. The sends find that in memory and in the store, and a first
// contact costs one round trip instead of four. What is known already is not asked, so that repeating it costs next to nothing; groups are
// passed over.
//
// It does not wait for sends and they do not wait for it, but that one which needs a list of devices waits while this asks for lists. Meanwhile no
// group must be written to, whose members may be among them. Nothing depends on its success. The error is a *gateway.SendError.
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
	devices, err := c.cli.GetUserDevices(ctx, lids) // and it keeps them
	if err != nil {
		return fmt.Errorf("ask for the devices of contacts: %w", err)
	}
	return c.beginSessions(ctx, devices)
}

// beginSessions begins the Signal sessions with those of devices that there are none with. A device whose key cannot be had or is not to be
// trusted is left to its send, which says so.
func (c *Client) beginSessions(ctx context.Context, devices []types.JID) error {
	pn, lid := c.own()
	of := make(map[string]types.JID, len(devices))
	var addresses []string
	for _, device := range devices {
		if device.Server == types.HiddenUserServer && device.User != lid.User && device.User != pn.User {
			address := device.SignalAddress().String()
			of[address], addresses = device, append(addresses, address)
		}
	}
	known, _, err := c.cli.Store.WithCachedSessions(ctx, addresses)
	if err != nil {
		return err //nolint:wrapcheck // it is a storeError
	}
	var without []types.JID
	for _, address := range addresses {
		if !known[address] {
			without = append(without, of[address])
		}
	}
	bundles := c.internals().FetchPreKeysNoError(ctx, without)
	if bundles == nil && len(without) > 0 {
		return errNoKeys
	}
	addresses = addresses[:0]
	for device, bundle := range bundles {
		if bundle != nil && device.User != c.writingTo() { // whose send does so at this moment
			addresses = append(addresses, device.SignalAddress().String())
		}
	}
	// Who has written to us meanwhile has begun a session. The identities are written with the sessions, as those of a send are.
	known, ctx, err = c.cli.Store.WithCachedSessions(withProof(ctx, &proof{}), addresses)
	if err != nil {
		return err //nolint:wrapcheck // it is a storeError
	}
	for _, address := range addresses {
		if known[address] {
			continue
		}
		device := of[address]
		builder := session.NewBuilderFromSignal(c.cli.Store, device.SignalAddress(), store.SignalProtobufSerializer)
		if err := builder.ProcessBundle(ctx, bundles[device]); err != nil {
			c.log.Debug("a session could not be begun; the send will", "error", err)
		}
	}
	return c.cli.Store.PutCachedSessions(ctx) //nolint:wrapcheck // it is a storeError
}

func (c *Client) setWriting(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = user
}

func (c *Client) writingTo() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writing
}
