package wasim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// group is a group chat. It does not change after it was made.
type group struct {
	user string // of its JID

	Subject string    `json:"subject"`
	Creator string    `json:"creator"` // number
	Created time.Time `json:"created"`
	Members []string  `json:"members"` // numbers, the creator among them
}

func groupJID(user string) types.JID { return types.NewJID(user, types.GroupServer) }

func (g *group) jid() types.JID { return groupJID(g.user) }

func (s *Server) loadGroup(user string, value []byte) error {
	g := &group{user: user}
	s.groups[user] = g
	return json.Unmarshal(value, g)
}

func (s *Server) group(jid types.JID) (*group, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g, ok := s.groups[jid.User]
	return g, ok
}

func (s *Server) members(g *group) []*account {
	var out []*account
	for _, number := range g.Members {
		if a, ok := s.account(number); ok {
			out = append(out, a)
		}
	}
	return out
}

// CreateGroup makes a group and returns its JID. Numbers that are not on WhatsApp are refused.
func (s *Server) CreateGroup(ctx context.Context, owner string, members ...string) (jid string, err error) {
	return s.CreateNamedGroup(ctx, "Group", owner, members...)
}

// CreateNamedGroup is CreateGroup with a subject.
func (s *Server) CreateNamedGroup(ctx context.Context, subject, owner string, members ...string) (jid string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	creator, ok := s.account(digits(owner))
	if !ok {
		return "", fmt.Errorf("%q is not on WhatsApp", owner)
	}
	var accounts []*account
	for _, m := range members {
		a, ok := s.account(digits(m))
		if !ok {
			return "", fmt.Errorf("%q is not on WhatsApp", m)
		}
		accounts = append(accounts, a)
	}
	g, err := s.createGroup(subject, creator, nil, accounts)
	if err != nil {
		return "", err
	}
	return g.jid().String(), nil
}

