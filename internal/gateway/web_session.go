package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"
)

// Bounds of a web session.
const (
	WebSessionIdle    = 12 * time.Hour     // without a request
	WebSessionMax     = 7 * 24 * time.Hour // in all
	MaxWebSessions    = 50                 // of one key; a new one ends the one that would expire first
	webSessionRenewal = 10 * time.Minute   // how much of its time a session loses before it is renewed: not every request is a write
)

// WebSession is a browser that somebody signed in with an API key. It may do what the key may, for as long as the key lives.
type WebSession struct {
	TokenHash [32]byte // HashSession of what the browser's cookie holds
	KeyID     string
	OpenedAt  time.Time
	ExpiresAt time.Time
}

// Renew moves ExpiresAt on because of a request at now, and reports whether that is worth storing.
func (s *WebSession) Renew(now time.Time) bool {
	until := now.Add(WebSessionIdle)
	if last := s.OpenedAt.Add(WebSessionMax); until.After(last) {
		until = last
	}
	if until.Sub(s.ExpiresAt) < webSessionRenewal {
		return false
	}
	s.ExpiresAt = until
	return true
}

// Visitor is who a web session belongs to.
type Visitor struct {
	Admin    bool
	TenantID string // empty of the admin
	KeyName  string
	Scopes   []string // empty: everything that the key's owner may do
}

// May reports whether the visitor's key has the scope.
func (v Visitor) May(scope string) bool {
	return len(v.Scopes) == 0 || slices.Contains(v.Scopes, scope)
}

// NewSessionToken makes what a browser's cookie holds: 256 random bits.
func NewSessionToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// HashSession is the stored form of a session's token. It is never the hash of a key, so that the one cannot be used as the other.
func HashSession(token string) [32]byte { return sha256.Sum256([]byte("web session\x00" + token)) }
