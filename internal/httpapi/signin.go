package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/wapro/hub/internal/gateway"
)

// SessionCookie is the cookie that stands for an API key in a browser that signed in.
const SessionCookie = "wah_session"

// WebSessions keeps who signed in.
type WebSessions interface {
	OpenWebSession(ctx context.Context, w gateway.WebSession) error // gateway.CodeNotFound: the key is gone
	// WebSession finds one that is not over and whose key lives; gateway.CodeNotFound.
	WebSession(ctx context.Context, tokenHash [32]byte) (w gateway.WebSession, key gateway.APIKey, tenantID string, err error)
	RenewWebSession(ctx context.Context, w gateway.WebSession) error
	CloseWebSession(ctx context.Context, tokenHash [32]byte) error
}

// SignIn opens a web session for who holds an API key and returns the token of its cookie. gateway.CodeUnauthorized.
func (s *Server) SignIn(ctx context.Context, key string) (token string, err error) {
	who, err := s.credential(ctx, gateway.HashKey(key))
	if err != nil {
		return "", err
	}
	now := s.opts.Clock()
	token = gateway.NewSessionToken()
	session := gateway.WebSession{TokenHash: gateway.HashSession(token), KeyID: who.key.ID, OpenedAt: now}
	session.Renew(now)
	err = s.sessions.OpenWebSession(ctx, session)
	if gateway.CodeOf(err) == gateway.CodeNotFound && err != nil {
		return "", unknownKey() // revoked a moment ago
	}
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	return token, nil
}

// SignOut ends a web session, if it is one.
func (s *Server) SignOut(ctx context.Context, token string) error {
	defer s.keys.clear()
	if err := s.sessions.CloseWebSession(ctx, gateway.HashSession(token)); err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	return nil
}

// Visitor is who signed in with this token. gateway.CodeUnauthorized.
func (s *Server) Visitor(ctx context.Context, token string) (gateway.Visitor, error) {
	who, err := s.sessionCredential(ctx, token)
	if err != nil {
		return gateway.Visitor{}, err
	}
	return gateway.Visitor{Admin: who.key.TenantKey == 0, TenantID: who.tenantID, KeyName: who.key.Name, Scopes: who.key.Scopes}, nil
}

// sessionCredential finds the live key that a browser signed in with, and keeps its session from ending while it is used.
func (s *Server) sessionCredential(ctx context.Context, token string) (*credential, error) {
	hash := gateway.HashSession(token)
	if who := s.keys.get(hash); who != nil {
		return who, nil
	}
	age := s.keys.age()
	session, key, tenantID, err := s.sessions.WebSession(ctx, hash)
	if err != nil {
		if gateway.CodeOf(err) == gateway.CodeNotFound {
			return nil, gateway.Errorf(gateway.CodeUnauthorized, "this sign-in is over: sign in again")
		}
		return nil, fmt.Errorf("look up the sign-in: %w", err)
	}
	if session.Renew(s.opts.Clock()) {
		if err := s.sessions.RenewWebSession(ctx, session); err != nil {
			return nil, fmt.Errorf("keep the sign-in: %w", err)
		}
	}
	who := &credential{key: key, tenantID: tenantID}
	s.keys.put(hash, who, age)
	return who, nil
}

// fromCookie is who signed in in the browser that sends this request. What changes anything must come from a page of our own: the
// browser sends the cookie whoever asks it to.
func (s *Server) fromCookie(ctx context.Context, r *http.Request) (*credential, error) {
	cookie, err := r.Cookie(SessionCookie)
	if s.sessions == nil || err != nil || cookie.Value == "" {
		return nil, gateway.Errorf(gateway.CodeUnauthorized, "the header x-api-key is missing")
	}
	if err := s.sameOrigin.Check(r); err != nil {
		return nil, gateway.Errorf(gateway.CodeForbidden, "a page of another site asked for this; send the key in the header x-api-key instead")
	}
	return s.sessionCredential(ctx, cookie.Value)
}
