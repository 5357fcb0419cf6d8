package wa

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"

	"github.com/wapro/hub/internal/gateway"
)

// guard stands before the Signal stores of one client: it lets a write pass only under a valid lease, and records in the
// send's proof what was written.
type guard struct {
	// check returns nil while the lease holds and, unless it is none, the claim is there; gateway.ErrFenced, gateway.ErrClaimLost. Inside a
	// transaction of transact nobody can take the lease before that has ended.
	check    func(context.Context, gateway.Claim) error
	transact func(context.Context, func(context.Context) error) error
	// keep stores what a message goes out as, in the transaction of its context.
	keep func(ctx context.Context, stanzaID string, content []byte) error
	// exec writes in one statement what otherwise takes a transaction; nil where the database has no use for that.
	exec     execHeld
	jid      func() string // of the device, as its container writes it
	known    *identityCache
	sessions *sessionCache         // of what sends have written
	failed   func()                // called when a message could not be decrypted because our database failed
	seen     func(context.Context) // called when a connection has logged in, see guardedPreKeys
}

// storeError marks a failure of our own database, so that it is told apart from WhatsApp's whatever wraps it.
type storeError struct {
	what string
	err  error
}

func (e *storeError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }
func (e *storeError) Unwrap() error { return e.err }

func storeFailed(what string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &storeError{what: what, err: err}
}

// write is the one place every Signal-store write passes: one transaction holds the check of the lease and the write, so
// that the lease that was checked is still held when it commits. It also makes one commit of what whatsmeow writes row by
// row, 812 prekeys at a pairing.
func (g *guard) write(ctx context.Context, what string, write func(context.Context) error) error {
	return g.writeFor(ctx, what, gateway.Claim{}, write)
}

func (g *guard) writeFor(ctx context.Context, what string, claim gateway.Claim, write func(context.Context) error) error {
	return decryptionOf(ctx).failed(storeFailed(what, g.transact(ctx, func(ctx context.Context) error {
		if err := g.check(ctx, claim); err != nil {
			return fmt.Errorf("check the lease: %w", err)
		}
		return write(ctx)
	})))
}

// writeLast is write for the last writes before a message is on the wire. They want the claim of the message to be there, and take it along to
// the disk. Its content, if the send has one to keep, is stored in the same transaction: a flush of the disk of its own would cost each send a
// third of its speed.
func (g *guard) writeLast(ctx context.Context, what string, write func(context.Context) error) error {
	p := proofOf(ctx)
	stanzaID, content := p.toKeep()
	err := g.writeFor(ctx, what, p.claimed(), func(ctx context.Context) error {
		if content != nil {
			if err := g.keep(ctx, stanzaID, content); err != nil {
				return err
			}
		}
		return write(ctx)
	})
	if err == nil && content != nil {
		p.kept()
	}
	return err
}

// wrap puts the guard before device's Signal stores and takes away the stores of what the hub does not keep: names, chat
// settings and message secrets. A device that is not stored yet has no stores; its container wraps them when it is.
func (g *guard) wrap(device *store.Device) {
	device.Container = &guardedContainer{inner: unwrapContainer(device.Container), guard: g}
	if !device.Initialized {
		return
	}
	device.Sessions = &guardedSessions{SessionStore: device.Sessions, identities: device.Identities, guard: g}
	device.Identities = &guardedIdentities{IdentityStore: device.Identities, guard: g}
	device.PreKeys = &guardedPreKeys{PreKeyStore: device.PreKeys, guard: g}
	device.SenderKeys = &guardedSenderKeys{SenderKeyStore: device.SenderKeys, guard: g}
	device.EventBuffer = &guardedEvents{EventBuffer: device.EventBuffer, guard: g, fail: g.failed}
	device.PrivacyTokens = &guardedTokens{PrivacyTokenStore: device.PrivacyTokens}
	device.NCTSalt = &guardedSalt{NCTSaltStore: device.NCTSalt}
	nothing := &store.NoopStore{}
	device.Contacts, device.ChatSettings, device.MsgSecrets = nothing, nothing, nothing
}

func unwrapContainer(c store.DeviceContainer) store.DeviceContainer {
	if guarded, ok := c.(*guardedContainer); ok {
		return guarded.inner
	}
	return c
}

// guardedContainer wraps the stores that the inner container gives a device when it is saved for the first time.
type guardedContainer struct {
	inner store.DeviceContainer
	guard *guard
}

func (c *guardedContainer) PutDevice(ctx context.Context, device *store.Device) error {
	first := !device.Initialized
	err := c.guard.write(ctx, "save device", func(ctx context.Context) error { return c.inner.PutDevice(ctx, device) })
	if first && device.Initialized {
		c.guard.wrap(device)
	}
	return err
}

