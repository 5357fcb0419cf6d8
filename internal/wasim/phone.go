package wasim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/signalerror"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// maxRetries is how often a phone asks for the same message again.
const maxRetries = 5

// Shown is a message as a phone shows it.
type Shown struct {
	ID       string         `json:"id"`              // stanza id
	From     string         `json:"from"`            // number of the sender
	To       string         `json:"to,omitempty"`    // only for copies of what the phone's own companions sent: number or group JID
	Group    string         `json:"group,omitempty"` // JID of the group, if it was sent to one
	Type     string         `json:"type"`            // text, image, video, audio, document, sticker, location, contacts, reaction, edit, revoke or unknown
	Text     string         `json:"text"`            // also the emoji of a reaction and the new text of an edit
	Caption  string         `json:"caption"`
	Filename string         `json:"filename"`
	Mimetype string         `json:"mimetype"`
	SHA256   string         `json:"sha256"` // of the decrypted file, hex
	Size     int64          `json:"size"`   // of the decrypted file, bytes
	Voice    bool           `json:"voice,omitempty"`
	Location *ShownLocation `json:"location,omitempty"`
	VCards   []string       `json:"vcards,omitempty"` // of contacts
	// Target is the stanza id of the message that a reaction, an edit or a revoke is about, or that a reply quotes; Quoted is what it quotes.
	Target   string        `json:"target,omitempty"`
	Quoted   string        `json:"quoted,omitempty"`
	Mentions []string      `json:"mentions,omitempty"` // JIDs
	Preview  *ShownPreview `json:"preview,omitempty"`
	// What became of it since.
	Edited   string `json:"edited,omitempty"`  // its text or caption now
	Revoked  bool   `json:"revoked,omitempty"` // deleted for everyone
	Reaction string `json:"reaction,omitempty"`
	// MediaError says why the file cannot be opened, while the rest of the message is shown.
	MediaError string    `json:"mediaError,omitempty"`
	At         time.Time `json:"at"`
	// Decrypted holds the time of every successful decryption of this stanza id, so "shown twice" (never) differs from
	// "decrypted again".
	Decrypted []time.Time `json:"decrypted"`

	position int    // in the inbox
	becomes  *Shown // of an edit: what its target is to be
}

// reaction is what a phone does about a message it got.
type reaction struct {
	retry int           // > 0: the number of the retry receipt it sends instead of any other
	after time.Duration // until it sends that
	first *Shown        // shown for the first time, nil for a repetition
}

// incoming is one message as it reaches a phone.
type incoming struct {
	phone *account
	r     *routing
	encs  []waBinary.Node
	at    time.Time
}

func (in incoming) sender() types.JID { return in.r.sender.lidJID(in.r.device) }

func (in incoming) seenKey() string { return in.r.sender.number + "/" + in.r.id }

// deliverToPhone lets a phone handle its part and answers the sender with what the phone says. The caller holds the phone's lock.
func (s *Server) deliverToPhone(b *batch, r *routing, p part, at time.Time) error {
	in := incoming{phone: p.account, r: r, encs: p.encs, at: at}
	did, err := p.account.receive(b, s, in)
	if err != nil {
		return err
	}
	if did.retry > 0 {
		return s.requestRetry(b, in, did)
	}
	return s.confirmDelivery(b, in, did.first)
}

