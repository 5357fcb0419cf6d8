package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
)

const adminKeyName = "admin"

// bootstrap makes what must exist before the first request: the admin key and, when named, a first tenant with its key.
func (h *Hub) bootstrap(ctx context.Context) error {
	if err := h.ensureAdminKey(ctx); err != nil {
		return fmt.Errorf("admin key: %w", err)
	}
	if h.cfg.BootstrapTenant == "" {
		return nil
	}
	tenant, err := h.ensureTenant(ctx, h.cfg.BootstrapTenant)
	if err != nil {
		return err
	}
	if h.cfg.BootstrapAPIKey == "" {
		return nil
	}
	return h.ensureKey(ctx, tenant.Key, "bootstrap", h.cfg.BootstrapAPIKey)
}

// ensureAdminKey stores ADMIN_API_KEY, which replaces an earlier one of the settings; without the setting the key is
// made at the first start and shown this once.
func (h *Hub) ensureAdminKey(ctx context.Context) error {
	if h.cfg.AdminAPIKey != "" {
		return h.ensureKey(ctx, 0, adminKeyName, h.cfg.AdminAPIKey)
	}
	keys, err := h.store.Keys(ctx, 0)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.RevokedAt.IsZero() {
			return nil
		}
	}
	key := gateway.NewKeySecret()
	if err := h.ensureKey(ctx, 0, adminKeyName, key); err != nil {
		return err
	}
	_, err = fmt.Fprintf(h.opts.Stderr, "\nAdmin key, shown this once: %s\n\n", key)
	return err
}

func (h *Hub) ensureTenant(ctx context.Context, id string) (gateway.Tenant, error) {
	tenant, err := h.store.Tenant(ctx, id)
	if !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
		return tenant, err
	}
	tenant, err = h.store.CreateTenant(ctx, id, id)
	if errors.Is(err, &gateway.Error{Code: gateway.CodeTenantExists}) {
		return h.store.Tenant(ctx, id) // another process was quicker
	}
	return tenant, err
}

// ensureKey makes secret a live key of the tenant; an earlier secret of the same name is revoked. A secret that has replaced itself by another
// (the key's own rotation, or the operator's) does not come back while that one lives.
func (h *Hub) ensureKey(ctx context.Context, tenantKey int64, name, secret string) error {
	hash := gateway.HashKey(secret)
	keys, err := h.store.Keys(ctx, tenantKey)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k gateway.APIKey) bool { return !k.RevokedAt.IsZero() })
	if slices.ContainsFunc(keys, func(k gateway.APIKey) bool { return k.Hash == hash }) {
		return nil
	}
	if replaced, err := h.store.Replaced(ctx, tenantKey, hash); err != nil || replaced {
		if err == nil {
			h.log.Warn("a key that is set was replaced by rotation, and its time is over: set the new one, or none", "key", name)
		}
		return err
	}
	for _, k := range keys {
		if k.Name != name {
			continue
		}
		err := h.store.RevokeKey(ctx, tenantKey, k.ID)
		if err != nil && !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) { // it ended with the one that made it
			return err
		}
	}
	return h.store.CreateKey(ctx, gateway.APIKey{
		ID: uuid.NewString(), TenantKey: tenantKey, Name: name, Hash: hash, CreatedAt: time.Now().UTC(),
	})
}
