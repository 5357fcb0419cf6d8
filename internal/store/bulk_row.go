package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/wapro/hub/internal/gateway"
)

// bulkShown leaves out the bulks that are there for nobody.
const (
	bulkColumns = `id, tenant_key, name, status, reason, lane, retry_of, first_seq, row_count, total, invalid, max_failure_rate,
		judge_from, judge_since, send_at, created_at, started_at, finished_at`
	selectBulk = `SELECT (SELECT t.id FROM tenants t WHERE t.tenant_key = bulks.tenant_key), ` + bulkColumns + ` FROM bulks `
	bulkShown  = `status NOT IN ('staging', 'discarding')`

	// hiddenBulks are those of tenant $1 whose messages are there for nobody.
	hiddenBulks = `(SELECT b.id FROM bulks b WHERE b.tenant_key = $1 AND b.finished_at = 0 AND b.status IN ('staging', 'discarding'))`
)

func scanBulk(row scanner) (b gateway.Bulk, err error) {
	var judged, sendAt, created, started, finished int64
	err = row.Scan(&b.TenantID, &b.ID, &b.TenantKey, &b.Name, &b.Status, &b.Reason, &b.Lane, &b.RetryOf, &b.FirstSeq, &b.Rows,
		&b.Total, &b.Invalid, &b.MaxFailureRate, &b.JudgeFrom, &judged, &sendAt, &created, &started, &finished)
	b.JudgeSince = fromMicros(judged)
	b.SendAt, b.CreatedAt, b.StartedAt, b.FinishedAt = fromMicros(sendAt), fromMicros(created), fromMicros(started), fromMicros(finished)
	return b, err
}

func noBulk() error { return gateway.Errorf(gateway.CodeNotFound, "there is no such bulk") }

// Bulk reads one bulk of a tenant. CodeNotFound, also when it is another tenant's or not accepted yet.
func (s *Store) Bulk(ctx context.Context, tenantKey int64, id string) (gateway.Bulk, error) {
	b, err := scanBulk(s.readRow(ctx, selectBulk+`WHERE id = $1 AND tenant_key = $2 AND `+bulkShown, id, tenantKey))
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.Bulk{}, noBulk()
	}
	if err != nil {
		return gateway.Bulk{}, s.wrap("read bulk", err)
	}
	return b, nil
}

// Bulks lists bulks of a tenant, newest first: at most limit, and with before only those older than that id.
func (s *Store) Bulks(ctx context.Context, tenantKey int64, before string, limit int) ([]gateway.Bulk, error) {
	rows, err := s.read(ctx, selectBulk+`WHERE tenant_key = $1 AND ($2 = '' OR id < $3) AND `+bulkShown+` ORDER BY bulks.id DESC LIMIT $4`,
		tenantKey, before, before, limit)
	list, err := all(rows, err, scanBulk)
	if err != nil {
		return nil, s.wrap("list bulks", err)
	}
	return list, nil
}

// OpenBulks lists the accepted bulks of a tenant that are not finished, oldest first.
func (s *Store) OpenBulks(ctx context.Context, tenantKey int64) ([]gateway.Bulk, error) {
	rows, err := s.read(ctx, selectBulk+`WHERE tenant_key = $1 AND finished_at = 0 AND status IN ('running', 'paused', 'canceled') ORDER BY first_seq`,
		tenantKey)
	list, err := all(rows, err, scanBulk)
	if err != nil {
		return nil, s.wrap("list open bulks", err)
	}
	return list, nil
}

// UpdateBulk lets apply change the status and the reason of a bulk and returns what is stored. When the bulk runs no longer,
// the messages that have a place in the lane lose it in the same transaction; when it runs again, only results that come from
// now on are judged. Whatever it does now, the owner of the session is told to judge anew what is held: places under a cap become free, or
// are wanted again. CodeNotFound, and the error of apply, which undoes everything.
func (s *Store) UpdateBulk(ctx context.Context, tenantKey int64, id string, apply func(*gateway.Bulk) error) (gateway.Bulk, error) {
	var b gateway.Bulk
	err := s.write(ctx, "update bulk", func(t *tx) (err error) {
		if b, err = t.lookBulk(tenantKey, id); err != nil {
			return err
		}
		before := b.Status
		if err := apply(&b); err != nil || b.Status == before {
			return err
		}
		switch {
		case before == gateway.BulkRunning:
			_, err = t.exec(`UPDATE messages SET phase = 'staged'
				WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND status = 'queued' AND phase = 'waiting'`, tenantKey, id)
		case b.Status == gateway.BulkRunning:
			if b.JudgeFrom, err = t.frontier(&b); errors.Is(err, sql.ErrNoRows) {
				b.JudgeFrom, err = b.FirstSeq+int64(b.Rows), nil
			}
			b.JudgeSince = stored(s.now())
		}
		if err != nil {
			return err
		}
		if _, err = t.exec(`UPDATE bulks SET status = $1, reason = $2, judge_from = $3, judge_since = $4 WHERE id = $5`,
			b.Status, b.Reason, b.JudgeFrom, micros(b.JudgeSince), id); err != nil {
			return err
		}
		_, err = t.exec(s.d.sql(`INSERT INTO commands (tenant_key, kind, phone, created_at)
			SELECT tenant_key, $1, '', CAST($2 AS BIGINT) FROM sessions WHERE tenant_key = $3 {share}`), gateway.CommandPacing, micros(s.now()), tenantKey)
		return err
	})
	if err != nil {
		return gateway.Bulk{}, err
	}
	return b, nil
}

// lookBulk reads and locks an accepted bulk. Bulks are locked after tenants and before messages.
func (t *tx) lookBulk(tenantKey int64, id string) (gateway.Bulk, error) {
	b, err := scanBulk(t.row(t.s.d.sql(selectBulk+`WHERE id = $1 AND tenant_key = $2 AND `+bulkShown+` {lock}`), id, tenantKey))
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.Bulk{}, noBulk()
	}
	return b, err
}

// selectFrontier finds the oldest message of a bulk that has no place in the lane yet.
const selectFrontier = `SELECT seq FROM messages
	WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND status = 'queued' AND phase = 'staged' ORDER BY seq LIMIT 1`

// frontier is the Seq of the next message of b; sql.ErrNoRows when there is none.
func (t *tx) frontier(b *gateway.Bulk) (seq int64, err error) {
	err = t.row(selectFrontier, b.TenantKey, b.ID).Scan(&seq)
	return seq, err
}
