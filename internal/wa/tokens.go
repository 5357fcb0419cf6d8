package wa

import (
	"bytes"
	"context"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// knownTokens bounds the answers that a guardedTokens remembers. Beyond it it starts anew.
const knownTokens = 20_000

// guardedTokens remembers what privacy tokens are stored, and for whom none is: whatsmeow asks for every message, in a query that costs
// as much as the encryption. It is valid while the lease is: nobody else writes the tokens of this session, and each lease has a client
// of its own. Any change forgets everything, for a token may be stored under either name of a person.
type guardedTokens struct {
	store.PrivacyTokenStore
	known cache[types.JID, *store.PrivacyToken]
}

func (s *guardedTokens) GetPrivacyToken(ctx context.Context, user types.JID) (*store.PrivacyToken, error) {
	token, err := s.known.get(user.ToNonAD(), func() (*store.PrivacyToken, error) {
		return s.PrivacyTokenStore.GetPrivacyToken(ctx, user)
	})
	if err != nil || token == nil {
		return nil, err
	}
	own := *token // whatsmeow changes what it is given
	own.Token = bytes.Clone(token.Token)
	return &own, nil
}

func (s *guardedTokens) PutPrivacyTokens(ctx context.Context, tokens ...store.PrivacyToken) error {
	defer s.known.clear()
	return s.PrivacyTokenStore.PutPrivacyTokens(ctx, tokens...)
}

func (s *guardedTokens) DeleteExpiredPrivacyTokens(ctx context.Context, before time.Time) (int64, error) {
	defer s.known.clear()
	return s.PrivacyTokenStore.DeleteExpiredPrivacyTokens(ctx, before)
}

// guardedSalt remembers the salt that stands in for privacy tokens, which whatsmeow asks for with every message too.
type guardedSalt struct {
	store.NCTSaltStore
	known cache[struct{}, []byte]
}

func (s *guardedSalt) GetNCTSalt(ctx context.Context) ([]byte, error) {
	salt, err := s.known.get(struct{}{}, func() ([]byte, error) { return s.NCTSaltStore.GetNCTSalt(ctx) })
	return bytes.Clone(salt), err
}

func (s *guardedSalt) PutNCTSalt(ctx context.Context, salt []byte) error {
	defer s.known.clear()
	return s.NCTSaltStore.PutNCTSalt(ctx, salt)
}

func (s *guardedSalt) DeleteNCTSalt(ctx context.Context) error {
	defer s.known.clear()
	return s.NCTSaltStore.DeleteNCTSalt(ctx)
}

// cache remembers answers until it is cleared. The zero value is empty; its methods may be called from any goroutine.
type cache[K comparable, V any] struct {
	mu      sync.Mutex
	answers map[K]V
	changes int // an answer that was asked for before a change is not kept
}

// get returns the answer to key, asking for it when it is not known. Failures are not remembered.
func (c *cache[K, V]) get(key K, ask func() (V, error)) (V, error) {
	c.mu.Lock()
	answer, ok := c.answers[key]
	asked := c.changes
	c.mu.Unlock()
	if ok {
		return answer, nil
	}
	answer, err := ask()
	if err != nil {
		return answer, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != asked {
		return answer, nil
	}
	if c.answers == nil || len(c.answers) >= knownTokens {
		c.answers = make(map[K]V)
	}
	c.answers[key] = answer
	return answer, nil
}

func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	clear(c.answers)
}
