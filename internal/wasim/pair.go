package wasim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"go.mau.fi/libsignal/ecc"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"google.golang.org/protobuf/proto"
)

const (
	pairingRefs  = 6   // QR codes a client can show one after the other
	maxDeviceIdx = 255 // a device is one byte in a JID
)

// Prefixes of the messages that are signed while pairing.
var (
	accountSignaturePrefix = []byte{6, 0} //nolint:gochecknoglobals // a constant
	deviceSignaturePrefix  = []byte{6, 1} //nolint:gochecknoglobals // a constant
)

// ErrUnknownQR is returned for a QR code that no connected client shows.
var ErrUnknownQR = errors.New("no client shows this QR code")

// pairing is a client that shows QR codes, or may come to show a code to be entered. Its fields are set before the codes are known to anyone.
type pairing struct {
	refs   []string
	device deviceRecord
	claim  chan struct{}      // holds a token: one phone scans at a time
	answer chan waBinary.Node // the client's answer to pair-success
}

func (c *conn) startPairing(reg *waWa6.ClientPayload_DevicePairingRegistrationData) error {
	if f := c.srv.faults.take(func(f *Fault) bool { return f.Kind == LoginFailure && f.Account == "" }); f != nil {
		c.send(f.failureNode())
		return errors.New("pairing refused by script")
	}
	if len(reg.GetEIdent()) != 32 || len(reg.GetESkeyVal()) != 32 || len(reg.GetESkeySig()) != 64 || len(reg.GetERegid()) != 4 || len(reg.GetESkeyID()) != 3 {
		c.send(waBinary.Node{Tag: "failure", Attrs: waBinary.Attrs{"reason": 400}})
		return errors.New("the registration lacks keys")
	}
	signed := append([]byte{ecc.DjbType}, reg.GetESkeyVal()...)
	if !ecc.VerifySignature(ecc.NewDjbECPublicKey([32]byte(reg.GetEIdent())), signed, [64]byte(reg.GetESkeySig())) {
		c.send(waBinary.Node{Tag: "failure", Attrs: waBinary.Attrs{"reason": 400}})
		return errors.New("the signed prekey of the registration is not signed by its identity")
	}
	p := &pairing{
		device: deviceRecord{
			Noise: c.noiseKey, Identity: reg.GetEIdent(), Registration: binary.BigEndian.Uint32(reg.GetERegid()),
			SignedID: bigEndian24(reg.GetESkeyID()), SignedKey: reg.GetESkeyVal(), Signature: reg.GetESkeySig(),
		},
		claim: make(chan struct{}, 1), answer: make(chan waBinary.Node, 1),
	}
	p.claim <- struct{}{}
	nodes := make([]waBinary.Node, pairingRefs)
	for i := range nodes {
		ref := "2@" + base64.RawStdEncoding.EncodeToString(randomBytes(48))
		p.refs = append(p.refs, ref)
		nodes[i] = waBinary.Node{Tag: "ref", Content: []byte(ref)}
	}
	c.pairing = p
	c.srv.mu.Lock()
	for _, ref := range p.refs {
		c.srv.refs[ref] = c
	}
	c.srv.mu.Unlock()
	c.send(waBinary.Node{
		Tag:     "iq",
		Attrs:   waBinary.Attrs{"from": serverJID, "type": "set", "id": c.srv.iqID(), "xmlns": "md"},
		Content: []waBinary.Node{{Tag: "pair-device", Content: nodes}},
	})
	return nil
}

func (c *conn) stopPairing() {
	if c.pairing == nil {
		return
	}
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	for _, ref := range c.pairing.refs {
		delete(c.srv.refs, ref)
	}
	c.stopLinking()
}

// handlePairing reads what an unpaired client may say: the queries of pairing by code, and the answers to pair-device, which
// mean nothing, and to pair-success.
func (c *conn) handlePairing(n *waBinary.Node) error {
	if n.Tag != "iq" {
		return nil
	}
	if n.Attrs["xmlns"] == "w:p" { // keepalive
		c.send(waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"from": serverJID, "type": "result", "id": n.Attrs["id"]}})
		return nil
	}
	if reg, ok := n.GetOptionalChildByTag("link_code_companion_reg"); ok {
		c.linkCodeIQ(n, &reg)
		return nil
	}
	if _, ok := n.GetOptionalChildByTag("pair-device-sign"); ok || n.Attrs["type"] == "error" {
		select {
		case c.pairing.answer <- *n:
		default:
		}
	}
	return nil
}

