package wasim

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

const (
	// linkCodeRounds makes guessing a code from what the server sees slow: PBKDF2 with SHA-256.
	linkCodeRounds = 2 << 16

	saltSize, ivSize, keySize = 32, 16, 32
	wrappedKeySize            = saltSize + ivSize + keySize
	bundleNonceSize           = 12

	// finishTimeout bounds the client's answer to a phone whose user entered a code.
	finishTimeout = 15 * time.Second
)

// Errors of PairCode.
var (
	ErrNoCodeWanted = errors.New("no client waits for this phone to enter a code")
	ErrWrongCode    = errors.New("the code is wrong")
)

// linkCodeForm is what a code looks like: its alphabet has no 0, I, O and U. browserForm is the name of a client that asks for one.
var (
	linkCodeForm = regexp.MustCompile(`^[1-9A-HJ-NP-TV-Z]{8}$`)
	browserForm  = regexp.MustCompile(`^(Chrome|Edge|Firefox|IE|Opera|Safari) \((Android|Chrome OS|Linux|Mac OS|Windows)\)$`)
)

// linkCode is a client that shows a code for one phone. It never changes; a client that asks again gets another.
type linkCode struct {
	conn    *conn
	number  string
	ref     []byte
	wrapped []byte          // the client's ephemeral key, encrypted with the code
	finish  chan linkedKeys // what the client answers to the phone
}

// linkedKeys is what companion_finish carries.
type linkedKeys struct{ bundle, identity []byte }

// linkCodeIQ answers the two queries of a client that is paired by code.
func (c *conn) linkCodeIQ(n, reg *waBinary.Node) {
	jid, _ := reg.Attrs["jid"].(types.JID)
	if f := c.srv.faults.takeFor(jid.User, describeIQ(n), IQError, IQSilent); f != nil {
		if f.Kind == IQError {
			c.iqFailed(n, f.Code)
		}
		return
	}
	var content []waBinary.Node
	var err error
	switch reg.Attrs["stage"] {
	case "companion_hello":
		content, err = c.companionHello(jid, reg)
	case "companion_finish":
		err = c.companionFinish(jid, reg)
	default:
		err = iqError{400}
	}
	if failed, ok := errors.AsType[iqError](err); ok {
		c.iqFailed(n, failed.code)
		return
	}
	result := waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"from": serverJID, "type": "result", "id": n.Attrs["id"]}}
	if content != nil {
		result.Content = content
	}
	c.send(result)
}

// companionHello takes a client's wish to be paired with a phone by code. The code itself is never told to the server.
func (c *conn) companionHello(jid types.JID, reg *waBinary.Node) ([]waBinary.Node, error) {
	a, ok := c.srv.account(jid.User)
	if !ok || jid.Server != types.DefaultUserServer || jid.Device != 0 {
		return nil, iqError{404}
	}
	wrapped := childBytes(reg, "link_code_pairing_wrapped_companion_ephemeral_pub")
	if len(wrapped) != wrappedKeySize || !bytes.Equal(childBytes(reg, "companion_server_auth_key_pub"), c.noiseKey) ||
		!browserForm.Match(childBytes(reg, "companion_platform_display")) || len(childBytes(reg, "companion_platform_id")) != 1 {
		return nil, iqError{400}
	}
	l := &linkCode{
		conn: c, number: a.number, ref: randomBytes(32), wrapped: wrapped,
		finish: make(chan linkedKeys, 1),
	}
	c.srv.mu.Lock()
	c.srv.links[a.number] = l // the last client that asks is the one that the phone tells its user of
	c.srv.mu.Unlock()
	return []waBinary.Node{{Tag: "link_code_companion_reg", Content: []waBinary.Node{{Tag: "link_code_pairing_ref", Content: l.ref}}}}, nil
}

// companionFinish hands the client's keys to the phone that waits for them.
func (c *conn) companionFinish(jid types.JID, reg *waBinary.Node) error {
	c.srv.mu.RLock()
	l := c.srv.links[jid.User]
	c.srv.mu.RUnlock()
	if l == nil || l.conn != c || !bytes.Equal(childBytes(reg, "link_code_pairing_ref"), l.ref) {
		return iqError{404}
	}
	select {
	case l.finish <- linkedKeys{bundle: childBytes(reg, "link_code_pairing_wrapped_key_bundle"), identity: childBytes(reg, "companion_identity_public")}:
		return nil
	default:
		return iqError{406} // nobody entered a code since the last one
	}
}

// stopLinking forgets the codes that c shows. The caller holds the server's mutex.
func (c *conn) stopLinking() {
	for number, l := range c.srv.links {
		if l.conn == c {
			delete(c.srv.links, number)
		}
	}
}

// PairCode acts as the phone of number whose user enters a code: it makes the client that shows the code a companion device.
// Dashes, spaces and case do not count. It returns when the device is stored and the client was told to log in. Errors:
// ErrNoCodeWanted; ErrWrongCode, after which another code may be tried; or what the client said.
func (s *Server) PairCode(ctx context.Context, code, number string) error {
	code = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	if !linkCodeForm.MatchString(code) {
		return fmt.Errorf("%w: a code has eight letters and digits", ErrWrongCode)
	}
	s.mu.RLock()
	l := s.links[digits(number)]
	s.mu.RUnlock()
	if l == nil {
		return ErrNoCodeWanted
	}
	a, ok := s.existing(l.number)
	if !ok {
		return ErrNoCodeWanted
	}
	p := l.conn.pairing
	select {
	case <-p.claim:
	case <-l.conn.ctx.Done():
		return ErrNoCodeWanted
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.claim <- struct{}{} }()
	advSecret, err := l.agree(ctx, a, code)
	if err != nil {
		return err
	}
	return s.link(ctx, l.conn, a, advSecret)
}

