package wasim

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/util/optional"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// sentMessage is what a phone keeps of a message it sent, in case somebody cannot decrypt it.
type sentMessage struct {
	To      string `json:"to"`      // JID of the chat
	Message []byte `json:"message"` // encoded waE2E.Message
}

// address finds out who is in the chat.
func (s *Server) address(r *routing, to string) (members []*account, err error) {
	jid := types.NewJID(digits(to), types.DefaultUserServer)
	if strings.Contains(to, "@") {
		if jid, err = types.ParseJID(to); err != nil {
			return nil, fmt.Errorf("reading the recipient: %w", err)
		}
	}
	if jid.Server == types.GroupServer {
		g, ok := s.group(jid)
		if !ok || !slices.Contains(g.Members, r.sender.number) {
			return nil, fmt.Errorf("%s is not a group of %s", jid, r.sender.number)
		}
		r.group, r.to = g, jid
		return s.members(g), nil
	}
	recipient, ok := s.lookup(jid)
	if !ok {
		return nil, fmt.Errorf("%q is not on WhatsApp", to)
	}
	pn := recipient.pnJID(0)
	r.to, r.recipientPN = recipient.lidJID(0), &pn
	return []*account{recipient, r.sender}, nil
}

// sendLocked encrypts and delivers a phone's message to everyone in the chat and submits b.
func (s *Server) sendLocked(b *batch, r *routing, members []*account, msg *waE2E.Message) error {
	defer lockPhones(b, append(slices.Clone(members), r.sender))()
	plain, err := proto.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	if err := r.sender.remember(b, r, plain); err != nil {
		return err
	}
	if r.group != nil {
		err = s.encryptForGroup(b, r, members, plain)
	} else {
		err = s.encryptForChat(b, r, members, msg, plain)
	}
	if err != nil {
		return err
	}
	if err := s.deliver(b, r); err != nil {
		return err
	}
	b.submit()
	return nil
}

func (a *account) remember(b *batch, r *routing, plain []byte) error {
	m := &sentMessage{To: r.to.String(), Message: plain}
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a sent message: %w", err)
	}
	a.sent[r.id] = m
	b.put(kindSent, a.number+"/"+r.id, value)
	return nil
}

func (s *Server) encryptForChat(b *batch, r *routing, members []*account, msg *waE2E.Message, plain []byte) error {
	copied, err := proto.Marshal(deviceSent(r.to, msg))
	if err != nil {
		return fmt.Errorf("encoding a message for own devices: %w", err)
	}
	for _, p := range r.everyDevice(members) {
		data := plain
		if p.account == r.sender {
			data = copied
		}
		enc, err := r.sender.encrypt(b, p, data)
		if err != nil {
			return err
		}
		p.encs = []waBinary.Node{enc}
		r.parts = append(r.parts, p)
	}
	return nil
}

// encryptForGroup encrypts once with the sender key, and the sender key for each device.
func (s *Server) encryptForGroup(b *batch, r *routing, members []*account, plain []byte) error {
	ctx := context.Background() // the stores are in memory
	builder := groups.NewGroupSessionBuilder(r.sender.phone, store.SignalProtobufSerializer)
	name := protocol.NewSenderKeyName(r.to.String(), r.sender.lidJID(0).SignalAddress())
	skdm, err := builder.Create(ctx, name)
	if err != nil {
		return fmt.Errorf("making a sender key: %w", err)
	}
	key, err := proto.Marshal(&waE2E.Message{SenderKeyDistributionMessage: &waE2E.SenderKeyDistributionMessage{
		GroupID: proto.String(r.to.String()), AxolotlSenderKeyDistributionMessage: skdm.Serialize(),
	}})
	if err != nil {
		return fmt.Errorf("encoding a sender key: %w", err)
	}
	ciphertext, err := groups.NewGroupCipher(builder, name, r.sender.phone).Encrypt(ctx, pad(plain))
	if err != nil {
		return fmt.Errorf("encrypting for a group: %w", err)
	}
	body := encNode("skmsg", ciphertext.SignedSerialize())
	for _, p := range r.everyDevice(members) {
		enc, err := r.sender.encrypt(b, p, key)
		if err != nil {
			return err
		}
		p.encs = []waBinary.Node{enc, body}
		r.parts = append(r.parts, p)
	}
	return nil
}

