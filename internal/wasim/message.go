package wasim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// ackError refuses a message; nothing of it is delivered.
type ackError struct{ code int }

func (e ackError) Error() string { return fmt.Sprintf("message refused with %d", e.code) }

// routing is where the parts of one message go.
type routing struct {
	sender   *account
	device   uint16 // of the sender, 0: its phone
	group    *group // nil in a chat between two
	to       types.JID
	id       string
	typ      string
	edit     string
	category string
	identity []byte // the sender's device identity, for recipients of a pkmsg

	recipientPN *types.JID // of the recipient in a chat between two
	parts       []part
	phash       string // what the ack carries, usually nothing
}

// part is what one device gets.
type part struct {
	account *account
	device  *device // nil: the phone
	encs    []waBinary.Node
}

// handleMessage accepts a message: phones decrypt it and queues hold it before the ack is sent.
func (c *conn) handleMessage(n *waBinary.Node) error {
	to, okTo := n.Attrs["to"].(types.JID)
	id, okID := n.Attrs["id"].(string)
	if !okTo || !okID {
		return errors.New("a message without id or recipient")
	}
	s, own := c.srv, c.device.account.number
	q := describeMessage(n, to)
	ack := waBinary.Attrs{"class": "message", "id": id, "from": to, "t": now().Unix()}
	if f := s.faults.takeFor(own, q, DropBeforeAccept, AckError); f != nil {
		if f.Kind == DropBeforeAccept {
			c.drop()
			return nil
		}
		ack["error"] = f.Code
		c.send(waBinary.Node{Tag: "ack", Attrs: ack})
		return nil
	}
	r, err := s.route(c.device, n, to, id)
	if refused, ok := errors.AsType[ackError](err); ok {
		ack["error"] = refused.code
		c.send(waBinary.Node{Tag: "ack", Attrs: ack})
		return nil
	}
	if err != nil {
		return err
	}
	b, err := s.accept(r)
	if err != nil {
		return err
	}
	<-b.done // the ack goes out before the receipts that finish lets go, but after the commit
	if b.err == nil {
		c.acknowledge(q, ack, r)
	}
	return b.finish()
}

// acknowledge sends the ack, or does to it what a script says.
func (c *conn) acknowledge(q stanzaInfo, ack waBinary.Attrs, r *routing) {
	own := r.sender.number
	if r.phash != "" {
		ack["phash"] = r.phash
	}
	if f := c.srv.faults.takeFor(own, q, PHashMismatch); f != nil {
		ack["phash"] = "2:" + base64.RawStdEncoding.EncodeToString(randomBytes(6))
	}
	f := c.srv.faults.takeFor(own, q, DropAfterAccept, WithholdAck, DelayAck)
	if f == nil {
		c.send(waBinary.Node{Tag: "ack", Attrs: ack})
		return
	}
	switch f.Kind {
	case DropAfterAccept:
		c.drop()
	case DelayAck:
		time.AfterFunc(f.Delay, func() { c.send(waBinary.Node{Tag: "ack", Attrs: ack}) }) // after the connection's end this does nothing
	default: // withheld
	}
}

// route finds out who gets which part of a message.
func (s *Server) route(from *device, n *waBinary.Node, to types.JID, id string) (*routing, error) {
	r := &routing{sender: from.account, device: from.index, to: to, id: id}
	r.typ, _ = n.Attrs["type"].(string)
	r.edit, _ = n.Attrs["edit"].(string)
	r.category, _ = n.Attrs["category"].(string)
	r.identity, _ = n.GetChildByTag("device-identity").Content.([]byte)
	if to.Server == types.GroupServer {
		return r, s.routeGroup(r, n)
	}
	recipient, ok := s.lookup(to)
	if !ok {
		return nil, ackError{404}
	}
	pn := recipient.pnJID(0)
	r.recipientPN = &pn
	if testBehaviour(recipient.number) == ReachOutRestricted {
		return nil, ackError{463}
	}
	participants, ok := n.GetOptionalChildByTag("participants")
	if !ok { // a retry or a message to the own phone: for one device alone
		if chat, ok := n.Attrs["recipient"].(types.JID); ok { // a retry for an own device names the chat apart
			if a, ok := s.lookup(chat); ok {
				pn = a.pnJID(0)
			}
			r.to = chat
		}
		return r, r.add(recipient, to.Device, n.GetChildrenByTag("enc"))
	}
	reached := []types.JID{r.sender.lidJID(r.device)}
	for _, node := range participants.GetChildrenByTag("to") {
		jid, _ := node.Attrs["jid"].(types.JID)
		a, ok := s.lookup(jid)
		if !ok || a != recipient && a != from.account {
			continue // not part of this chat
		}
		if slices.Contains(reached, a.lidJID(jid.Device)) {
			continue // in a note to oneself clients name the phone twice
		}
		if err := r.add(a, jid.Device, node.GetChildrenByTag("enc")); err != nil {
			return nil, err
		}
		reached = append(reached, a.lidJID(jid.Device))
	}
	r.comparePHash(reached, r.sender, recipient)
	return r, nil
}

