package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// ListKeys answers with a tenant's live keys.
func (s *Server) ListKeys(c echo.Context, id string) error {
	ctx := c.Request().Context()
	tenant, err := s.store.Tenant(ctx, id)
	if err != nil {
		return wrap(err, "look up the tenant")
	}
	keys, err := s.store.Keys(ctx, tenant.Key)
	if err != nil {
		return wrap(err, "list the keys")
	}
	list := spec.KeyList{Data: []spec.Key{}}
	for _, k := range keys {
		if k.RevokedAt.IsZero() {
			list.Data = append(list.Data, spec.Key{Id: k.ID, Name: orNull(k.Name), Scopes: scopes(k), CreatedAt: k.CreatedAt.UTC(), ExpiresAt: timeOrNull(k.ExpiresAt), RequestsPerSecond: orDefault(k.RequestsPerSecond), MadeBy: orNull(k.MadeBy)})
		}
	}
	return sendJSON(c, list)
}

func scopes(k gateway.APIKey) []spec.Scope {
	out := make([]spec.Scope, len(k.Scopes))
	for i, scope := range k.Scopes {
		out[i] = spec.Scope(scope)
	}
	return out
}

// CreateKey makes a key and shows it this once; a replay has no secret.
func (s *Server) CreateKey(c echo.Context, id string, _ spec.CreateKeyParams) error {
	key := gateway.APIKey{Scopes: []string{}}
	decode := func(d *strictjson.Decoder) error { return decodeKey(d, &key) }
	return s.post(c, decode, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenant, err := s.store.Tenant(ctx, id)
		if err != nil {
			return nil, wrap(err, "look up the tenant")
		}
		fresh, secret, err := s.newKey()
		if err != nil {
			return nil, err
		}
		key.ID, key.TenantKey, key.Hash, key.CreatedAt = fresh.ID, tenant.Key, fresh.Hash, fresh.CreatedAt
		if err := s.store.CreateKey(ctx, key); err != nil {
			return nil, wrap(err, "create the key")
		}
		s.keys.clear()
		shown := spec.CreatedKey{Id: key.ID, Name: orNull(key.Name), Scopes: scopes(key), CreatedAt: key.CreatedAt, RequestsPerSecond: orDefault(key.RequestsPerSecond), Key: &secret}
		a := jsonAnswer(http.StatusCreated, shown)
		shown.Key = nil
		a.replay = &jsonAnswer(http.StatusCreated, shown).IdempotencyAnswer
		return a, nil
	})
}

// newKey makes a key and its secret.
func (s *Server) newKey() (key gateway.APIKey, secret string, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return key, "", fmt.Errorf("make a key id: %w", err)
	}
	secret = gateway.NewKeySecret()
	return gateway.APIKey{ID: id.String(), Hash: gateway.HashKey(secret), CreatedAt: s.opts.Clock().UTC()}, secret, nil
}

// How long a key goes on working that was replaced.
const (
	defaultGrace = 24 * time.Hour
	maxGrace     = 30 * 24 * time.Hour
	minOwnGrace  = time.Minute // of a key that replaces itself: how often it can
)

// RotateKey makes the successor of a key and shows it this once; the old one ends after a while.
func (s *Server) RotateKey(c echo.Context, id, keyID string, _ spec.RotateKeyParams) error {
	grace := defaultGrace
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return nil
		}
		return d.Object(func(field string) (err error) {
			if field != "graceSeconds" {
				return d.UnknownField()
			}
			grace, err = wholeSeconds(d, 0, maxGrace)
			return err
		})
	}
	return s.post(c, decode, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenant, err := s.store.Tenant(ctx, id)
		if err != nil {
			return nil, wrap(err, "look up the tenant")
		}
		return s.rotate(ctx, tenant.Key, keyID, gateway.APIKey{}, grace)
	})
}

