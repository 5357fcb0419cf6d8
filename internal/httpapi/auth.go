package httpapi

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
)

const headerAPIKey = "x-api-key"

const (
	// maxCachedKeys bounds the cache, of keys that exist and of those that do not; when it is full it starts anew.
	maxCachedKeys = 4096

	// maxKeyLooks is how many keys that are not in the cache are looked up at a time.
	maxKeyLooks = 8
)

// authenticate finds out who calls and whether the operation is theirs. For /api routes it returns the tenant.
// A tenant's key learns of other tenants only that they are not its own: the answer and the work are the same whether
// or not they exist (I7).
func (s *Server) authenticate(ctx context.Context, c echo.Context, op operation) (gateway.Tenant, error) {
	who, err := s.caller(ctx, c.Request())
	if err != nil {
		return gateway.Tenant{}, err
	}
	isAdmin := who.key.TenantKey == 0
	callOf(c).key, callOf(c).admin = who.key, isAdmin
	callOf(c).manages = isAdmin || len(who.key.Scopes) == 0 || slices.Contains(who.key.Scopes, "manage")
	if op.Access == accessAdmin {
		if !isAdmin {
			return gateway.Tenant{}, gateway.Errorf(gateway.CodeForbidden, "this needs the admin key")
		}
		return gateway.Tenant{}, nil
	}
	return s.admit(ctx, who, op, c.Param("tenantId"))
}

// admit returns the tenant with this id if who may do the operation there.
func (s *Server) admit(ctx context.Context, who *credential, op operation, id string) (gateway.Tenant, error) {
	if who.key.TenantKey == 0 {
		tenant, err := s.store.Tenant(ctx, id)
		if err != nil {
			return gateway.Tenant{}, fmt.Errorf("look up the tenant: %w", err)
		}
		return tenant, nil
	}
	tenant, err := s.ownTenant(ctx, who, id)
	if err != nil {
		return gateway.Tenant{}, err
	}
	if len(who.key.Scopes) > 0 && !slices.Contains(who.key.Scopes, op.Scope) {
		return gateway.Tenant{}, gateway.Errorf(gateway.CodeScopeMissing, "this key lacks the scope %s", op.Scope)
	}
	return tenant, nil
}

// caller is whose key the request carries, or who signed in where it comes from.
func (s *Server) caller(ctx context.Context, r *http.Request) (*credential, error) {
	if secret := r.Header.Get(headerAPIKey); secret != "" {
		who, err := s.credential(ctx, gateway.HashKey(secret))
		if s.failures == nil || err == nil || gateway.CodeOf(err) != gateway.CodeUnauthorized {
			return who, err
		}
		// Only now: an address is often that of many, and who knows a key is not to wait for who does not.
		if wait := s.failures.Wait(r); wait > 0 {
			return nil, &tooFast{wait, "too many keys that do not exist came from this address"}
		}
		s.failures.Failed(r, secret)
		return nil, err
	}
	return s.fromCookie(ctx, r)
}

// credential finds the live key with this hash. Whoever sends made-up keys keeps no more than maxKeyLooks of the database's connections busy.
func (s *Server) credential(ctx context.Context, hash [32]byte) (*credential, error) {
	if who := s.keys.get(hash); who != nil {
		return who, nil
	}
	if s.keys.isUnknown(hash) {
		return nil, unknownKey()
	}
	select {
	case s.keyLooks <- struct{}{}:
		defer func() { <-s.keyLooks }()
	case <-ctx.Done():
		return nil, &gateway.Error{Code: gateway.CodeUnavailable, Message: "too many keys are looked up at the moment", Err: ctx.Err()}
	}
	age := s.keys.age()
	found, err := s.store.KeysByPrefix(ctx, [8]byte(hash[:8]))
	if err != nil {
		return nil, fmt.Errorf("look up the key: %w", err)
	}
	for _, key := range found {
		if subtle.ConstantTimeCompare(key.Hash[:], hash[:]) == 1 && key.RevokedAt.IsZero() && !key.Expired(s.opts.Clock()) {
			who := &credential{key: key}
			s.keys.put(hash, who, age)
			return who, nil
		}
	}
	s.keys.putUnknown(hash, age)
	return nil, unknownKey()
}

func unknownKey() error {
	return gateway.Errorf(gateway.CodeUnauthorized, "this x-api-key is not known")
}

// ownTenant returns the tenant with this id if the key is its own. Once a key's tenant is known, other ids are refused
// without a look, so that the time it takes says nothing either.
func (s *Server) ownTenant(ctx context.Context, who *credential, id string) (gateway.Tenant, error) {
	forbidden := gateway.Errorf(gateway.CodeForbidden, "this key is not for this tenant")
	if own := s.keys.tenant(who); own != nil {
		if own.ID != id {
			return gateway.Tenant{}, forbidden
		}
		return *own, nil
	}
	tenant, err := s.store.Tenant(ctx, id)
	if gateway.CodeOf(err) == gateway.CodeNotFound {
		return gateway.Tenant{}, forbidden
	}
	if err != nil {
		return gateway.Tenant{}, fmt.Errorf("look up the tenant: %w", err)
	}
	if tenant.Key != who.key.TenantKey {
		return gateway.Tenant{}, forbidden
	}
	s.keys.own(who, tenant)
	return tenant, nil
}

// credential is a known key; tenant is filled in by its first rightful use.
type credential struct {
	key      gateway.APIKey
	tenant   *gateway.Tenant
	tenantID string // of a web session: of the key's tenant
	until    time.Time
}

// keyCache spares the store a look at every request, of keys and of web sessions; of a key also that it does not exist. All is kept briefly; what
// changes in this process clears it, what changes in another is noticed after the time to live.
type keyCache struct {
	ttl   time.Duration
	clock func() time.Time

	mu      sync.RWMutex
	byHash  map[[32]byte]*credential
	unknown map[[32]byte]time.Time // until when it is believed; apart, so that made-up keys drive out no others
	cleared int                    // how often; a look-up that began before a clearing is not kept
}

func newKeyCache(ttl time.Duration, clock func() time.Time) *keyCache {
	return &keyCache{ttl: ttl, clock: clock, byHash: map[[32]byte]*credential{}, unknown: map[[32]byte]time.Time{}}
}

func (k *keyCache) get(hash [32]byte) *credential {
	k.mu.RLock()
	defer k.mu.RUnlock()
	who := k.byHash[hash]
	if who == nil || !k.clock().Before(who.until) {
		return nil
	}
	return who
}

func (k *keyCache) age() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.cleared
}

func (k *keyCache) put(hash [32]byte, who *credential, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cleared != age {
		return
	}
	if len(k.byHash) >= maxCachedKeys {
		clear(k.byHash)
	}
	who.until = k.clock().Add(k.ttl)
	if end := who.key.ExpiresAt; !end.IsZero() && end.Before(who.until) {
		who.until = end
	}
	k.byHash[hash] = who
}

func (k *keyCache) isUnknown(hash [32]byte) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.clock().Before(k.unknown[hash])
}

func (k *keyCache) putUnknown(hash [32]byte, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cleared != age {
		return
	}
	if len(k.unknown) >= maxCachedKeys {
		clear(k.unknown)
	}
	k.unknown[hash] = k.clock().Add(k.ttl)
}

func (k *keyCache) tenant(who *credential) *gateway.Tenant {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return who.tenant
}

func (k *keyCache) own(who *credential, tenant gateway.Tenant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	who.tenant = &tenant
}

// clear forgets everything: a key or a tenant came or is gone.
func (k *keyCache) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.byHash)
	clear(k.unknown)
	k.cleared++
}
