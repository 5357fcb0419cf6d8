package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/wapro/hub/internal/gateway"
)

// OpenWebSession stores a new web session. Those that are over are removed, and beyond gateway.MaxWebSessions of its key the
// ones that would expire first. CodeNotFound: there is no such live key.
func (s *Store) OpenWebSession(ctx context.Context, w gateway.WebSession) error {
	return s.write(ctx, "open a web session", func(t *tx) error {
		var one int
		err := t.row(s.d.sql(`SELECT 1 FROM api_keys WHERE id = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) {lock}`), w.KeyID, micros(s.now())).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such key")
		}
		if err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM web_sessions WHERE expires_at <= $1`, micros(s.now())); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM web_sessions WHERE token_hash IN (
			SELECT token_hash FROM web_sessions WHERE key_id = $1 ORDER BY expires_at DESC LIMIT $2 OFFSET $3)`,
			w.KeyID, gateway.MaxWebSessions, gateway.MaxWebSessions-1); err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO web_sessions (token_hash, key_id, opened_at, expires_at) VALUES ($1, $2, $3, $4)`,
			w.TokenHash[:], w.KeyID, micros(w.OpenedAt), micros(w.ExpiresAt))
		return err
	})
}

// WebSession finds a web session that is not over, its key, and the id of the key's tenant, which the admin's has none. CodeNotFound.
func (s *Store) WebSession(ctx context.Context, tokenHash [32]byte) (w gateway.WebSession, k gateway.APIKey, tenantID string, err error) {
	var opened, expires int64
	row := s.readRow(ctx, `SELECT w.opened_at, w.expires_at, COALESCE(t.id, ''), `+keyColumns+`
		FROM web_sessions w JOIN api_keys k ON k.id = w.key_id LEFT JOIN tenants t ON t.tenant_key = k.tenant_key AND t.deleted_at = 0
		WHERE w.token_hash = $1 AND w.expires_at > $2 AND k.revoked_at = 0 AND (k.expires_at = 0 OR k.expires_at > $2) AND (k.tenant_key IS NULL OR t.id IS NOT NULL)`,
		tokenHash[:], micros(s.now()))
	// The whole key, as a request with the key itself reads it: what limits the one limits the other.
	k, err = scanKey(behind{row, []any{&opened, &expires, &tenantID}})
	if errors.Is(err, sql.ErrNoRows) {
		return w, k, "", gateway.Errorf(gateway.CodeNotFound, "there is no such session")
	}
	if err != nil {
		return w, k, "", s.wrap("read a web session", err)
	}
	return gateway.WebSession{TokenHash: tokenHash, KeyID: k.ID, OpenedAt: fromMicros(opened), ExpiresAt: fromMicros(expires)}, k, tenantID, nil
}

// RenewWebSession stores a later end of a web session; one that is gone stays gone.
func (s *Store) RenewWebSession(ctx context.Context, w gateway.WebSession) error {
	return s.write(ctx, "renew a web session", func(t *tx) error {
		_, err := t.exec(`UPDATE web_sessions SET expires_at = $1 WHERE token_hash = $2`, micros(w.ExpiresAt), w.TokenHash[:])
		return err
	})
}

// CloseWebSession removes a web session; it is none of its business whether there was one.
func (s *Store) CloseWebSession(ctx context.Context, tokenHash [32]byte) error {
	return s.write(ctx, "close a web session", func(t *tx) error {
		_, err := t.exec(`DELETE FROM web_sessions WHERE token_hash = $1`, tokenHash[:])
		return err
	})
}
