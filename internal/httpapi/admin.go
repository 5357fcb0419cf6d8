package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// ListTenants answers with all tenants.
func (s *Server) ListTenants(c echo.Context) error {
	tenants, err := s.store.Tenants(c.Request().Context())
	if err != nil {
		return wrap(err, "list the tenants")
	}
	list := spec.TenantList{Data: make([]spec.Tenant, len(tenants))}
	for i, t := range tenants {
		list.Data[i] = tenantModel(t)
	}
	return sendJSON(c, list)
}

func tenantModel(t gateway.Tenant) spec.Tenant {
	return spec.Tenant{Id: t.ID, Name: orNull(t.Name), CreatedAt: t.CreatedAt.UTC()}
}

// CreateTenant makes a tenant with an unpaired session.
func (s *Server) CreateTenant(c echo.Context, _ spec.CreateTenantParams) error {
	var id, name string
	var given bool
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return noBody()
		}
		err := d.Object(func(field string) error {
			switch field {
			case "id":
				given = true
				return required(d, &id, maxID, gateway.CodeInvalidTenant)
			case "name":
				return optional(d, &name, maxNameField, gateway.CodeInvalidBody)
			}
			return d.UnknownField()
		})
		switch {
		case err != nil:
			return err
		case !given:
			return missing("/id")
		case !gateway.ValidTenantID(id):
			return gateway.FieldErrorf(gateway.CodeInvalidTenant, "/id", "/id must be 1 to 63 lower-case letters, digits and dashes, and not begin with a dash")
		}
		return nil
	}
	return s.post(c, decode, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenant, err := s.store.CreateTenant(ctx, id, name)
		if err != nil {
			return nil, wrap(err, "create the tenant")
		}
		a := jsonAnswer(http.StatusCreated, tenantModel(tenant))
		a.Header["Location"] = "/admin/tenants/" + tenant.ID
		return a, nil
	})
}

// DeleteTenant removes a tenant from everywhere.
func (s *Server) DeleteTenant(c echo.Context, id string) error {
	ctx := c.Request().Context()
	tenant, err := s.store.Tenant(ctx, id)
	if err != nil {
		return wrap(err, "look up the tenant")
	}
	defer s.keys.clear() // also when it failed half-way
	if err := s.tenants.Delete(ctx, tenant); err != nil {
		return wrap(err, "delete the tenant")
	}
	return c.NoContent(http.StatusNoContent)
}

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
			list.Data = append(list.Data, spec.Key{Id: k.ID, Name: orNull(k.Name), Scopes: scopes(k), CreatedAt: k.CreatedAt.UTC()})
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
		secret := gateway.NewKeySecret()
		keyID, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make a key id: %w", err)
		}
		key.ID, key.TenantKey, key.Hash, key.CreatedAt = keyID.String(), tenant.Key, gateway.HashKey(secret), s.opts.Clock().UTC()
		if err := s.store.CreateKey(ctx, key); err != nil {
			return nil, wrap(err, "create the key")
		}
		shown := spec.CreatedKey{Id: key.ID, Name: orNull(key.Name), Scopes: scopes(key), CreatedAt: key.CreatedAt, Key: &secret}
		a := jsonAnswer(http.StatusCreated, shown)
		shown.Key = nil
		a.replay = &jsonAnswer(http.StatusCreated, shown).IdempotencyAnswer
		return a, nil
	})
}

// decodeKey reads {name?, scopes?}.
func decodeKey(d *strictjson.Decoder, key *gateway.APIKey) error {
	if d == nil {
		return nil
	}
	return d.Object(func(field string) error {
		switch field {
		case "name":
			return optional(d, &key.Name, maxNameField, gateway.CodeInvalidBody)
		case "scopes":
			if null, err := d.Null(); err != nil || null {
				return err
			}
			return d.Array(maxKeyword, func() error {
				var scope string
				if err := required(d, &scope, maxKeyword, gateway.CodeInvalidBody); err != nil {
					return err
				}
				if !spec.Scope(scope).Valid() {
					return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be send, read or session", d.Pointer())
				}
				if !slices.Contains(key.Scopes, scope) {
					key.Scopes = append(key.Scopes, scope)
				}
				return nil
			})
		}
		return d.UnknownField()
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
