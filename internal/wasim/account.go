package wasim

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// account is a number: its phone (device 0), and the companion devices that were paired with it.
type account struct {
	number string
	lid    string

	// mu guards the phone: its Signal state, inbox and what it sent. Whoever needs several accounts locks them in the
	// order of their numbers.
	mu      sync.Mutex
	phone   *store.Device
	signal  *signalStore
	inbox   []*Shown
	seen    map[string]*Shown // by sender number/stanza id
	retries map[string]int    // retry receipts sent, by sender address/stanza id
	sent    map[string]*sentMessage
	changed broadcast
	asked   atomic.Int64 // retry receipts of other numbers' companions, and our own, for what the phone sent; not kept

	devMu   sync.RWMutex
	devices []*device // by index
	last    uint16    // highest index ever given
}

// accountRecord is what is stored of an account.
type accountRecord struct {
	LID          string `json:"lid"`
	Identity     []byte `json:"identity"`
	SignedPreKey []byte `json:"signedPreKey"`
	Signature    []byte `json:"signature"`
	Registration uint32 `json:"registration"`
	NextPreKey   uint32 `json:"nextPreKey"`
	LastDevice   uint16 `json:"lastDevice"`
}

// lidOf derives the LID of a number. It is stable, and never the number itself.
func lidOf(number string) string {
	for salt := 0; ; salt++ {
		sum := sha256.Sum256([]byte("wasim lid " + strconv.Itoa(salt) + " " + number))
		lid := strconv.FormatUint(100_000_000_000_000+binary.BigEndian.Uint64(sum[:])%900_000_000_000_000, 10)
		if lid != number {
			return lid
		}
	}
}

func newAccount(number string) *account {
	identity := keys.NewKeyPair()
	a := &account{number: number, lid: lidOf(number)}
	a.init(identity, identity.CreateSignedPreKey(1), rand.Uint32()&0x3fff|1)
	return a
}

func (a *account) init(identity *keys.KeyPair, signed *keys.PreKey, registration uint32) {
	a.signal = newSignalStore(a.number)
	a.phone = &store.Device{IdentityKey: identity, SignedPreKey: signed, RegistrationID: registration, LID: a.lidJID(0)}
	a.phone.SetAllStores(a.signal)
	a.seen = map[string]*Shown{}
	a.retries = map[string]int{}
	a.sent = map[string]*sentMessage{}
}

func loadAccount(number string, value []byte) (*account, error) {
	var r accountRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, err
	}
	if len(r.Identity) != 32 || len(r.SignedPreKey) != 32 || len(r.Signature) != 64 {
		return nil, fmt.Errorf("the keys of %s are damaged", number)
	}
	a := &account{number: number, lid: r.LID, last: r.LastDevice}
	signed := &keys.PreKey{KeyPair: *keys.NewKeyPairFromPrivateKey([32]byte(r.SignedPreKey)), KeyID: 1, Signature: (*[64]byte)(r.Signature)}
	a.init(keys.NewKeyPairFromPrivateKey([32]byte(r.Identity)), signed, r.Registration)
	a.signal.nextPreKey = r.NextPreKey
	return a, nil
}

// save puts the account's own record into b. The caller holds mu, or is the only one who knows the account.
func (a *account) save(b *batch) error {
	a.devMu.RLock()
	last := a.last
	a.devMu.RUnlock()
	value, err := json.Marshal(accountRecord{
		LID: a.lid, Identity: a.phone.IdentityKey.Priv[:], SignedPreKey: a.phone.SignedPreKey.Priv[:],
		Signature: a.phone.SignedPreKey.Signature[:], Registration: a.phone.RegistrationID,
		NextPreKey: a.signal.nextPreKey, LastDevice: last,
	})
	if err != nil {
		return fmt.Errorf("encoding account %s: %w", a.number, err)
	}
	b.put(kindAccount, a.number, value)
	return nil
}

func (a *account) lidJID(device uint16) types.JID {
	return types.JID{User: a.lid, Server: types.HiddenUserServer, Device: device}
}

func (a *account) pnJID(device uint16) types.JID {
	return types.JID{User: a.number, Server: types.DefaultUserServer, Device: device}
}

// device returns the companion with that index, or nil.
func (a *account) device(index uint16) *device {
	a.devMu.RLock()
	defer a.devMu.RUnlock()
	for _, d := range a.devices {
		if d.index == index {
			return d
		}
	}
	return nil
}

// companions returns the paired devices, in order of their index.
func (a *account) companions() []*device {
	a.devMu.RLock()
	defer a.devMu.RUnlock()
	return append([]*device(nil), a.devices...)
}

// jids lists every device of the account, the phone first, under the given kind of JID.
func (a *account) jids(server string) []types.JID {
	user := a.lid
	if server == types.DefaultUserServer {
		user = a.number
	}
	out := []types.JID{{User: user, Server: server}}
	for _, d := range a.companions() {
		out = append(out, types.JID{User: user, Server: server, Device: d.index})
	}
	return out
}

// account returns the account of a number, made on first use. Any possible number exists, except those the test-number
// table says are not on WhatsApp.
func (s *Server) account(number string) (*account, bool) {
	if !validNumber(number) || testBehaviour(number) == NotOnWhatsApp {
		return nil, false
	}
	s.mu.RLock()
	a := s.accounts[number]
	s.mu.RUnlock()
	if a != nil {
		return a, true
	}
	if short, ok := shortForm(number); ok {
		return s.account(short)
	}
	fresh := newAccount(number) // key generation outside the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[number]; a != nil {
		return a, true
	}
	b := s.journal.begin()
	if err := fresh.save(b); err != nil {
		s.log.Error("cannot make a phone", "error", err)
		return nil, false
	}
	b.submit() // whatever is stored about this account later is written after this
	s.accounts[number], s.lids[fresh.lid] = fresh, fresh
	return fresh, true
}

// shortForm is the form under which WhatsApp knows a number that people write in two ways: a Brazilian mobile number goes without its ninth
// digit, 55 11 98765-4321 is 55 11 8765-4321.
func shortForm(number string) (string, bool) {
	if len(number) != len("5511987654321") || !strings.HasPrefix(number, "55") || number[4] != '9' {
		return "", false
	}
	return number[:4] + number[5:], true
}

// lookup finds the account a user JID names, by number or LID. A LID is only known once its number was used.
func (s *Server) lookup(jid types.JID) (*account, bool) {
	switch jid.Server {
	case types.DefaultUserServer, types.LegacyUserServer:
		return s.account(strings.TrimPrefix(jid.User, "+"))
	case types.HiddenUserServer:
		s.mu.RLock()
		defer s.mu.RUnlock()
		a, ok := s.lids[jid.User]
		return a, ok
	default:
		return nil, false
	}
}

// digits strips what people write around a number.
func digits(number string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
}

// validNumber tells whether digits could be an E.164 number: 5 to 15 digits without a leading zero.
func validNumber(number string) bool {
	return len(number) >= 5 && len(number) <= 15 && number[0] != '0' && digits(number) == number
}

// broadcast wakes everyone who waits for a change.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that is closed at the next change. Take it before looking at the state.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

func now() time.Time { return time.Now().UTC() }