// receive decrypts a message and shows it, unless it was shown before.
func (a *account) receive(b *batch, s *Server, in incoming) (reaction, error) {
	if in.phone != in.r.sender {
		if f := s.faults.takeFor(in.r.sender.number, describeArrival(a), Undecryptable); f != nil {
			did := a.refuse(s, in, errScripted)
			did.after = f.Delay
			return did, nil
		}
	}
	shown := a.seen[in.seenKey()]
	var content *waE2E.Message
	for _, enc := range in.encs {
		msg, err := a.decrypt(in, enc)
		if err != nil {
			if shown != nil && errors.Is(err, signalerror.ErrOldCounter) {
				return reaction{}, nil // the same ciphertext once more: confirmed again, nothing to show
			}
			return a.refuse(s, in, err), nil
		}
		if hasContent(msg) {
			content = msg
		}
	}
	if content == nil {
		return reaction{}, nil
	}
	if shown != nil {
		shown.Decrypted = append(shown.Decrypted, now())
		return reaction{}, a.saveShown(b, shown)
	}
	shown = s.render(in, content)
	if err := a.applyChange(b, in, shown); err != nil {
		return reaction{}, err
	}
	shown.position = len(a.inbox)
	a.inbox = append(a.inbox, shown)
	a.seen[in.seenKey()] = shown
	delete(a.retries, in.seenKey())
	b.after(a.changed.notify)
	return reaction{first: shown}, a.saveShown(b, shown)
}

var errScripted = errors.New("a scripted fault")

// refuse is how a phone reacts to a message it cannot decrypt.
func (a *account) refuse(s *Server, in incoming, err error) reaction {
	count := a.retries[in.seenKey()] + 1
	a.retries[in.seenKey()] = count
	s.log.Info("a phone cannot decrypt a message", "phone", a.number, "stanza", in.r.id, "from", in.sender().String(), "retry", count, "error", err)
	if count > maxRetries {
		return reaction{}
	}
	return reaction{retry: count}
}

func (a *account) saveShown(b *batch, m *Shown) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a shown message: %w", err)
	}
	b.put(kindShown, fmt.Sprintf("%s/%010d", a.number, m.position), value)
	return nil
}

// decrypt opens one enc node and keeps a sender key that came with it.
func (a *account) decrypt(in incoming, enc waBinary.Node) (*waE2E.Message, error) {
	ctx := context.Background() // the stores are in memory
	ciphertext, _ := enc.Content.([]byte)
	var plain []byte
	var err error
	switch enc.Attrs["type"] {
	case "pkmsg":
		plain, err = a.decryptPreKey(ctx, in, ciphertext)
	case "msg":
		var msg *protocol.SignalMessage
		if msg, err = protocol.NewSignalMessageFromBytes(ciphertext, store.SignalProtobufSerializer.SignalMessage); err == nil {
			plain, err = a.cipher(in.sender()).Decrypt(ctx, msg)
		}
	case "skmsg":
		var msg *protocol.SenderKeyMessage
		if msg, err = protocol.NewSenderKeyMessageFromBytes(ciphertext, store.SignalProtobufSerializer.SenderKeyMessage); err == nil {
			plain, err = a.groupCipher(in).Decrypt(ctx, msg)
		}
	default:
		err = fmt.Errorf("unknown encryption %v", enc.Attrs["type"])
	}
	if err != nil {
		return nil, err
	}
	var msg waE2E.Message
	if plain, err = unpad(plain); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(plain, &msg); err != nil {
		return nil, fmt.Errorf("decoding a message: %w", err)
	}
	if skdm := msg.GetSenderKeyDistributionMessage(); skdm != nil && in.r.group != nil {
		if err := a.learnSenderKey(ctx, in, skdm); err != nil {
			return nil, err
		}
	}
	return &msg, nil
}

// decryptPreKey opens the first message of a session. A companion has to show that its account vouches for the key it used.
func (a *account) decryptPreKey(ctx context.Context, in incoming, ciphertext []byte) ([]byte, error) {
	pb := store.SignalProtobufSerializer
	msg, err := protocol.NewPreKeySignalMessageFromBytes(ciphertext, pb.PreKeySignalMessage, pb.SignalMessage)
	if err != nil {
		return nil, err
	}
	if in.r.device > 0 {
		key := msg.IdentityKey().PublicKey().PublicKey()
		if err := in.r.sender.verifyDeviceIdentity(in.r.identity, key[:]); err != nil {
			return nil, err
		}
	}
	return a.cipher(in.sender()).DecryptMessage(ctx, msg)
}