// RotateOwnKey makes the successor of the key that the request carries and shows it this once; the old one ends after a while.
func (s *Server) RotateOwnKey(c echo.Context, _ string, _ spec.RotateOwnKeyParams) error {
	switch call := callOf(c); {
	case call.admin:
		return gateway.Errorf(gateway.CodeForbidden, "this is for a tenant's own key; the admin key is changed by ADMIN_API_KEY, keys of tenants under /admin/tenants")
	case c.Request().Header.Get(headerAPIKey) == "":
		return gateway.Errorf(gateway.CodeForbidden, "a key is replaced by who has it: send it in the header x-api-key")
	}
	own, grace := callOf(c).key, defaultGrace
	fresh := gateway.APIKey{MadeBy: own.ID}
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return nil
		}
		return d.Object(func(field string) (err error) {
			switch field {
			case "graceSeconds":
				grace, err = wholeSeconds(d, minOwnGrace, maxGrace)
				return err
			case "scopes":
				fresh.Scopes = nil
				if err := decodeScopes(d, &fresh); err != nil {
					return err
				}
				if len(fresh.Scopes) == 0 {
					return gateway.FieldErrorf(gateway.CodeInvalidBody, "/scopes", "/scopes is empty: leave it out for those of the old key")
				}
				return nil
			}
			return d.UnknownField()
		})
	}
	return s.post(c, decode, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		return s.rotate(ctx, own.TenantKey, own.ID, fresh, grace)
	})
}

// rotate gives a key a successor, of which like has what the store does not take from the old one.
func (s *Server) rotate(ctx context.Context, tenantKey int64, keyID string, like gateway.APIKey, grace time.Duration) (*answer, error) {
	fresh, secret, err := s.newKey()
	if err != nil {
		return nil, err
	}
	fresh.MadeBy, fresh.Scopes = like.MadeBy, like.Scopes
	defer s.keys.clear() // they hold the old one without its end
	key, old, err := s.store.RotateKey(ctx, tenantKey, keyID, fresh, fresh.CreatedAt.Add(grace))
	if err != nil {
		return nil, wrap(err, "rotate the key")
	}
	shown := spec.RotatedKey{
		Id: key.ID, Name: orNull(key.Name), Scopes: scopes(key), CreatedAt: key.CreatedAt.UTC(), RequestsPerSecond: orDefault(key.RequestsPerSecond), Key: &secret,
		OldKeyId: old.ID, OldKeyExpiresAt: old.ExpiresAt.UTC(),
	}
	a := jsonAnswer(http.StatusCreated, shown)
	shown.Key = nil
	a.replay = &jsonAnswer(http.StatusCreated, shown).IdempotencyAnswer
	return a, nil
}

// decodeKey reads {name?, scopes?, requestsPerSecond?}.
func decodeKey(d *strictjson.Decoder, key *gateway.APIKey) error {
	if d == nil {
		return nil
	}
	return d.Object(func(field string) error {
		switch field {
		case "name":
			return optional(d, &key.Name, maxNameField, gateway.CodeInvalidBody)
		case "requestsPerSecond":
			return wholeLimit(d, &key.RequestsPerSecond)
		case "scopes":
			if null, err := d.Null(); err != nil || null {
				return err
			}
			return decodeScopes(d, key)
		}
		return d.UnknownField()
	})
}

// decodeScopes reads the scopes of a key, each once.
func decodeScopes(d *strictjson.Decoder, key *gateway.APIKey) error {
	return d.Array(maxKeyword, func() error {
		var scope string
		if err := required(d, &scope, maxKeyword, gateway.CodeInvalidBody); err != nil {
			return err
		}
		if !spec.Scope(scope).Valid() {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be send, read or manage", d.Pointer())
		}
		if !slices.Contains(key.Scopes, scope) {
			key.Scopes = append(key.Scopes, scope)
		}
		return nil
	})
}

// DeleteKey revokes a key; this process stops believing it at once.
func (s *Server) DeleteKey(c echo.Context, id, keyID string) error {
	ctx := c.Request().Context()
	tenant, err := s.store.Tenant(ctx, id)
	if err != nil {
		return wrap(err, "look up the tenant")
	}
	defer s.keys.clear()
	if err := s.store.RevokeKey(ctx, tenant.Key, keyID); err != nil {
		return wrap(err, "revoke the key")
	}
	return c.NoContent(http.StatusNoContent)
}

// wholeLimit reads a limit into to; null is 0: none.
func wholeLimit(d *strictjson.Decoder, to *int) error {
	*to = 0
	null, err := d.Null()
	if err == nil && !null {
		*to, err = wholeNumber(d, 1, gateway.MaxLimit)
	}
	return err
}
