package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const tenantColumns = `tenant_key, id, name, created_at, hold_unknown, expiry_high, expiry_normal, expiry_bulk, pacing, words, rate_limit, queue_limit,
	keep_messages, keep_text, keep_events`

func scanTenant(row scanner) (t gateway.Tenant, err error) {
	var created, high, normal, bulk int64
	var pacing, words string
	if err = row.Scan(&t.Key, &t.ID, &t.Name, &created, &t.Settings.HoldUnknown, &high, &normal, &bulk, &pacing, &words,
		&t.Limits.RequestsPerSecond, &t.Limits.QueuedMessages,
		&t.Settings.Retention.Messages, &t.Settings.Retention.Text, &t.Settings.Retention.Events); err != nil {
		return t, err
	}
	if t.Settings.Words, err = readWords(words); err != nil {
		return t, err
	}
	t.Settings.Pacing, err = readPacing(pacing)
	t.CreatedAt = fromMicros(created)
	t.Settings.Expiry.High = time.Duration(high) * time.Second
	t.Settings.Expiry.Normal = time.Duration(normal) * time.Second
	t.Settings.Expiry.Bulk = time.Duration(bulk) * time.Second
	return t, err
}

// UpdateSettings lets apply change what a tenant may choose, and returns what is stored. The owner of its session is told of
// another pacing. apply must be quick and must not use the database. CodeNotFound.
func (s *Store) UpdateSettings(ctx context.Context, tenantKey int64, apply func(*gateway.Settings)) (gateway.Settings, error) {
	var settings gateway.Settings
	err := s.write(ctx, "update settings", func(t *tx) error {
		tenant, err := scanTenant(t.row(s.d.sql(`SELECT `+tenantColumns+` FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {lock}`), tenantKey))
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant")
		}
		if err != nil {
			return err
		}
		settings = tenant.Settings
		before, err := writePacing(settings.Pacing)
		if err != nil {
			return err
		}
		apply(&settings)
		pacing, err := writePacing(settings.Pacing)
		if err != nil {
			return err
		}
		if pacing != before {
			if _, err := t.exec(`INSERT INTO commands (tenant_key, kind, phone, created_at) VALUES ($1, $2, '', $3)`,
				tenantKey, gateway.CommandPacing, micros(s.now())); err != nil {
				return err
			}
		}
		words, err := writeWords(settings.Words)
		if err != nil {
			return err
		}
		e, keep := settings.Expiry, settings.Retention
		_, err = t.exec(`UPDATE tenants SET hold_unknown = $1, expiry_high = $2, expiry_normal = $3, expiry_bulk = $4, pacing = $5, words = $6,
			keep_messages = $7, keep_text = $8, keep_events = $9 WHERE tenant_key = $10`,
			settings.HoldUnknown, int64(e.High/time.Second), int64(e.Normal/time.Second), int64(e.Bulk/time.Second), pacing, words,
			keep.Messages, keep.Text, keep.Events, tenantKey)
		return err
	})
	if err != nil {
		return gateway.Settings{}, err
	}
	return settings, nil
}

// UpdateLimits lets apply change what the operator allows a tenant, and returns what is stored. CodeNotFound.
func (s *Store) UpdateLimits(ctx context.Context, id string, apply func(*gateway.Limits)) (gateway.Tenant, error) {
	var tenant gateway.Tenant
	err := s.write(ctx, "update limits", func(t *tx) (err error) {
		tenant, err = scanTenant(t.row(s.d.sql(`SELECT `+tenantColumns+` FROM tenants WHERE id = $1 AND deleted_at = 0 {lock}`), id))
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no tenant %s", id)
		}
		if err != nil {
			return err
		}
		apply(&tenant.Limits)
		_, err = t.exec(`UPDATE tenants SET rate_limit = $1, queue_limit = $2 WHERE tenant_key = $3`,
			tenant.Limits.RequestsPerSecond, tenant.Limits.QueuedMessages, tenant.Key)
		return err
	})
	if err != nil {
		return gateway.Tenant{}, err
	}
	return tenant, nil
}
