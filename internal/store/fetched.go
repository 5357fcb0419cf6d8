package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/wapro/hub/internal/gateway"
)

// KeepFetched stores under the lease f the file that m was given when its URL was fetched, for its bulk too if it is of one.
// CodeMediaLost: the file is not stored any more; CodeNotFound: the message is gone; gateway.ErrFenced.
func (s *Store) KeepFetched(ctx context.Context, f gateway.Fence, m *gateway.Message) error {
	return s.write(ctx, "keep a fetched file", func(t *tx) error {
		if err := t.checkFence(f); err != nil {
			return err
		}
		if err := t.useBlobs([]*gateway.Message{m}); err != nil {
			return err
		}
		n, err := t.exec(`UPDATE messages SET type = $1, media_mimetype = $2, media_filename = $3, media_size = $4, media_sha256 = $5,
			media_voice = $6, media_seconds = $7 WHERE id = $8 AND tenant_key = $9`,
			m.Type, m.Media.MimeType, m.Media.Filename, m.Media.Size, m.Media.SHA256, m.Media.Voice, m.Media.Seconds, m.ID, f.TenantKey)
		if err != nil {
			return err
		}
		if n == 0 {
			return noMessage()
		}
		if m.BulkID == "" {
			return nil
		}
		_, err = t.exec(`INSERT INTO bulk_media (bulk_id, mimetype, filename, size, sha256, voice, seconds) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (bulk_id) DO UPDATE SET mimetype = excluded.mimetype, filename = excluded.filename, size = excluded.size,
				sha256 = excluded.sha256, voice = excluded.voice, seconds = excluded.seconds`,
			m.BulkID, m.Media.MimeType, m.Media.Filename, m.Media.Size, m.Media.SHA256, m.Media.Voice, m.Media.Seconds)
		return err
	})
}

// FetchedFor is the file that a message of the bulk was given before; nil: none was.
func (s *Store) FetchedFor(ctx context.Context, bulkID string) (*gateway.Media, error) {
	var m gateway.Media
	err := s.readRow(ctx, `SELECT mimetype, filename, size, sha256, voice, seconds FROM bulk_media WHERE bulk_id = $1`, bulkID).
		Scan(&m.MimeType, &m.Filename, &m.Size, &m.SHA256, &m.Voice, &m.Seconds)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, s.wrap("read the file of a bulk", err)
	}
	return &m, nil
}
