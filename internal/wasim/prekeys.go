package wasim

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.mau.fi/libsignal/ecc"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// lowPreKeys is when the server asks a device for more keys.
const lowPreKeys = 5

// storePreKeys keeps the one-time keys a client uploads, and its signed key when that changed.
func (d *device) storePreKeys(j *journal, n *waBinary.Node) error {
	list := n.GetChildByTag("list")
	skey := n.GetChildByTag("skey")
	signedID, signedKey, signature := readPreKey(&skey)
	if len(signedKey) != 32 || len(signature) != 64 {
		return iqError{400}
	}
	b := j.begin()
	d.mu.Lock()
	d.keys.SignedID, d.keys.SignedKey, d.keys.Signature = signedID, signedKey, signature
	if err := d.save(b); err != nil {
		d.mu.Unlock()
		return err
	}
	known := make(map[uint32]bool, len(d.preKeys))
	for _, k := range d.preKeys {
		known[k.id] = true
	}
	for _, key := range list.GetChildrenByTag("key") {
		id, pub, _ := readPreKey(&key)
		if len(pub) != 32 || known[id] {
			continue
		}
		d.preKeys = append(d.preKeys, uploadedKey{id, pub})
		b.put(kindUploaded, d.preKeyPath(id), pub)
	}
	b.submit()
	d.mu.Unlock()
	return b.finish()
}

func readPreKey(n *waBinary.Node) (id uint32, pub, signature []byte) {
	raw, _ := n.GetChildByTag("id").Content.([]byte)
	pub, _ = n.GetChildByTag("value").Content.([]byte)
	signature, _ = n.GetChildByTag("signature").Content.([]byte)
	return bigEndian24(raw), pub, signature
}

// preKeyBundles answers a request for the keys that start a session with each device named.
func (s *Server) preKeyBundles(n *waBinary.Node) ([]waBinary.Node, error) {
	key := n.GetChildByTag("key")
	b := s.journal.begin()
	var users []waBinary.Node
	for _, user := range key.GetChildrenByTag("user") {
		jid, _ := user.Attrs["jid"].(types.JID)
		out := waBinary.Node{Tag: "user", Attrs: waBinary.Attrs{"jid": jid, "t": now().Unix()}}
		bundle, err := s.preKeyBundle(b, jid)
		if err != nil {
			return nil, err
		}
		if bundle == nil {
			bundle = []waBinary.Node{{Tag: "error", Attrs: waBinary.Attrs{"code": 404, "text": iqErrorText(404)}}}
		}
		out.Content = bundle
		users = append(users, out)
	}
	if err := b.commit(); err != nil {
		return nil, err
	}
	return []waBinary.Node{{Tag: "list", Content: users}}, nil
}

// preKeyBundle takes one bundle of a device, nil when there is no such device.
func (s *Server) preKeyBundle(b *batch, jid types.JID) ([]waBinary.Node, error) {
	a, ok := s.lookup(jid)
	if !ok {
		return nil, nil
	}
	if jid.Device == 0 {
		own := s.journal.begin() // submitted under the lock, in the order in which phones change
		nodes, err := a.phoneBundle(own)
		if err != nil {
			return nil, err
		}
		return nodes, own.finish()
	}
	d := a.device(jid.Device)
	if d == nil {
		return nil, nil
	}
	nodes, left := d.bundle(b)
	if left < lowPreKeys {
		err := d.enqueue(b, waBinary.Node{
			Tag:     "notification",
			Attrs:   waBinary.Attrs{"from": serverJID, "id": s.iqID(), "t": now().Unix(), "type": "encrypt"},
			Content: []waBinary.Node{{Tag: "count", Attrs: waBinary.Attrs{"value": left}}},
		})
		if err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func (a *account) phoneBundle(b *batch) ([]waBinary.Node, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signal.batch = b
	defer func() { a.signal.batch = nil }()
	nodes, err := a.keyNodes()
	if err != nil {
		return nil, err
	}
	if err := a.save(b); err != nil {
		return nil, err
	}
	b.submit()
	return nodes, nil
}

// keyNodes makes a bundle of the phone with a fresh one-time key. The caller holds mu.
func (a *account) keyNodes() ([]waBinary.Node, error) {
	key, err := a.signal.GenOnePreKey(context.Background())
	if err != nil {
		return nil, fmt.Errorf("making a prekey for %s: %w", a.number, err)
	}
	signed := a.phone.SignedPreKey
	return bundleNodes(a.phone.RegistrationID, a.phone.IdentityKey.Pub[:],
		signed.KeyID, signed.Pub[:], signed.Signature[:], &uploadedKey{key.KeyID, key.Pub[:]}), nil
}

func (d *device) bundle(b *batch) (nodes []waBinary.Node, left int) {
	key, left := d.takePreKey(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	return bundleNodes(d.keys.Registration, d.keys.Identity, d.keys.SignedID, d.keys.SignedKey, d.keys.Signature, key), left
}

func bundleNodes(registration uint32, identity []byte, signedID uint32, signedKey, signature []byte, key *uploadedKey) []waBinary.Node {
	nodes := []waBinary.Node{
		{Tag: "registration", Content: binary.BigEndian.AppendUint32(nil, registration)},
		{Tag: "type", Content: []byte{ecc.DjbType}},
		{Tag: "identity", Content: identity},
		{Tag: "skey", Content: []waBinary.Node{
			{Tag: "id", Content: keyID(signedID)}, {Tag: "value", Content: signedKey}, {Tag: "signature", Content: signature},
		}},
	}
	if key != nil {
		nodes = append(nodes, waBinary.Node{Tag: "key", Content: []waBinary.Node{
			{Tag: "id", Content: keyID(key.id)}, {Tag: "value", Content: key.pub},
		}})
	}
	return nodes
}

func keyID(id uint32) []byte { return []byte{byte(id >> 16), byte(id >> 8), byte(id)} }

func loadDevice(a *account, index uint16, value []byte) (*device, error) {
	d := &device{account: a, index: index}
	if err := json.Unmarshal(value, &d.keys); err != nil {
		return nil, err
	}
	if len(d.keys.Identity) != 32 || len(d.keys.Noise) != 32 {
		return nil, fmt.Errorf("the keys of device %d are damaged", index)
	}
	return d, nil
}

func loadPreKey(id uint32, priv []byte) (*keys.PreKey, error) {
	if len(priv) != 32 {
		return nil, fmt.Errorf("prekey %d is damaged", id)
	}
	return &keys.PreKey{KeyPair: *keys.NewKeyPairFromPrivateKey([32]byte(priv)), KeyID: id}, nil
}