// createGroup stores a group and tells the companions of its members, except the device that made it.
func (s *Server) createGroup(subject string, creator *account, by *device, members []*account) (*group, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1e11))
	if err != nil {
		return nil, fmt.Errorf("choosing a group id: %w", err)
	}
	g := &group{user: fmt.Sprintf("1203634%011d", n), Subject: subject, Creator: creator.number, Created: now()}
	for _, a := range append([]*account{creator}, members...) {
		if !slices.Contains(g.Members, a.number) {
			g.Members = append(g.Members, a.number)
		}
	}
	value, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("encoding a group: %w", err)
	}
	b := s.journal.begin()
	b.put(kindGroup, g.user, value)
	s.mu.Lock()
	s.groups[g.user] = g
	s.mu.Unlock()
	node := s.groupNode(g)
	for _, a := range s.members(g) {
		for _, d := range a.companions() {
			if d == by {
				continue
			}
			err := d.enqueue(b, waBinary.Node{
				Tag: "notification",
				Attrs: waBinary.Attrs{
					"from": g.jid(), "participant": creator.lidJID(0), "id": s.iqID(), "t": g.Created.Unix(), "type": "w:gp2",
					"addressing_mode": string(types.AddressingModeLID),
				},
				Content: []waBinary.Node{{Tag: "create", Content: []waBinary.Node{node}}},
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return g, b.commit()
}

func (s *Server) groupNode(g *group) waBinary.Node {
	creator, _ := s.existing(g.Creator)
	node := waBinary.Node{Tag: "group", Attrs: waBinary.Attrs{
		"id": g.user, "subject": g.Subject, "creation": g.Created.Unix(), "s_t": g.Created.Unix(),
		"creator": creator.lidJID(0), "s_o": creator.lidJID(0), "creator_pn": creator.pnJID(0), "s_o_pn": creator.pnJID(0),
		"size": len(g.Members), "addressing_mode": string(types.AddressingModeLID),
	}}
	var out []waBinary.Node
	for _, a := range s.members(g) {
		p := waBinary.Node{Tag: "participant", Attrs: waBinary.Attrs{"jid": a.lidJID(0), "phone_number": a.pnJID(0)}}
		if a == creator {
			p.Attrs["type"] = "superadmin"
		}
		out = append(out, p)
	}
	node.Content = out
	return node
}

// groupIQ answers queries about groups: what one is, which ones the account is in, and makes new ones.
func (s *Server) groupIQ(d *device, n *waBinary.Node) ([]waBinary.Node, error) {
	to, _ := n.Attrs["to"].(types.JID)
	if create, ok := n.GetOptionalChildByTag("create"); ok {
		return s.createFromIQ(d, &create)
	}
	if _, ok := n.GetOptionalChildByTag("participating"); ok {
		var out []waBinary.Node
		for _, g := range s.groupsOf(d.account) {
			out = append(out, s.groupNode(g))
		}
		return []waBinary.Node{{Tag: "groups", Content: out}}, nil
	}
	if _, ok := n.GetOptionalChildByTag("query"); !ok {
		return nil, iqError{501}
	}
	g, ok := s.group(to)
	if !ok {
		return nil, iqError{404}
	}
	if !slices.Contains(g.Members, d.account.number) {
		return nil, iqError{403}
	}
	return []waBinary.Node{s.groupNode(g)}, nil
}

func (s *Server) createFromIQ(d *device, create *waBinary.Node) ([]waBinary.Node, error) {
	subject, _ := create.Attrs["subject"].(string)
	var members []*account
	for _, p := range create.GetChildrenByTag("participant") {
		jid, _ := p.Attrs["jid"].(types.JID)
		a, ok := s.lookup(jid)
		if !ok {
			return nil, iqError{404}
		}
		members = append(members, a)
	}
	g, err := s.createGroup(subject, d.account, d, members)
	if err != nil {
		return nil, err
	}
	return []waBinary.Node{s.groupNode(g)}, nil
}

func (s *Server) groupsOf(a *account) []*group {
	return slices.DeleteFunc(s.allGroups(), func(g *group) bool { return !slices.Contains(g.Members, a.number) })
}

// allGroups lists groups, oldest first.
func (s *Server) allGroups() []*group {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := slices.Collect(maps.Values(s.groups))
	slices.SortFunc(out, func(x, y *group) int { return x.Created.Compare(y.Created) })
	return out
}

// routeGroup sends every member's devices the message, each with its own copy of the sender key if the client made one.
func (s *Server) routeGroup(r *routing, n *waBinary.Node) error {
	g, ok := s.group(r.to)
	if !ok {
		return ackError{404}
	}
	if !slices.Contains(g.Members, r.sender.number) {
		return ackError{403}
	}
	r.group = g
	encs := n.GetChildrenByTag("enc")
	participants, ok := n.GetOptionalChildByTag("participants")
	if !ok { // a retry: for one device alone
		jid, _ := n.Attrs["participant"].(types.JID)
		a, ok := s.lookup(jid)
		if !ok {
			return errors.New("a group message without participants")
		}
		return r.add(a, jid.Device, encs)
	}
	keys := map[types.JID][]waBinary.Node{}
	for _, node := range participants.GetChildrenByTag("to") {
		if jid, ok := node.Attrs["jid"].(types.JID); ok {
			if a, ok := s.lookup(jid); ok {
				keys[a.lidJID(jid.Device)] = node.GetChildrenByTag("enc")
			}
		}
	}
	members := s.members(g)
	var all []types.JID
	for _, a := range members {
		all = append(all, a.jids(types.HiddenUserServer)...)
	}
	for _, p := range r.everyDevice(members) {
		index := uint16(0)
		if p.device != nil {
			index = p.device.index
		}
		if err := r.add(p.account, index, append(slices.Clone(keys[p.account.lidJID(index)]), encs...)); err != nil {
			return err
		}
	}
	if expected := participantHash(all); n.Attrs["phash"] != expected {
		r.phash = expected
	}
	return nil
}
