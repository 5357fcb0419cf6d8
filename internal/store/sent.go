package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// KeepSentIn stores what a message goes out as, so that a phone can be given the very same again; what an attempt before
// went out as is replaced. It is on disk when tx, a transaction on Writer, has committed. Who may write for the tenant is the
// caller's to check (CheckFenceIn).
func (s *Store) KeepSentIn(ctx context.Context, tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, tenantKey int64, stanzaID string, content []byte,
) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO sent_contents (tenant_key, stanza_id, content, kept_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_key, stanza_id) DO UPDATE SET content = excluded.content, kept_at = excluded.kept_at`,
		tenantKey, stanzaID, content, micros(s.now()))
	if err != nil {
		return s.wrap("keep what is sent", err)
	}
	return nil
}

// SentContent reads what KeepSentIn stored; nil when there is nothing, or no longer.
func (s *Store) SentContent(ctx context.Context, tenantKey int64, stanzaID string) ([]byte, error) {
	var content []byte
	err := s.readRow(ctx, `SELECT content FROM sent_contents WHERE tenant_key = $1 AND stanza_id = $2`, tenantKey, stanzaID).Scan(&content)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, s.wrap("read what was sent", err)
	}
	return content, nil
}

// ForgetSent deletes up to limit of the contents that were kept before that time, oldest first, and tells how many.
func (s *Store) ForgetSent(ctx context.Context, before time.Time, limit int) (int, error) {
	// A read first: there is seldom something to delete, and a write costs a flush of the disk.
	var waiting int
	err := s.readRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM sent_contents WHERE kept_at < $1 LIMIT 1) over`, micros(before)).Scan(&waiting)
	if err != nil {
		return 0, s.wrap("look for old contents", err)
	}
	if waiting == 0 {
		return 0, nil
	}
	var deleted int64
	err = s.write(ctx, "delete old contents", func(t *tx) (err error) {
		deleted, err = t.exec(s.d.sql(`DELETE FROM sent_contents WHERE (tenant_key, stanza_id) IN (
			SELECT tenant_key, stanza_id FROM sent_contents WHERE kept_at < $1 ORDER BY kept_at LIMIT $2 {skip})`), micros(before), limit)
		return err
	})
	return int(deleted), err
}