// Pair acts as the phone of number that scans a QR code: it makes the client that shows the code a companion device. It
// returns when the device is stored and the client was told to log in. Errors: ErrUnknownQR, or what the client said.
func (s *Server) Pair(ctx context.Context, qr, number string) error {
	code, err := parseQR(qr)
	if err != nil {
		return err
	}
	a, ok := s.account(digits(number))
	if !ok {
		return fmt.Errorf("%q cannot be a WhatsApp number", number)
	}
	s.mu.RLock()
	c := s.refs[code.ref]
	s.mu.RUnlock()
	if c == nil {
		return ErrUnknownQR
	}
	p := c.pairing
	select {
	case <-p.claim:
	case <-c.ctx.Done():
		return ErrUnknownQR
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.claim <- struct{}{} }()
	if !bytes.Equal(code.noise, p.device.Noise) || !bytes.Equal(code.identity, p.device.Identity) {
		return errors.New("the QR code's keys are not those of the client that shows it")
	}
	return s.link(ctx, c, a, code.advSecret)
}

// link makes the client of c a companion of a, with the secret that client and phone share. The caller holds the client's claim.
func (s *Server) link(ctx context.Context, c *conn, a *account, advSecret []byte) error {
	p := c.pairing
	d := &device{account: a, index: a.reserveDevice(), keys: p.device, sequence: s.nextSeq}
	if d.index == 0 {
		return fmt.Errorf("%s has no room for another device", a.number)
	}
	identity, container, err := a.certify(d, advSecret)
	if err != nil {
		return err
	}
	c.send(waBinary.Node{
		Tag:   "iq",
		Attrs: waBinary.Attrs{"from": serverJID, "type": "set", "id": s.iqID(), "xmlns": "md", "t": now().Unix()},
		Content: []waBinary.Node{{Tag: "pair-success", Content: []waBinary.Node{
			{Tag: "device-identity", Content: container},
			{Tag: "device", Attrs: waBinary.Attrs{"jid": a.pnJID(d.index), "lid": a.lidJID(d.index)}},
			{Tag: "platform", Attrs: waBinary.Attrs{"name": "android"}},
		}}},
	})
	var answer waBinary.Node
	select {
	case answer = <-p.answer:
	case <-c.ctx.Done():
		return errors.New("the client went away while it was paired")
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.confirmPairing(&answer, identity); err != nil {
		c.drop()
		return err
	}
	if err := s.addDevice(d); err != nil {
		return err
	}
	s.log.Info("a device was paired", "account", a.number, "device", d.index)
	// The client logs in with its new identity when it is told to start over.
	c.send(waBinary.Node{Tag: "stream:error", Attrs: waBinary.Attrs{"code": "515"}})
	c.finish(restart)
	return nil
}

// certify signs the device with the account's identity key and proves knowledge of the secret that client and phone share.
func (a *account) certify(d *device, advSecret []byte) (identity *waAdv.ADVSignedDeviceIdentity, container []byte, err error) {
	details, err := proto.Marshal(&waAdv.ADVDeviceIdentity{
		RawID: proto.Uint32(a.phone.RegistrationID), Timestamp: proto.Uint64(uint64(now().Unix())), KeyIndex: proto.Uint32(uint32(d.index)),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a device identity: %w", err)
	}
	sig := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*a.phone.IdentityKey.Priv), concat(accountSignaturePrefix, details, d.keys.Identity))
	identity = &waAdv.ADVSignedDeviceIdentity{
		Details: details, AccountSignatureKey: a.phone.IdentityKey.Pub[:], AccountSignature: sig[:],
	}
	signed, err := proto.Marshal(identity)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a signed device identity: %w", err)
	}
	mac := hmac.New(sha256.New, advSecret)
	mac.Write(signed)
	container, err = proto.Marshal(&waAdv.ADVSignedDeviceIdentityHMAC{Details: signed, HMAC: mac.Sum(nil)})
	return identity, container, err
}

