package gateway

import (
	"regexp"
	"time"
)

// Tenant is one customer of the hub with one WhatsApp number.
type Tenant struct {
	ID        string // the name in URLs, TenantIDPattern
	Key       int64  // internal, never used again after the tenant is deleted; names its queues and rows
	Name      string
	CreatedAt time.Time
	Settings  Settings
	Limits    Limits
}

// Limits are what the operator allows a tenant; 0 of each is what the hub is set to.
type Limits struct {
	RequestsPerSecond int // in the long run; twice as many at once
	QueuedMessages    int // that wait, those of bulks and scheduled ones included
}

// RateOf names whose requests are counted together: all of a tenant's, or those of one of its keys.
type RateOf struct {
	TenantKey int64
	KeyID     string // "": of all its keys
}

// RateAnswer says whether one more request is within a limit, and what is left of it.
type RateAnswer struct {
	OK        bool
	Limit     int           // how many at once; 0: there is no limit
	Remaining int           // of them now
	Reset     time.Duration // until all of them are there again
	Wait      time.Duration // until the next one is, when not OK
}

// MaxLimit bounds each of Limits.
const MaxLimit = 1_000_000_000

var tenantID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ValidTenantID reports whether id may name a tenant.
func ValidTenantID(id string) bool { return tenantID.MatchString(id) }

// APIKey is a credential as it is stored: only the hash of the secret exists after creation.
type APIKey struct {
	ID        string
	TenantKey int64 // 0: the admin key, which opens /admin and the /api of every tenant
	Name      string
	Scopes    []string // empty: everything the tenant may do
	Hash      [32]byte // SHA-256 of the key; keys are random, so a slow hash adds nothing
	CreatedAt time.Time
	RevokedAt time.Time // zero: live
	ExpiresAt time.Time // when a key that was replaced ends; zero: it does not
	MadeBy    string    // id of the key that made this one as its own successor; empty: the operator did

	RequestsPerSecond int // of this key in the long run, twice as many at once; 0: as many as its tenant
}

// Expired reports whether the key ended by itself.
func (k APIKey) Expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }
