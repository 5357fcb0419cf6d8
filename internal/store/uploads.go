package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// KeepUpload remembers that a tenant's file was uploaded now, in place of an earlier upload of the same.
func (s *Store) KeepUpload(ctx context.Context, tenantKey int64, u gateway.Upload) error {
	return s.write(ctx, "keep an upload", func(t *tx) error {
		_, err := t.exec(`INSERT INTO uploads (tenant_key, sha256, kind, url, direct_path, media_key, enc_sha256, size, uploaded_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (tenant_key, sha256, kind) DO UPDATE SET url = excluded.url, direct_path = excluded.direct_path,
				media_key = excluded.media_key, enc_sha256 = excluded.enc_sha256, size = excluded.size, uploaded_at = excluded.uploaded_at`,
			tenantKey, u.SHA256, u.Kind, u.URL, u.DirectPath, u.MediaKey, u.EncSHA256, u.Size, micros(s.now()))
		return err
	})
}

// Upload is what KeepUpload remembered of a tenant's file; nil when there is nothing, or only what is older than maxAge.
func (s *Store) Upload(ctx context.Context, tenantKey int64, sha256, kind string, maxAge time.Duration) (*gateway.Upload, error) {
	u := gateway.Upload{SHA256: sha256, Kind: kind}
	err := s.readRow(ctx, `SELECT url, direct_path, media_key, enc_sha256, size FROM uploads
		WHERE tenant_key = $1 AND sha256 = $2 AND kind = $3 AND uploaded_at >= $4`,
		tenantKey, sha256, kind, micros(s.now().Add(-maxAge))).Scan(&u.URL, &u.DirectPath, &u.MediaKey, &u.EncSHA256, &u.Size)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, s.wrap("look for an upload", err)
	}
	return &u, nil
}

// ForgetUploads deletes up to limit uploads that were made before that time, oldest first, and tells how many.
func (s *Store) ForgetUploads(ctx context.Context, before time.Time, limit int) (int, error) {
	// A read first: there is seldom something to delete, and a write costs a flush of the disk.
	var over int
	err := s.readRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM uploads WHERE uploaded_at < $1 LIMIT 1) over`, micros(before)).Scan(&over)
	if err != nil {
		return 0, s.wrap("look for old uploads", err)
	}
	if over == 0 {
		return 0, nil
	}
	var deleted int64
	err = s.write(ctx, "delete old uploads", func(t *tx) (err error) {
		// Nobody waits for these rows, so an order of locks is not needed.
		deleted, err = t.exec(s.d.sql(`DELETE FROM uploads WHERE (tenant_key, sha256, kind) IN (
			SELECT tenant_key, sha256, kind FROM uploads WHERE uploaded_at < $1 ORDER BY uploaded_at LIMIT $2 {skip})`), micros(before), limit)
		return err
	})
	return int(deleted), err
}