// everyDevice lists the devices of the members, except the one that sends.
func (r *routing) everyDevice(members []*account) []part {
	var out []part
	for i, a := range members {
		if slices.Index(members, a) != i {
			continue // a note to oneself names the same account twice
		}
		if a != r.sender || r.device != 0 {
			out = append(out, part{account: a})
		}
		for _, d := range a.companions() {
			if a != r.sender || d.index != r.device {
				out = append(out, part{account: a, device: d})
			}
		}
	}
	return out
}

// encrypt makes the enc node of one device, starting a session when there is none. The caller holds mu.
func (a *account) encrypt(b *batch, p part, plain []byte) (waBinary.Node, error) {
	to := p.account.lidJID(0)
	if p.device != nil {
		to = p.device.lid()
	}
	if _, ok := a.signal.sessions[to.SignalAddress().String()]; !ok {
		if err := a.startSession(b, p, to); err != nil {
			return waBinary.Node{}, err
		}
	}
	return a.encryptTo(to, plain)
}

func (a *account) encryptTo(to types.JID, plain []byte) (waBinary.Node, error) {
	ciphertext, err := a.cipher(to).Encrypt(context.Background(), pad(plain))
	if err != nil {
		return waBinary.Node{}, fmt.Errorf("encrypting for %s: %w", to, err)
	}
	kind := "msg"
	if ciphertext.Type() == protocol.PREKEY_TYPE {
		kind = "pkmsg"
	}
	return encNode(kind, ciphertext.Serialize()), nil
}

func encNode(kind string, data []byte) waBinary.Node {
	return waBinary.Node{Tag: "enc", Attrs: waBinary.Attrs{"v": "2", "type": kind}, Content: data}
}

func deviceSent(to types.JID, msg *waE2E.Message) *waE2E.Message {
	return &waE2E.Message{DeviceSentMessage: &waE2E.DeviceSentMessage{DestinationJID: proto.String(to.String()), Message: msg}}
}

// startSession fetches a bundle of the device and builds a session on it.
func (a *account) startSession(b *batch, p part, to types.JID) error {
	var nodes []waBinary.Node
	if p.device != nil {
		nodes, _ = p.device.bundle(b)
	} else {
		var err error
		if nodes, err = p.account.keyNodes(); err != nil {
			return err
		}
		if err := p.account.save(b); err != nil {
			return err
		}
	}
	return a.useBundle(to, &waBinary.Node{Content: nodes})
}

// useBundle builds a session from the nodes of a bundle.
func (a *account) useBundle(to types.JID, n *waBinary.Node) error {
	registration, _ := n.GetChildByTag("registration").Content.([]byte)
	id, _ := n.GetChildByTag("identity").Content.([]byte)
	skey, key := n.GetChildByTag("skey"), n.GetChildByTag("key")
	signedID, signedPub, signature := readPreKey(&skey)
	oneID, onePub, _ := readPreKey(&key)
	if len(registration) != 4 || len(id) != 32 || len(signedPub) != 32 || len(signature) != 64 {
		return fmt.Errorf("the prekey bundle of %s is incomplete", to)
	}
	pre := optional.NewEmptyUint32()
	var prePub ecc.ECPublicKeyable
	if len(onePub) == 32 {
		pre, prePub = optional.NewOptionalUint32(oneID), ecc.NewDjbECPublicKey([32]byte(onePub))
	}
	regID, err := strconv.ParseUint(hex.EncodeToString(registration), 16, 32)
	if err != nil {
		return fmt.Errorf("reading a registration id: %w", err)
	}
	bundle := prekey.NewBundle(uint32(regID), uint32(to.Device), pre, signedID, prePub,
		ecc.NewDjbECPublicKey([32]byte(signedPub)), [64]byte(signature), identity.NewKey(ecc.NewDjbECPublicKey([32]byte(id))))
	builder := session.NewBuilderFromSignal(a.phone, to.SignalAddress(), store.SignalProtobufSerializer)
	if err := builder.ProcessBundle(context.Background(), bundle); err != nil {
		return fmt.Errorf("starting a session with %s: %w", to, err)
	}
	return nil
}