func (c *guardedContainer) DeleteDevice(ctx context.Context, device *store.Device) error {
	return c.guard.write(ctx, "delete device", func(ctx context.Context) error { return c.inner.DeleteDevice(ctx, device) })
}

type guardedSessions struct {
	store.SessionStore
	identities store.IdentityStore // bare: what a send has met is written with its sessions
	guard      *guard
}

func (s *guardedSessions) GetManySessions(ctx context.Context, addresses []string) (map[string][]byte, error) {
	sessions, unknown := s.guard.sessions.recall(addresses)
	if len(unknown) > 0 {
		read, err := s.SessionStore.GetManySessions(ctx, unknown)
		if err != nil {
			err = storeFailed("load sessions", err)
			proofOf(ctx).storeError(err)
			return nil, err
		}
		sessions = with(sessions, read)
	}
	proofOf(ctx).begin(sessions)
	return sessions, nil
}

func (s *guardedSessions) GetSession(ctx context.Context, address string) ([]byte, error) {
	session, err := s.SessionStore.GetSession(ctx, address)
	return session, decryptionOf(ctx).failed(storeFailed("load a session", err))
}

func (s *guardedSessions) PutSession(ctx context.Context, address string, session []byte) error {
	defer s.guard.sessions.begin()(nil)
	return s.guard.write(ctx, "store session", func(ctx context.Context) error {
		return s.SessionStore.PutSession(ctx, address, session)
	})
}

// PutManySessions is the last thing whatsmeow does before it writes a message to the wire.
func (s *guardedSessions) PutManySessions(ctx context.Context, sessions map[string][]byte) error {
	if err := proofOf(ctx).missing(); err != nil {
		return err
	}
	end := s.guard.sessions.beginSend(sessions)
	err := s.putMany(ctx, sessions)
	if err == nil && proofOf(ctx) != nil { // a send of ours, which is in no transaction
		end(sessions)
	} else {
		end(nil)
	}
	proofOf(ctx).sessions(sessions, err)
	return err
}

// putMany writes sessions, and with them the identities that the send has met.
func (s *guardedSessions) putMany(ctx context.Context, sessions map[string][]byte) error {
	p := proofOf(ctx)
	identities := p.met()
	done := false
	var err error
	if _, content := p.toKeep(); content == nil && s.guard.exec != nil && len(sessions) > 0 {
		done, err = s.guard.exec.putSessions(ctx, p.claimed(), s.guard.jid(), identities, sessions)
		err = storeFailed("store sessions", err)
	}
	if !done && err == nil { // this way also says why it was not
		err = s.guard.writeLast(ctx, "store sessions", func(ctx context.Context) error {
			for address, key := range identities {
				if err := s.identities.PutIdentity(ctx, address, key); err != nil {
					return err
				}
			}
			return s.SessionStore.PutManySessions(ctx, sessions)
		})
	}
	if err == nil {
		for address, key := range identities {
			s.guard.known.put(address, key)
		}
	}
	return err
}

func (s *guardedSessions) DeleteAllSessions(ctx context.Context, phone string) error {
	defer s.guard.sessions.begin()(nil)
	return s.guard.write(ctx, "delete sessions", func(ctx context.Context) error {
		return s.SessionStore.DeleteAllSessions(ctx, phone)
	})
}

func (s *guardedSessions) DeleteSession(ctx context.Context, address string) error {
	defer s.guard.sessions.begin()(nil)
	return s.guard.write(ctx, "delete session", func(ctx context.Context) error {
		return s.SessionStore.DeleteSession(ctx, address)
	})
}

func (s *guardedSessions) MigratePNToLID(ctx context.Context, pn, lid types.JID) error {
	defer s.guard.sessions.begin()(nil)
	s.guard.known.clear() // it moves identities as well
	return s.guard.write(ctx, "migrate sessions", func(ctx context.Context) error {
		return s.SessionStore.MigratePNToLID(ctx, pn, lid)
	})
}

type guardedIdentities struct {
	store.IdentityStore
	guard *guard
}

// PutIdentity is called twice for every message with keys that hardly ever change: only a change is written. That of a send is written
// with its sessions, without which nothing goes out.
func (s *guardedIdentities) PutIdentity(ctx context.Context, address string, key [32]byte) error {
	var err error
	if !s.guard.known.has(address, key) && !proofOf(ctx).meet(address, key) {
		err = s.guard.write(ctx, "store identity", func(ctx context.Context) error {
			return s.IdentityStore.PutIdentity(ctx, address, key)
		})
		if err == nil {
			s.guard.known.put(address, key)
		}
	}
	proofOf(ctx).identity(address, err == nil, err)
	return err
}