// add routes encs to one device of a. A device that is gone gets nothing, which is no error.
func (r *routing) add(a *account, index uint16, encs []waBinary.Node) error {
	for _, enc := range encs {
		if _, ok := enc.Content.([]byte); !ok {
			return ackError{479}
		}
	}
	p := part{account: a, encs: encs}
	if index > 0 {
		if p.device = a.device(index); p.device == nil {
			return nil
		}
	}
	r.parts = append(r.parts, p)
	return nil
}

// comparePHash makes the ack tell the client when it does not know every device of the chat.
func (r *routing) comparePHash(reached []types.JID, members ...*account) {
	var all []types.JID
	for i, a := range members {
		if slices.Index(members, a) == i {
			all = append(all, a.jids(types.HiddenUserServer)...)
		}
	}
	for _, jid := range all {
		// A phone may be missing because its keys could not be fetched; only a companion can be unknown to the client.
		if jid.Device > 0 && !slices.Contains(reached, jid) {
			r.phash = participantHash(all)
			return
		}
	}
}

// participantHash is the hash both ends compute over the devices of a chat.
func participantHash(jids []types.JID) string {
	names := make([]string, len(jids))
	for i, jid := range jids {
		names[i] = jid.ADString()
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "")))
	return "2:" + base64.RawStdEncoding.EncodeToString(sum[:6])
}

// accept delivers a message to phones and queues in one submitted batch.
func (s *Server) accept(r *routing) (*batch, error) {
	b := s.journal.begin()
	unlock := lockPhones(b, r.phones())
	defer unlock()
	if err := s.deliver(b, r); err != nil {
		return nil, err
	}
	b.submit()
	return b, nil
}

// deliver hands every part to its device. The caller holds the locks of r.phones().
func (s *Server) deliver(b *batch, r *routing) error {
	at := now()
	for _, p := range r.parts {
		var err error
		if p.device != nil {
			err = p.device.enqueue(b, r.forward(p, at))
		} else if testBehaviour(p.account.number) != NeverDelivered {
			err = s.deliverToPhone(b, r, p, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// phones lists the accounts whose phones are involved.
func (r *routing) phones() []*account {
	var out []*account
	for _, p := range r.parts {
		if p.device == nil {
			out = append(out, p.account)
		}
	}
	return out
}

// lockPhones locks accounts in the order of their numbers and directs their changes to b.
func lockPhones(b *batch, accounts []*account) (unlock func()) {
	accounts = slices.Clone(accounts)
	slices.SortFunc(accounts, func(x, y *account) int { return cmp.Compare(x.number, y.number) })
	accounts = slices.Compact(accounts)
	for _, a := range accounts {
		a.mu.Lock()
		a.signal.batch = b
	}
	return func() {
		for _, a := range accounts {
			a.signal.batch = nil
			a.mu.Unlock()
		}
	}
}

// forward is the stanza as a companion device receives it.
func (r *routing) forward(p part, at time.Time) waBinary.Node {
	attrs := waBinary.Attrs{
		"id": r.id, "t": at.Unix(), "type": r.typ, "edit": r.edit, "category": r.category, "notify": "Phone " + r.sender.number,
	}
	sender, pn := r.sender.lidJID(r.device), r.sender.pnJID(0)
	switch {
	case r.group != nil:
		attrs["from"], attrs["participant"], attrs["participant_pn"] = r.group.jid(), sender, pn
		attrs["addressing_mode"] = string(types.AddressingModeLID)
	case p.account == r.sender: // a copy of what the account itself sent
		attrs["from"] = sender
		if r.category == "" {
			attrs["recipient"] = r.to.ToNonAD()
			if r.recipientPN != nil {
				attrs["peer_recipient_pn"] = *r.recipientPN
			}
		}
	default:
		attrs["from"], attrs["sender_pn"] = sender, pn
	}
	content := slices.Clone(p.encs)
	if r.identity != nil && slices.ContainsFunc(p.encs, func(e waBinary.Node) bool { return e.Attrs["type"] == "pkmsg" }) {
		content = append(content, waBinary.Node{Tag: "device-identity", Content: r.identity})
	}
	return waBinary.Node{Tag: "message", Attrs: attrs, Content: content}
}
