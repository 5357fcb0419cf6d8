package wasim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/proto/waWa6"
	"google.golang.org/protobuf/proto"
)

const (
	noisePattern = "Noise_XX_25519_AESGCM_SHA256\x00\x00\x00\x00" // 32 bytes: it is its own hash
	maxFrame     = 1 << 24
)

// noiseHandshake is the responder's symmetric state of Noise XX. whatsmeow's own type cannot be used here because it
// keeps the final keys to itself.
type noiseHandshake struct {
	hash    [32]byte
	salt    []byte
	aead    cipher.AEAD
	counter uint32
}

func newNoiseHandshake(prologue []byte) (*noiseHandshake, error) {
	n := &noiseHandshake{salt: []byte(noisePattern)}
	copy(n.hash[:], noisePattern)
	var err error
	if n.aead, err = newAEAD(n.salt); err != nil {
		return nil, err
	}
	n.authenticate(prologue)
	return n, nil
}

func (n *noiseHandshake) authenticate(data []byte) {
	h := sha256.New()
	h.Write(n.hash[:])
	h.Write(data)
	h.Sum(n.hash[:0])
}

func (n *noiseHandshake) mix(priv *ecdh.PrivateKey, pub []byte) error {
	remote, err := ecdh.X25519().NewPublicKey(pub)
	if err != nil {
		return fmt.Errorf("reading a public key: %w", err)
	}
	secret, err := priv.ECDH(remote)
	if err != nil {
		return fmt.Errorf("agreeing on a secret: %w", err)
	}
	okm, err := hkdf.Key(sha256.New, secret, n.salt, "", 64)
	if err != nil {
		return fmt.Errorf("deriving a handshake key: %w", err)
	}
	n.salt, n.counter = okm[:32], 0
	n.aead, err = newAEAD(okm[32:])
	return err
}

func (n *noiseHandshake) encrypt(plaintext []byte) []byte {
	ct := n.aead.Seal(nil, nonce(n.counter), plaintext, n.hash[:])
	n.counter++
	n.authenticate(ct)
	return ct
}

func (n *noiseHandshake) decrypt(ciphertext []byte) ([]byte, error) {
	pt, err := n.aead.Open(nil, nonce(n.counter), ciphertext, n.hash[:])
	if err != nil {
		return nil, fmt.Errorf("opening a handshake message: %w", err)
	}
	n.counter++
	n.authenticate(ciphertext)
	return pt, nil
}

// transport derives the two keys that are used after the handshake.
func (n *noiseHandshake) transport() (read, write cipher.AEAD, err error) {
	okm, err := hkdf.Key(sha256.New, nil, n.salt, "", 64)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving the transport keys: %w", err)
	}
	if read, err = newAEAD(okm[:32]); err != nil {
		return nil, nil, err
	}
	write, err = newAEAD(okm[32:])
	return read, write, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

func nonce(counter uint32) []byte {
	iv := make([]byte, 12)
	binary.BigEndian.PutUint32(iv[8:], counter)
	return iv
}

// clientHello returns the ephemeral key of the first handshake frame.
func clientHello(frame []byte) ([]byte, error) {
	var msg waWa6.HandshakeMessage
	if err := proto.Unmarshal(frame, &msg); err != nil {
		return nil, fmt.Errorf("reading the client hello: %w", err)
	}
	if len(msg.GetClientHello().GetEphemeral()) != 32 {
		return nil, errors.New("the client hello has no ephemeral key")
	}
	return msg.GetClientHello().GetEphemeral(), nil
}

// frameReader cuts a byte stream into frames of a 3-byte big-endian length and a payload.
type frameReader struct{ buf []byte }

func (f *frameReader) feed(data []byte) { f.buf = append(f.buf, data...) }

// take removes n bytes from the front, or returns nil when there are not that many yet.
func (f *frameReader) take(n int) []byte {
	if len(f.buf) < n {
		return nil
	}
	out := f.buf[:n:n]
	f.buf = f.buf[n:]
	return out
}

// next returns the next whole frame, or nil when more bytes are needed. The returned slice is not reused.
func (f *frameReader) next() []byte {
	if len(f.buf) < 3 {
		return nil
	}
	n := int(f.buf[0])<<16 | int(f.buf[1])<<8 | int(f.buf[2])
	if len(f.buf) < 3+n {
		return nil
	}
	f.take(3)
	return f.take(n)
}

func frame(payload []byte) []byte {
	n := len(payload)
	out := make([]byte, 3, 3+n)
	out[0], out[1], out[2] = byte(n>>16), byte(n>>8), byte(n)
	return append(out, payload...)
}

// respond answers a client hello: the server's ephemeral key, then its static key and certificate chain, encrypted.
func (id *noiseIdentity) respond(prologue, hello []byte) (*noiseHandshake, []byte, *ecdh.PrivateKey, error) {
	remote, err := clientHello(hello)
	if err != nil {
		return nil, nil, nil, err
	}
	h, err := newNoiseHandshake(prologue)
	if err != nil {
		return nil, nil, nil, err
	}
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making an ephemeral key: %w", err)
	}
	h.authenticate(remote)
	h.authenticate(ephemeral.PublicKey().Bytes())
	if err := h.mix(ephemeral, remote); err != nil {
		return nil, nil, nil, err
	}
	static := h.encrypt(id.static.PublicKey().Bytes())
	if err := h.mix(id.static, remote); err != nil {
		return nil, nil, nil, err
	}
	reply, err := proto.Marshal(&waWa6.HandshakeMessage{ServerHello: &waWa6.HandshakeMessage_ServerHello{
		Ephemeral: ephemeral.PublicKey().Bytes(), Static: static, Payload: h.encrypt(id.chain),
	}})
	return h, reply, ephemeral, err
}
