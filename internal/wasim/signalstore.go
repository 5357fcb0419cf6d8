package wasim

import (
	"context"
	"strconv"
	"strings"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// signalStore is one phone's Signal state, in memory, written through to the batch at hand. What a phone has no use for
// (contacts, app state ...) is the embedded no-op. It is guarded by the account's mu.
type signalStore struct {
	*store.NoopStore
	number     string
	identities map[string][32]byte
	sessions   map[string][]byte
	preKeys    map[uint32]*keys.PreKey
	senderKeys map[string][]byte // by group/address
	nextPreKey uint32
	batch      *batch // where changes go while the account is locked
}

var _ store.AllSessionSpecificStores = (*signalStore)(nil)

func newSignalStore(number string) *signalStore {
	return &signalStore{
		NoopStore: &store.NoopStore{}, number: number, nextPreKey: 1,
		identities: map[string][32]byte{}, sessions: map[string][]byte{},
		preKeys: map[uint32]*keys.PreKey{}, senderKeys: map[string][]byte{},
	}
}

func (s *signalStore) key(parts ...string) string { return s.number + "/" + strings.Join(parts, "/") }

func (s *signalStore) put(kind, key string, value []byte) {
	if s.batch != nil {
		s.batch.put(kind, key, value)
	}
}

func (s *signalStore) PutIdentity(_ context.Context, address string, key [32]byte) error {
	if old, ok := s.identities[address]; ok && old == key {
		return nil
	}
	s.identities[address] = key
	s.put(kindIdentity, s.key(address), key[:])
	return nil
}

func (s *signalStore) DeleteIdentity(_ context.Context, address string) error {
	delete(s.identities, address)
	s.put(kindIdentity, s.key(address), nil)
	return nil
}

// IsTrustedIdentity trusts every key, as a phone does: a contact who re-installed gets a notice in the chat, and the
// conversation goes on.
func (s *signalStore) IsTrustedIdentity(context.Context, string, [32]byte) (bool, error) {
	return true, nil
}

func (s *signalStore) GetSession(_ context.Context, address string) ([]byte, error) {
	return s.sessions[address], nil
}

func (s *signalStore) HasSession(_ context.Context, address string) (bool, error) {
	_, ok := s.sessions[address]
	return ok, nil
}

func (s *signalStore) GetManySessions(_ context.Context, addresses []string) (map[string][]byte, error) {
	out := make(map[string][]byte, len(addresses))
	for _, a := range addresses {
		out[a] = s.sessions[a]
	}
	return out, nil
}

func (s *signalStore) PutSession(_ context.Context, address string, session []byte) error {
	s.sessions[address] = session
	s.put(kindSession, s.key(address), session)
	return nil
}

func (s *signalStore) PutManySessions(ctx context.Context, sessions map[string][]byte) error {
	for a, session := range sessions {
		if err := s.PutSession(ctx, a, session); err != nil {
			return err
		}
	}
	return nil
}

func (s *signalStore) DeleteSession(_ context.Context, address string) error {
	delete(s.sessions, address)
	s.put(kindSession, s.key(address), nil)
	return nil
}

func (s *signalStore) MigratePNToLID(context.Context, types.JID, types.JID) error { return nil }

// GenOnePreKey makes the one-time key that the server hands to the next device that asks.
func (s *signalStore) GenOnePreKey(context.Context) (*keys.PreKey, error) {
	key := keys.NewPreKey(s.nextPreKey)
	s.nextPreKey = s.nextPreKey%0xFFFFFE + 1 // ids are 3 bytes on the wire
	s.preKeys[key.KeyID] = key
	s.put(kindPreKey, s.key(strconv.FormatUint(uint64(key.KeyID), 10)), key.Priv[:])
	return key, nil
}

func (s *signalStore) GetPreKey(_ context.Context, id uint32) (*keys.PreKey, error) {
	return s.preKeys[id], nil
}

func (s *signalStore) RemovePreKey(_ context.Context, id uint32) error {
	delete(s.preKeys, id)
	s.put(kindPreKey, s.key(strconv.FormatUint(uint64(id), 10)), nil)
	return nil
}

func (s *signalStore) PutSenderKey(_ context.Context, group, user string, session []byte) error {
	s.senderKeys[group+"/"+user] = session
	s.put(kindSenderKey, s.key(group, user), session)
	return nil
}

func (s *signalStore) GetSenderKey(_ context.Context, group, user string) ([]byte, error) {
	return s.senderKeys[group+"/"+user], nil
}
