package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// purgeChunk is how many messages of a deleted tenant go in one transaction, so that others get their turn.
const purgeChunk = 500

// CreateTenant makes a tenant and its session, unpaired. CodeInvalidTenant, CodeTenantExists.
func (s *Store) CreateTenant(ctx context.Context, id, name string) (gateway.Tenant, error) {
	if !gateway.ValidTenantID(id) {
		return gateway.Tenant{}, gateway.Errorf(gateway.CodeInvalidTenant,
			"a tenant id has 1 to 63 characters out of a-z, 0-9 and -, and does not begin with -")
	}
	t := gateway.Tenant{ID: id, Name: name, CreatedAt: stored(s.now())}
	err := s.write(ctx, "create tenant "+id, func(tx *tx) error {
		err := tx.row(`INSERT INTO tenants (id, name, created_at) VALUES ($1, $2, $3) RETURNING tenant_key`,
			id, name, micros(t.CreatedAt)).Scan(&t.Key)
		if s.d.duplicate(err) {
			return gateway.Errorf(gateway.CodeTenantExists, "tenant %s exists already", id)
		}
		if err != nil {
			return err
		}
		_, err = tx.exec(s.d.sql(`INSERT INTO sessions (tenant_key, state, reason, since, lease_until) VALUES ($1, $2, $3, $4, {now})`),
			t.Key, gateway.SessionUnpaired, gateway.ReasonNeverPaired, micros(t.CreatedAt))
		return err
	})
	if err != nil {
		return gateway.Tenant{}, err
	}
	return t, nil
}

// Tenant finds a tenant by its id. CodeNotFound.
func (s *Store) Tenant(ctx context.Context, id string) (gateway.Tenant, error) {
	t, err := scanTenant(s.readRow(ctx,
		`SELECT `+tenantColumns+` FROM tenants WHERE id = $1 AND deleted_at = 0`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.Tenant{}, gateway.Errorf(gateway.CodeNotFound, "there is no tenant %s", id)
	}
	if err != nil {
		return gateway.Tenant{}, s.wrap("read tenant "+id, err)
	}
	return t, nil
}

// Tenants lists all tenants by id.
func (s *Store) Tenants(ctx context.Context) ([]gateway.Tenant, error) {
	rows, err := s.read(ctx, `SELECT `+tenantColumns+` FROM tenants WHERE deleted_at = 0 ORDER BY id`)
	list, err := all(rows, err, scanTenant)
	if err != nil {
		return nil, s.wrap("list tenants", err)
	}
	return list, nil
}

// DeleteTenant deletes a tenant and everything it has; its id is free again at once, its key is never used again.
// The tenant, its keys and its session go in one transaction, its messages and what webhooks have afterwards in small ones. When ctx ends in
// between, the tenant is gone and the rest is removed when the database is opened next. CodeNotFound.
func (s *Store) DeleteTenant(ctx context.Context, id string) error {
	var key int64
	err := s.write(ctx, "delete tenant "+id, func(tx *tx) error {
		err := tx.row(`UPDATE tenants SET deleted_at = $1 WHERE id = $2 AND deleted_at = 0 RETURNING tenant_key`,
			micros(s.now()), id).Scan(&key)
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no tenant %s", id)
		}
		if err != nil {
			return err
		}
		delete(tx.lastSeq, key) // nothing more is accepted, not in this transaction either
		for _, query := range []string{
			// No more is stored for a bulk that is being made.
			`UPDATE bulks SET status = 'discarding' WHERE tenant_key = $1 AND status = 'staging'`,
			`DELETE FROM sessions WHERE tenant_key = $1`, // first: a command cannot be added without it
			`DELETE FROM commands WHERE tenant_key = $1`,
			`DELETE FROM opt_outs WHERE tenant_key = $1`,
			`DELETE FROM event_streams WHERE tenant_key = $1`, // nothing more is told from here on
			`DELETE FROM api_keys WHERE tenant_key = $1`,
			`DELETE FROM idempotency WHERE tenant_key = $1`,
		} {
			if _, err := tx.exec(query, key); err != nil {
				return err
			}
		}
		_, err = tx.exec(markDeleted, key, blob(nil))
		return err
	})
	if err != nil {
		return err
	}
	return s.purge(ctx, key)
}