// agree runs the phone's side of the exchange and returns the secret that client and phone then share. Only with the
// right code both see the same ephemeral keys, and only then the client's bundle opens.
func (l *linkCode) agree(ctx context.Context, a *account, code string) (advSecret []byte, err error) {
	theirs, err := unwrapKey(code, l.wrapped)
	if err != nil {
		return nil, err
	}
	ours, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	wrapped, err := wrapKey(code, ours.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	select {
	case <-l.finish: // of a phone that did not wait for it
	default:
	}
	l.conn.send(waBinary.Node{
		Tag: "notification",
		Attrs: waBinary.Attrs{
			"from": serverJID, "type": "link_code_companion_reg", "id": l.conn.srv.iqID(), "t": now().Unix(),
		},
		Content: []waBinary.Node{{
			Tag: "link_code_companion_reg", Attrs: waBinary.Attrs{"stage": "primary_hello"},
			Content: []waBinary.Node{
				{Tag: "link_code_pairing_wrapped_primary_ephemeral_pub", Content: wrapped},
				{Tag: "primary_identity_pub", Content: a.phone.IdentityKey.Pub[:]},
				{Tag: "link_code_pairing_ref", Content: l.ref},
			},
		}},
	})
	timer := time.NewTimer(finishTimeout)
	defer timer.Stop()
	var got linkedKeys
	select {
	case got = <-l.finish:
	case <-timer.C:
		return nil, errors.New("the client did not answer the phone")
	case <-l.conn.ctx.Done():
		return nil, ErrNoCodeWanted
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ephemeral, err := ours.ECDH(theirs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongCode, err) // what it decrypted to is no key
	}
	random, err := openBundle(ephemeral, got.bundle, l.conn.pairing.device.Identity, a.phone.IdentityKey.Pub[:])
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(got.identity, l.conn.pairing.device.Identity) {
		return nil, errors.New("the client names another identity than it registered with")
	}
	identity, err := sharedSecret(a.phone.IdentityKey.Priv[:], got.identity)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, concat(ephemeral, identity, random), nil, "adv_secret", keySize)
}

// openBundle decrypts the client's key bundle and checks that it names both identities; what is left of it is random.
func openBundle(ephemeral, bundle, companion, primary []byte) (random []byte, err error) {
	if len(bundle) < saltSize+bundleNonceSize {
		return nil, errors.New("the client's key bundle is too short")
	}
	salt, nonce, sealed := bundle[:saltSize], bundle[saltSize:saltSize+bundleNonceSize], bundle[saltSize+bundleNonceSize:]
	key, err := hkdf.Key(sha256.New, ephemeral, salt, "link_code_pairing_key_bundle_encryption_key", keySize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of the bundle: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of the bundle: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of the bundle: %w", err)
	}
	plain, err := gcm.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, ErrWrongCode
	}
	if len(plain) != 3*keySize || !bytes.Equal(plain[:keySize], companion) || !bytes.Equal(plain[keySize:2*keySize], primary) {
		return nil, errors.New("the client's key bundle is about other identities")
	}
	return plain[2*keySize:], nil
}

// wrapKey encrypts a public key with a code: salt, IV and ciphertext.
func wrapKey(code string, key []byte) ([]byte, error) {
	wrapped := concat(randomBytes(saltSize), randomBytes(ivSize), key)
	stream, err := linkCodeStream(code, wrapped)
	if err != nil {
		return nil, err
	}
	stream.XORKeyStream(wrapped[saltSize+ivSize:], key)
	return wrapped, nil
}

// unwrapKey is the inverse of wrapKey. With a wrong code it returns another key, and no error: nothing tells them apart.
func unwrapKey(code string, wrapped []byte) (*ecdh.PublicKey, error) {
	stream, err := linkCodeStream(code, wrapped)
	if err != nil {
		return nil, err
	}
	key := make([]byte, keySize)
	stream.XORKeyStream(key, wrapped[saltSize+ivSize:])
	return ecdh.X25519().NewPublicKey(key)
}

func linkCodeStream(code string, wrapped []byte) (cipher.Stream, error) {
	key, err := pbkdf2.Key(sha256.New, code, wrapped[:saltSize], linkCodeRounds, keySize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of a code: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of a code: %w", err)
	}
	return cipher.NewCTR(block, wrapped[saltSize:saltSize+ivSize]), nil
}

func sharedSecret(private, public []byte) ([]byte, error) {
	ours, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("reading a private key: %w", err)
	}
	theirs, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	return ours.ECDH(theirs)
}

func childBytes(n *waBinary.Node, tag string) []byte {
	child := n.GetChildByTag(tag)
	switch content := child.Content.(type) {
	case []byte:
		return content
	case string:
		return []byte(content)
	}
	return nil
}