// confirmPairing checks the client's answer: its signature over the same details.
func (d *device) confirmPairing(answer *waBinary.Node, identity *waAdv.ADVSignedDeviceIdentity) error {
	if answer.Attrs["type"] == "error" {
		e := answer.GetChildByTag("error")
		return fmt.Errorf("the client refused the pairing: %v %v", e.Attrs["code"], e.Attrs["text"])
	}
	sign := answer.GetChildByTag("pair-device-sign", "device-identity")
	raw, _ := sign.Content.([]byte)
	var got waAdv.ADVSignedDeviceIdentity
	if err := proto.Unmarshal(raw, &got); err != nil {
		return fmt.Errorf("reading the client's device identity: %w", err)
	}
	if !bytes.Equal(got.GetDetails(), identity.GetDetails()) || !verifyDeviceSignature(&got, d.keys.Identity, identity.GetAccountSignatureKey()) {
		return errors.New("the client's device signature is wrong")
	}
	got.AccountSignatureKey = identity.GetAccountSignatureKey()
	adv, err := proto.Marshal(&got)
	if err != nil {
		return fmt.Errorf("encoding the device identity: %w", err)
	}
	d.keys.ADV = adv
	return nil
}

func verifyDeviceSignature(id *waAdv.ADVSignedDeviceIdentity, deviceKey, accountKey []byte) bool {
	return len(id.GetDeviceSignature()) == 64 && len(deviceKey) == 32 && ecc.VerifySignature(
		ecc.NewDjbECPublicKey([32]byte(deviceKey)),
		concat(deviceSignaturePrefix, id.GetDetails(), deviceKey, accountKey),
		[64]byte(id.GetDeviceSignature()))
}

// verifyAccountSignature checks that the account's primary identity vouches for the device key.
func verifyAccountSignature(id *waAdv.ADVSignedDeviceIdentity, deviceKey, accountKey []byte) bool {
	return len(id.GetAccountSignature()) == 64 && len(accountKey) == 32 && ecc.VerifySignature(
		ecc.NewDjbECPublicKey([32]byte(accountKey)),
		concat(accountSignaturePrefix, id.GetDetails(), deviceKey),
		[64]byte(id.GetAccountSignature()))
}

// reserveDevice gives out an index that no living device has, 0 when all are taken.
func (a *account) reserveDevice() uint16 {
	a.devMu.Lock()
	defer a.devMu.Unlock()
	taken := map[uint16]bool{}
	for _, d := range a.devices {
		taken[d.index] = true
	}
	for range maxDeviceIdx {
		a.last = a.last%maxDeviceIdx + 1
		if !taken[a.last] {
			return a.last
		}
	}
	return 0
}

func (s *Server) addDevice(d *device) error {
	a := d.account
	a.mu.Lock()
	b := s.journal.begin()
	err := errors.Join(a.save(b), d.save(b))
	if err == nil {
		b.submit()
	}
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return err
	}
	a.devMu.Lock()
	defer a.devMu.Unlock()
	a.devices = append(a.devices, d)
	return nil
}

// removeDevice unlinks a companion: its keys and its queue are gone, its connection is not touched.
func (s *Server) removeDevice(d *device) error {
	a := d.account
	a.devMu.Lock()
	kept := a.devices[:0:0]
	for _, other := range a.devices {
		if other != d {
			kept = append(kept, other)
		}
	}
	a.devices = kept
	a.devMu.Unlock()
	b := s.journal.begin()
	b.delete(kindDevice, d.path())
	d.mu.Lock()
	for _, k := range d.preKeys {
		b.delete(kindUploaded, d.preKeyPath(k.id))
	}
	for _, q := range d.queue {
		b.delete(kindQueue, d.queueKey(q))
	}
	d.preKeys, d.queue, d.sent, d.active = nil, nil, 0, false
	b.submit()
	d.mu.Unlock()
	return b.finish()
}

// qrCode is what a QR code says.
type qrCode struct {
	ref                        string
	noise, identity, advSecret []byte
}

// parseQR reads "ref,noise,identity,advSecret[,client]", with or without the URL that precedes it after a #.
func parseQR(qr string) (qrCode, error) {
	if _, after, ok := strings.Cut(qr, "#"); ok {
		qr = after
	}
	parts := strings.Split(strings.TrimSpace(qr), ",")
	if len(parts) < 4 {
		return qrCode{}, errors.New("a QR code has at least four parts")
	}
	code := qrCode{ref: parts[0]}
	for i, dst := range []*[]byte{&code.noise, &code.identity, &code.advSecret} {
		raw, err := base64.StdEncoding.DecodeString(parts[i+1])
		if err != nil {
			return qrCode{}, fmt.Errorf("reading part %d of the QR code: %w", i+2, err)
		}
		*dst = raw
	}
	return code, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func bigEndian24(b []byte) uint32 {
	if len(b) != 3 {
		return 0
	}
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}