// resend answers a companion's retry receipt: the phone encrypts the message again for that device alone.
func (s *Server) resend(to *device, receipt *waBinary.Node, sender *account) error {
	sender.asked.Add(1)
	retry := receipt.GetChildByTag("retry")
	id, _ := retry.Attrs["id"].(string)
	b := s.journal.begin()
	queued, err := s.encryptAgain(b, to, receipt, sender, id)
	if err != nil {
		// The client's next retry receipt brings keys; a broken bundle must not end its connection.
		s.log.Warn("a message cannot be sent again", "phone", sender.number, "stanza", id, "error", err)
		return nil
	}
	if !queued {
		return nil
	}
	return b.finish()
}

func (s *Server) encryptAgain(b *batch, to *device, receipt *waBinary.Node, sender *account, id string) (queued bool, err error) {
	defer lockPhones(b, []*account{sender})()
	m := sender.sent[id]
	if m == nil {
		return false, errors.New("the phone does not know this message")
	}
	var msg waE2E.Message
	if err := proto.Unmarshal(m.Message, &msg); err != nil {
		return false, fmt.Errorf("decoding a sent message: %w", err)
	}
	chat, err := types.ParseJID(m.To)
	if err != nil {
		return false, fmt.Errorf("reading a chat's JID: %w", err)
	}
	r := &routing{sender: sender, id: id, typ: "text", to: chat}
	content := &msg
	if chat.Server == types.GroupServer {
		if r.group, _ = s.group(chat); r.group == nil {
			return false, errors.New("the group is gone")
		}
		builder := groups.NewGroupSessionBuilder(sender.phone, store.SignalProtobufSerializer)
		skdm, err := builder.Create(context.Background(), protocol.NewSenderKeyName(m.To, sender.lidJID(0).SignalAddress()))
		if err != nil {
			return false, fmt.Errorf("making a sender key: %w", err)
		}
		content.SenderKeyDistributionMessage = &waE2E.SenderKeyDistributionMessage{
			GroupID: proto.String(m.To), AxolotlSenderKeyDistributionMessage: skdm.Serialize(),
		}
	} else if to.account == sender {
		content = deviceSent(chat, &msg)
	}
	plain, err := proto.Marshal(content)
	if err != nil {
		return false, fmt.Errorf("encoding a message: %w", err)
	}
	retry := receipt.GetChildByTag("retry")
	count, _ := retry.Attrs["count"].(string)
	if keys, ok := receipt.GetOptionalChildByTag("keys"); ok {
		keys.Content = append([]waBinary.Node{receipt.GetChildByTag("registration")}, keys.GetChildren()...)
		err = sender.useBundle(to.lid(), &keys)
	} else if count != "1" {
		err = sender.startSession(b, part{account: to.account, device: to}, to.lid())
	}
	if err != nil {
		return false, err
	}
	p := part{account: to.account, device: to}
	enc, err := sender.encrypt(b, p, plain)
	if err != nil {
		return false, err
	}
	enc.Attrs["count"] = count
	p.encs = []waBinary.Node{enc}
	if err := to.enqueue(b, r.forward(p, now())); err != nil {
		return false, err
	}
	b.submit()
	return true, nil
}
