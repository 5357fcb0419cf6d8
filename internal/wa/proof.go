package wa

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"

	"github.com/wapro/hub/internal/gateway"
)

// errUnreached says that nothing was encrypted for the recipient's own phone.
var errUnreached = errors.New("no ciphertext was made for the recipient's phone")

// proof records what one send encrypted and stored, per Signal address (I5). It travels in the context of that send, so
// that writes of other work on the same client do not mix with it.
//
// whatsmeow prefetches the sessions of all devices (GetManySessions), then for each device, swallowing its errors:
//
//	without a session: check the identity, keep the new session in memory, save the identity (the bundle's turn)
//	always:            check the identity, save it, keep the session in memory                  (the cipher's turn)
//
// and at last stores the sessions it kept (PutManySessions). Saving the identity is the last step of the cipher that
// can fail. So a device got ciphertext if and only if its identity was saved once for the cipher, and once more before
// that for the bundle when it had no session; the stored session alone says nothing, for the bundle's turn leaves one too.
type proof struct {
	require string        // the address without which the send must not go out, empty for a group
	claim   gateway.Claim // without which nothing may be written for it; none where messages are not claimed

	mu        sync.Mutex
	stanzaID  string
	content   []byte // to be stored before the message is on the wire; nil when there is nothing, or it is stored
	addresses map[string]*addressProof
	new       map[string][32]byte // identities that are to be written with the sessions
	persisted bool
	storeErr  error // the first failure of the Signal stores
}

type addressProof struct {
	fresh  bool // had no session when the send began
	saves  int  // identities saved
	failed bool // an identity could not be checked or saved
	stored bool // the session of this send is in the store
}

type proofKey struct{}

func withProof(ctx context.Context, p *proof) context.Context {
	return context.WithValue(ctx, proofKey{}, p)
}

// proofOf is the record of the send that ctx belongs to, nil outside of sends. All methods take a nil proof.
func proofOf(ctx context.Context) *proof {
	p, _ := ctx.Value(proofKey{}).(*proof)
	return p
}

func (p *proof) at(address string) *addressProof {
	if p.addresses == nil {
		p.addresses = make(map[string]*addressProof)
	}
	a := p.addresses[address]
	if a == nil {
		a = &addressProof{}
		p.addresses[address] = a
	}
	return a
}

// toKeep is what is still to be stored, and under which stanza id.
func (p *proof) toKeep() (stanzaID string, content []byte) {
	if p == nil {
		return "", nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stanzaID, p.content
}

// kept notes that what toKeep told is stored.
func (p *proof) kept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.content = nil
}

// claimed is the claim that the send belongs to.
func (p *proof) claimed() gateway.Claim {
	if p == nil {
		return gateway.Claim{}
	}
	return p.claim
}

// meet remembers an identity that is to be written with the sessions of the send. False outside of sends.
func (p *proof) meet(address string, key [32]byte) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.new == nil {
		p.new = make(map[string][32]byte)
	}
	p.new[address] = key
	return true
}

// met are the identities that are to be written with the sessions.
func (p *proof) met() map[string][32]byte {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.new)
}

// forget drops the identities whose addresses begin with prefix.
func (p *proof) forget(prefix string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.new, func(address string, _ [32]byte) bool { return strings.HasPrefix(address, prefix) })
}

// begin notes which addresses have a session already.
func (p *proof) begin(sessions map[string][]byte) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, session := range sessions {
		p.at(address).fresh = session == nil
	}
}

// identity notes one check or one save of an address' identity.
func (p *proof) identity(address string, saved bool, err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.at(address)
	switch {
	case err != nil:
		a.failed = true
		p.fail(err)
	case saved:
		a.saves++
	}
}

// sessions notes what PutManySessions wrote.
func (p *proof) sessions(sessions map[string][]byte, err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.fail(err)
		return
	}
	p.persisted = true
	for address := range sessions {
		p.at(address).stored = true
	}
}

// storeError notes a failure that concerns no single address.
func (p *proof) storeError(err error) {
	if p == nil || err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail(err)
}

func (p *proof) fail(err error) {
	if p.storeErr == nil {
		p.storeErr = err
	}
}

// missing is errUnreached when the send must not go out because its recipient has no ciphertext. It is asked between encryption
// and the wire, where nothing is lost by giving up.
func (p *proof) missing() error {
	if p == nil || p.require == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.addresses[p.require]; a == nil || !a.encrypted() {
		return errUnreached
	}
	return nil
}

// reached reports whether address got ciphertext whose session is stored.
func (p *proof) reached(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.addresses[address]
	return a != nil && a.encrypted() && a.stored
}

// failure is the first failure of the Signal stores during the send, nil when there was none.
func (p *proof) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.storeErr
}

func (a *addressProof) encrypted() bool {
	need := 1
	if a.fresh {
		need = 2
	}
	return !a.failed && a.saves >= need
}
