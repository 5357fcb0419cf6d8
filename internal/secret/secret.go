// Package secret keeps small secrets (webhook secrets, keys of media) encrypted at rest: AES-256-GCM under a master key that is
// not in the database. A sealed value tells which key it needs, so keys can be changed while the hub runs, and is bound to its
// place, so that a row cannot be given another row's secret. It imports the domain and the loop only.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// Key is a master key.
type Key [32]byte

// ParseKey reads 32 bytes in hex (64 digits) or base64 (either alphabet, padded or not). The error does not quote the text.
func ParseKey(text string) (Key, error) {
	text = strings.TrimSpace(text)
	var raw []byte
	var err error
	if len(text) == 2*len(Key{}) {
		raw, err = hex.DecodeString(text)
	} else {
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		raw, err = base64.RawStdEncoding.Strict().DecodeString(plain)
	}
	if err != nil || len(raw) != len(Key{}) {
		return Key{}, errors.New("a master key is 32 bytes in hex or base64: openssl rand -base64 32")
	}
	key := Key(raw)
	if key == (Key{}) {
		return Key{}, errors.New("a master key of zeros protects nothing: openssl rand -base64 32")
	}
	return key, nil
}

// String keeps a key out of every log.
func (Key) String() string { return "(secret)" }

// GoString likewise.
func (Key) GoString() string { return "(secret)" }

// NewKey makes a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails (crypto/rand)
	return k
}

// Encode is the key as ParseKey reads it.
func (k Key) Encode() string { return base64.StdEncoding.EncodeToString(k[:]) }

// keyID names a key in what it sealed; it tells nothing of the key.
type keyID [4]byte

func (k Key) id() keyID {
	sum := sha256.Sum256(append([]byte("wapro master key id\x00"), k[:]...))
	return keyID(sum[:])
}

// Place is where a secret stands. It is authenticated with it: sealed for one place, it opens at no other.
type Place struct{ Table, Column, Row string }

func (p Place) bytes() []byte {
	var b []byte
	for _, s := range []string{p.Table, p.Column, p.Row} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// Box seals and opens. It is immutable and safe for concurrent use. A nil Box is a hub without a master key: it refuses both with
// gateway.CodeMasterKeyMissing.
type Box struct {
	current keyID
	keys    map[keyID]cipher.AEAD
}

// New makes a box that seals with current and opens what current or a previous key sealed.
func New(current Key, previous ...Key) (*Box, error) {
	b := &Box{current: current.id(), keys: make(map[keyID]cipher.AEAD)}
	for _, k := range append([]Key{current}, previous...) {
		block, err := aes.NewCipher(k[:])
		if err != nil {
			return nil, fmt.Errorf("make a cipher: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("make a cipher: %w", err)
		}
		b.keys[k.id()] = aead
	}
	return b, nil
}

// version begins every sealed value: version, key id (4 bytes), nonce (12), ciphertext, tag (16).
const version = 1

const header = 1 + len(keyID{})

// Overhead is how much longer a sealed value is than its secret, in bytes.
const Overhead = header + 12 + 16

// ErrUnreadable is a value that was not sealed for its place with a key that is known.
var ErrUnreadable = errors.New("the secret cannot be opened")

// Seal encrypts plain for its place. Random nonces are good for 2^32 values under one key.
func (b *Box) Seal(plain []byte, at Place) ([]byte, error) {
	if b == nil {
		return nil, missing()
	}
	sealed := append(make([]byte, 0, Overhead+len(plain)), version)
	sealed = append(sealed, b.current[:]...)
	return b.keys[b.current].Seal(sealed, nil, plain, at.bytes()), nil //nolint:gosec // the cipher makes the nonce: NewGCMWithRandomNonce
}

// Open decrypts what Seal returned for the same place. ErrUnreadable: damaged, of another place, or of a key that is not known.
func (b *Box) Open(sealed []byte, at Place) ([]byte, error) {
	if b == nil {
		return nil, missing()
	}
	if len(sealed) < Overhead || sealed[0] != version {
		return nil, fmt.Errorf("%w: %s.%s has another format", ErrUnreadable, at.Table, at.Column)
	}
	id := keyID(sealed[1:header])
	aead, ok := b.keys[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s.%s was sealed with master key %x, which is neither MASTER_KEY nor in MASTER_KEY_PREVIOUS",
			ErrUnreadable, at.Table, at.Column, id)
	}
	plain, err := aead.Open(nil, nil, sealed[header:], at.bytes())
	if err != nil {
		return nil, fmt.Errorf("%w: %s.%s is damaged or of another row", ErrUnreadable, at.Table, at.Column)
	}
	return plain, nil
}

// Stale tells that a value was sealed with another key than the current one. What is shorter than anything sealed is no sealed value: keys of files
// (32 bytes) are stored as they are by a hub that has no master key.
func (b *Box) Stale(sealed []byte) bool {
	return b != nil && len(sealed) >= Overhead && keyID(sealed[1:header]) != b.current
}

func missing() error {
	return gateway.Errorf(gateway.CodeMasterKeyMissing, "this needs a master key, which this hub does not have: set MASTER_KEY, the same in every process")
}