// purgeDeleted finishes the deletions that were interrupted.
func (s *Store) purgeDeleted(ctx context.Context) error {
	rows, err := s.read(ctx, `SELECT tenant_key FROM tenants WHERE deleted_at > 0`)
	keys, err := all(rows, err, func(row scanner) (key int64, err error) { return key, row.Scan(&key) })
	if err != nil {
		return s.wrap("list deleted tenants", err)
	}
	for _, key := range keys {
		if err := s.purge(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) purge(ctx context.Context, key int64) error {
	for {
		left := true
		err := s.write(ctx, "remove the rows of a deleted tenant", func(tx *tx) error {
			// Another process may do the same; its turn ends with its commit.
			var one int
			err := tx.row(s.d.sql(`SELECT 1 FROM tenants WHERE tenant_key = $1 AND deleted_at > 0 {lock}`), key).Scan(&one)
			if errors.Is(err, sql.ErrNoRows) {
				left = false
				return nil
			}
			if err != nil {
				return err
			}
			if more, err := tx.purgeWebhook(key); err != nil || more {
				return err
			}
			n, err := tx.exec(`DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE tenant_key = $1 LIMIT $2)`,
				key, purgeChunk)
			if err != nil || n > 0 {
				return err
			}
			n, err = tx.exec(`DELETE FROM sent_contents WHERE tenant_key = $1 AND stanza_id IN (
				SELECT stanza_id FROM sent_contents WHERE tenant_key = $1 LIMIT $2)`, key, purgeChunk)
			if err != nil || n > 0 {
				return err
			}
			n, err = tx.exec(`DELETE FROM events WHERE tenant_key = $1 AND pos IN (SELECT pos FROM events WHERE tenant_key = $1 LIMIT $2)`, key, purgeChunk)
			if err != nil || n > 0 {
				return err
			}
			n, err = tx.exec(`DELETE FROM inbound_messages WHERE id IN (SELECT id FROM inbound_messages WHERE tenant_key = $1 LIMIT $2)`,
				key, purgeChunk)
			if err != nil || n > 0 {
				return err
			}
			left = false
			for _, query := range []string{
				`DELETE FROM queries WHERE tenant_key = $1`,
				`DELETE FROM number_checks WHERE tenant_key = $1`,
				`DELETE FROM event_outbox WHERE tenant_key = $1`,
				`DELETE FROM bulks WHERE tenant_key = $1`,
				`DELETE FROM uploads WHERE tenant_key = $1`,
				`DELETE FROM opt_outs WHERE tenant_key = $1`, // of a version that did not lock the tenant to add some
			} {
				if _, err := tx.exec(query, key); err != nil {
					return err
				}
			}
			_, err = tx.exec(`DELETE FROM tenants WHERE tenant_key = $1 AND deleted_at > 0`, key)
			return err
		})
		if err != nil || !left {
			return err
		}
	}
}

// keyColumns are all of a key, of api_keys k.
const keyColumns = `k.id, COALESCE(k.tenant_key, 0), k.name, k.scopes, k.hash, k.created_at, k.revoked_at, k.expires_at, k.rate_limit, k.made_by`

func scanKey(row scanner) (k gateway.APIKey, err error) {
	var (
		scopes                    string
		hash                      []byte
		created, revoked, expires int64
	)
	err = row.Scan(&k.ID, &k.TenantKey, &k.Name, &scopes, &hash, &created, &revoked, &expires, &k.RequestsPerSecond, &k.MadeBy)
	k.Scopes = strings.Fields(scopes)
	copy(k.Hash[:], hash)
	k.CreatedAt, k.RevokedAt, k.ExpiresAt = fromMicros(created), fromMicros(revoked), fromMicros(expires)
	return k, err
}

// CreateKey stores a key. CreatedAt is filled in when it is zero. A key of an unknown tenant is CodeNotFound, a second
// key with the same id CodeConflict.
func (s *Store) CreateKey(ctx context.Context, k gateway.APIKey) error {
	if k.CreatedAt.IsZero() {
		k.CreatedAt = s.now()
	}
	return s.write(ctx, "create key", func(tx *tx) error {
		if k.TenantKey != 0 {
			var one int
			err := tx.row(s.d.sql(`SELECT 1 FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {lock}`), k.TenantKey).Scan(&one)
			if errors.Is(err, sql.ErrNoRows) {
				return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant")
			}
			if err != nil {
				return err
			}
		}
		return s.insertKey(tx, k)
	})
}

func (s *Store) insertKey(tx *tx, k gateway.APIKey) error {
	_, err := tx.exec(`INSERT INTO api_keys (id, tenant_key, name, scopes, hash, hash_prefix, created_at, expires_at, rate_limit, made_by)
		VALUES ($1, NULLIF(CAST($2 AS BIGINT), 0), $3, $4, $5, $6, $7, $8, $9, $10)`,
		k.ID, k.TenantKey, k.Name, strings.Join(k.Scopes, " "), k.Hash[:], k.Hash[:8], micros(k.CreatedAt), micros(k.ExpiresAt), k.RequestsPerSecond, k.MadeBy)
	if s.d.duplicate(err) {
		return gateway.Errorf(gateway.CodeConflict, "a key with this id exists already")
	}
	return err
}

// RotateKey gives the tenant's live key id a successor with its name, scopes and limit, of which fresh brings ID, Hash and CreatedAt, and
// lets the old key end at until. When fresh.MadeBy is id, the key asks for it itself; fresh.Scopes, if any, are fewer ones. CodeNotFound; CodeConflict:
// it has a successor already, or was made by a key that still works, so that no key has more than two; CodeScopeMissing: it has not all of those scopes.
func (s *Store) RotateKey(ctx context.Context, tenantKey int64, id string, fresh gateway.APIKey, until time.Time) (successor, old gateway.APIKey, err error) {
	err = s.write(ctx, "rotate key", func(tx *tx) (err error) {
		old, err = scanKey(tx.row(s.d.sql(`SELECT `+keyColumns+` FROM api_keys k
			WHERE id = $1 AND tenant_key = $2 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $3) {lock}`), id, tenantKey, micros(s.now())))
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such key")
		}
		if err != nil {
			return err
		}
		if !old.ExpiresAt.IsZero() {
			return gateway.Errorf(gateway.CodeConflict, "this key has a successor already: rotate that one, or revoke this one")
		}
		if fresh.MadeBy != "" && old.MadeBy != "" {
			var end int64
			err := tx.row(`SELECT expires_at FROM api_keys WHERE id = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2)`, old.MadeBy, micros(s.now())).Scan(&end)
			if err == nil {
				return gateway.Errorf(gateway.CodeConflict, "the key before this one works until %s: then this one can be rotated", fromMicros(end).Format(time.RFC3339))
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		for _, scope := range fresh.Scopes {
			if len(old.Scopes) > 0 && !slices.Contains(old.Scopes, scope) {
				return gateway.Errorf(gateway.CodeScopeMissing, "this key lacks the scope %s, and so must its successor", scope)
			}
		}
		old.ExpiresAt = stored(until)
		successor = fresh
		successor.TenantKey, successor.Name, successor.ExpiresAt = tenantKey, old.Name, time.Time{}
		if len(fresh.Scopes) == 0 {
			successor.Scopes = old.Scopes
		}
		successor.RequestsPerSecond = old.RequestsPerSecond
		if err := s.insertKey(tx, successor); err != nil {
			return err
		}
		_, err = tx.exec(`UPDATE api_keys SET expires_at = $1 WHERE id = $2`, micros(old.ExpiresAt), id)
		return err
	})
	return successor, old, err
}

// Keys lists the live keys of a tenant, oldest first; with tenantKey 0 the admin's.
func (s *Store) Keys(ctx context.Context, tenantKey int64) ([]gateway.APIKey, error) {
	rows, err := s.read(ctx, `SELECT `+keyColumns+` FROM api_keys k
		WHERE COALESCE(tenant_key, 0) = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) ORDER BY created_at, id`, tenantKey, micros(s.now()))
	list, err := all(rows, err, scanKey)
	if err != nil {
		return nil, s.wrap("list keys", err)
	}
	return list, nil
}

// Replaced tells whether a key of the tenant with that hash ended when its time was over, and its successor lives, which has its name.
func (s *Store) Replaced(ctx context.Context, tenantKey int64, hash [32]byte) (bool, error) {
	var over bool
	err := s.readRow(ctx, `SELECT EXISTS (SELECT 1 FROM api_keys k JOIN api_keys s ON s.name = k.name AND COALESCE(s.tenant_key, 0) = $1
			AND s.revoked_at = 0 AND (s.expires_at = 0 OR s.expires_at > $4)
		WHERE COALESCE(k.tenant_key, 0) = $1 AND k.hash_prefix = $2 AND k.hash = $3 AND k.revoked_at = 0 AND k.expires_at > 0 AND k.expires_at <= $4)`, tenantKey, hash[:8], hash[:], micros(s.now())).Scan(&over)
	if err != nil {
		return false, s.wrap("look for a key's successor", err)
	}
	return over, nil
}

// RevokeKey ends a key, and those that it and they have made as their own successors: who stole it has no other. CodeNotFound when the tenant has no
// such key, or all of them have ended.
func (s *Store) RevokeKey(ctx context.Context, tenantKey int64, id string) error {
	return s.write(ctx, "revoke key", func(tx *tx) error {
		for ended := false; ; ended = true { // until none is left: one that was rotated while its row was waited for has a successor that was not seen
			n, err := tx.exec(`WITH RECURSIVE made (id) AS (SELECT id FROM api_keys WHERE id = $2 AND COALESCE(tenant_key, 0) = $3
					UNION SELECT k.id FROM api_keys k JOIN made ON k.made_by = made.id AND k.made_by <> '' WHERE COALESCE(k.tenant_key, 0) = $3)
				UPDATE api_keys SET revoked_at = $1 WHERE revoked_at = 0 AND id IN (SELECT id FROM made)`, micros(s.now()), id, tenantKey)
			switch {
			case err != nil:
				return err
			case n == 0 && !ended:
				return gateway.Errorf(gateway.CodeNotFound, "there is no such key")
			case n == 0:
				return nil
			}
		}
	})
}

// KeysByPrefix finds the live keys whose hash begins with prefix, of every tenant and the admin's. The caller
// compares whole hashes in constant time.
func (s *Store) KeysByPrefix(ctx context.Context, prefix [8]byte) ([]gateway.APIKey, error) {
	rows, err := s.read(ctx, `SELECT `+keyColumns+` FROM api_keys k WHERE hash_prefix = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2)`,
		prefix[:], micros(s.now()))
	list, err := all(rows, err, scanKey)
	if err != nil {
		return nil, s.wrap("find keys", err)
	}
	return list, nil
}