// verifyDeviceIdentity checks the chain from the account's primary key to a companion's identity key.
func (a *account) verifyDeviceIdentity(raw, deviceKey []byte) error {
	var id waAdv.ADVSignedDeviceIdentity
	if err := proto.Unmarshal(raw, &id); err != nil || len(raw) == 0 {
		return fmt.Errorf("a pkmsg of a companion without a device identity (%w)", errors.Join(err))
	}
	primary := a.phone.IdentityKey.Pub[:]
	if !verifyAccountSignature(&id, deviceKey, primary) || !verifyDeviceSignature(&id, deviceKey, primary) {
		return errors.New("a companion's device identity is not signed by its account")
	}
	return nil
}

func (a *account) cipher(remote types.JID) *session.Cipher {
	return session.NewCipher(session.NewBuilderFromSignal(a.phone, remote.SignalAddress(), store.SignalProtobufSerializer), remote.SignalAddress())
}

func (a *account) groupCipher(in incoming) *groups.GroupCipher {
	name := protocol.NewSenderKeyName(in.r.group.jid().String(), in.sender().SignalAddress())
	return groups.NewGroupCipher(groups.NewGroupSessionBuilder(a.phone, store.SignalProtobufSerializer), name, a.phone)
}

func (a *account) learnSenderKey(ctx context.Context, in incoming, skdm *waE2E.SenderKeyDistributionMessage) error {
	msg, err := protocol.NewSenderKeyDistributionMessageFromBytes(
		skdm.GetAxolotlSenderKeyDistributionMessage(), store.SignalProtobufSerializer.SenderKeyDistributionMessage)
	if err != nil {
		return fmt.Errorf("reading a sender key: %w", err)
	}
	name := protocol.NewSenderKeyName(skdm.GetGroupID(), in.sender().SignalAddress())
	return groups.NewGroupSessionBuilder(a.phone, store.SignalProtobufSerializer).Process(ctx, name, msg)
}

// pad appends 1 to 15 bytes that each hold their number.
func pad(plain []byte) []byte {
	n := int(randomBytes(1)[0])%15 + 1
	out := make([]byte, len(plain)+n)
	copy(out, plain)
	for i := len(plain); i < len(out); i++ {
		out[i] = byte(n)
	}
	return out
}

func unpad(plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, errors.New("an empty plaintext")
	}
	n := int(plain[len(plain)-1])
	if n == 0 || n > len(plain) {
		return nil, errors.New("a plaintext with wrong padding")
	}
	return plain[:len(plain)-n], nil
}

// Shown returns what the phone of number shows, oldest first.
func (s *Server) Shown(number string) []Shown {
	return s.inbox(number, func(m *Shown) bool { return m.To == "" })
}

// SentCopies returns the copies that the phone of number got of what its own companions sent.
func (s *Server) SentCopies(number string) []Shown {
	return s.inbox(number, func(m *Shown) bool { return m.To != "" })
}

func (s *Server) inbox(number string, want func(*Shown) bool) []Shown {
	a, ok := s.existing(number)
	if !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Shown
	for _, m := range a.inbox {
		if want(m) {
			c := *m
			c.Decrypted = append([]time.Time(nil), m.Decrypted...)
			out = append(out, c)
		}
	}
	return out
}

// WaitShown waits until the phone of number shows at least n messages, and returns them.
func (s *Server) WaitShown(ctx context.Context, number string, n int) ([]Shown, error) {
	a, ok := s.account(digits(number))
	if !ok {
		return nil, fmt.Errorf("%q is not on WhatsApp", number)
	}
	for {
		changed := a.changed.wait()
		shown := s.Shown(number)
		if len(shown) >= n {
			return shown, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return shown, fmt.Errorf("waiting for message %d of %s: %w", n, number, ctx.Err())
		}
	}
}