func (s *guardedIdentities) IsTrustedIdentity(ctx context.Context, address string, key [32]byte) (bool, error) {
	if s.guard.known.has(address, key) {
		return true, nil
	}
	if met, ok := proofOf(ctx).met()[address]; ok {
		return met == key, nil
	}
	trusted, err := s.IdentityStore.IsTrustedIdentity(ctx, address, key)
	err = storeFailed("load identity", err)
	proofOf(ctx).identity(address, false, err)
	return trusted, decryptionOf(ctx).failed(err)
}

func (s *guardedIdentities) DeleteAllIdentities(ctx context.Context, phone string) error {
	s.guard.known.clear()
	proofOf(ctx).forget(phone + ":")
	return s.guard.write(ctx, "delete identities", func(ctx context.Context) error {
		return s.IdentityStore.DeleteAllIdentities(ctx, phone)
	})
}

func (s *guardedIdentities) DeleteIdentity(ctx context.Context, address string) error {
	s.guard.known.clear()
	proofOf(ctx).forget(address)
	return s.guard.write(ctx, "delete identity", func(ctx context.Context) error {
		return s.IdentityStore.DeleteIdentity(ctx, address)
	})
}

type guardedPreKeys struct {
	store.PreKeyStore
	guard *guard
}

// UploadedPreKeyCount is the first thing whatsmeow asks of a store after the server accepted a login, and it asks with
// the context of that connection: the only way to learn which connection a login belongs to.
func (s *guardedPreKeys) UploadedPreKeyCount(ctx context.Context) (int, error) {
	s.guard.seen(ctx)
	return s.PreKeyStore.UploadedPreKeyCount(ctx)
}

func (s *guardedPreKeys) GetPreKey(ctx context.Context, id uint32) (*keys.PreKey, error) {
	key, err := s.PreKeyStore.GetPreKey(ctx, id)
	return key, decryptionOf(ctx).failed(storeFailed("load a prekey", err))
}

func (s *guardedPreKeys) GetOrGenPreKeys(ctx context.Context, count uint32) (keys []*keys.PreKey, err error) {
	err = s.guard.write(ctx, "make prekeys", func(ctx context.Context) error {
		keys, err = s.PreKeyStore.GetOrGenPreKeys(ctx, count)
		return err
	})
	return keys, err
}

func (s *guardedPreKeys) GenOnePreKey(ctx context.Context) (key *keys.PreKey, err error) {
	err = s.guard.write(ctx, "make a prekey", func(ctx context.Context) error {
		key, err = s.PreKeyStore.GenOnePreKey(ctx)
		return err
	})
	return key, err
}

func (s *guardedPreKeys) RemovePreKey(ctx context.Context, id uint32) error {
	return s.guard.write(ctx, "remove a prekey", func(ctx context.Context) error {
		return s.PreKeyStore.RemovePreKey(ctx, id)
	})
}

func (s *guardedPreKeys) MarkPreKeysAsUploaded(ctx context.Context, upToID uint32) error {
	return s.guard.write(ctx, "mark prekeys", func(ctx context.Context) error {
		return s.PreKeyStore.MarkPreKeysAsUploaded(ctx, upToID)
	})
}

type guardedSenderKeys struct {
	store.SenderKeyStore
	guard *guard
}

func (s *guardedSenderKeys) GetSenderKey(ctx context.Context, group, user string) ([]byte, error) {
	key, err := s.SenderKeyStore.GetSenderKey(ctx, group, user)
	return key, decryptionOf(ctx).failed(storeFailed("load a sender key", err))
}

// PutSenderKey is called for every message to a group, when that is encrypted. Sessions need not follow: the message goes out
// even when no member could be given the key, and then all of them ask for it again.
func (s *guardedSenderKeys) PutSenderKey(ctx context.Context, group, user string, session []byte) error {
	err := s.guard.writeLast(ctx, "store sender key", func(ctx context.Context) error {
		return s.SenderKeyStore.PutSenderKey(ctx, group, user, session)
	})
	proofOf(ctx).storeError(err)
	return err
}

// knownIdentities bounds an identityCache. Beyond it the cache starts anew, which costs one write per contact.
const knownIdentities = 20_000

// identityCache remembers which identities are stored, so that they are neither read nor written again. It is valid while
// the lease is: nobody else writes the identities of this session. A nil one remembers nothing.
type identityCache struct {
	mu   sync.Mutex
	keys map[string][32]byte
}

func newIdentityCache() *identityCache {
	return &identityCache{keys: make(map[string][32]byte)}
}

func (c *identityCache) has(address string, key [32]byte) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stored, ok := c.keys[address]
	return ok && stored == key
}

func (c *identityCache) put(address string, key [32]byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) >= knownIdentities {
		clear(c.keys)
	}
	c.keys[address] = key
}

func (c *identityCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.keys)
}
