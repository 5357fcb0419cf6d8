package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

// judgedDepth is how many messages before the next one that have ended are looked at for results.
const judgedDepth = 1000

// ReleaseBulk gives the next messages of a running bulk their places in the lane, the oldest first: at most limit, and only
// as many as leave no more than window messages waiting before the next one. It returns their tickets, and whether the bulk
// has more to come. The lane is the bulk's own.
func (s *Store) ReleaseBulk(ctx context.Context, tenantKey int64, id string, limit, window int) (tickets []gateway.Ticket, more bool, err error) {
	err = s.write(ctx, "release messages of a bulk", func(t *tx) error {
		tickets, more = nil, false
		b, err := t.lookBulk(tenantKey, id)
		if err != nil || b.Status != gateway.BulkRunning {
			return err
		}
		next, err := t.frontier(&b)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		var ahead int
		err = t.row(`SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE tenant_key = $1 AND lane = $2 AND phase NOT IN ('', 'schedule')
			AND phase = 'waiting' AND next_attempt_at = 0 AND seq < $3 LIMIT $4) ahead`, tenantKey, b.Lane, next, window).Scan(&ahead)
		if err != nil {
			return err
		}
		room := min(limit, window-ahead)
		if room <= 0 {
			return nil
		}
		if tickets, err = t.release(&b, room); err != nil {
			return err
		}
		if b.StartedAt.IsZero() {
			if _, err := t.exec(`UPDATE bulks SET started_at = $1 WHERE id = $2`, micros(s.now()), id); err != nil {
				return err
			}
		}
		_, err = t.frontier(&b)
		more = err == nil
		return noRows(err)
	})
	if err != nil {
		return nil, false, err
	}
	return tickets, more, nil
}

func (t *tx) release(b *gateway.Bulk, n int) ([]gateway.Ticket, error) {
	type place struct {
		id  string
		seq int64
	}
	rows, err := t.query(`UPDATE messages SET phase = 'waiting' WHERE id IN (
			SELECT id FROM messages WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND status = 'queued' AND phase = 'staged'
			ORDER BY seq LIMIT $3)
		AND status = 'queued' AND phase = 'staged' RETURNING id, seq`, b.TenantKey, b.ID, n)
	places, err := all(rows, err, func(row scanner) (p place, err error) { return p, row.Scan(&p.id, &p.seq) })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.seq, b.seq) })
	tickets := make([]gateway.Ticket, len(places))
	for i, p := range places {
		tickets[i] = gateway.Ticket{TenantKey: b.TenantKey, MessageID: p.id, Lane: b.Lane}
	}
	return tickets, nil
}

// BulkResults lists the newest results of a bulk, limit at most, without those of messages that somebody wanted to fail. With unjudged only those
// that came since the bulk was resumed.
func (s *Store) BulkResults(ctx context.Context, b gateway.Bulk, unjudged bool, limit int) ([]gateway.BulkResult, error) {
	next := b.FirstSeq + int64(b.Rows)
	err := noRows(s.readRow(ctx, selectFrontier, b.TenantKey, b.ID).Scan(&next))
	if err != nil {
		return nil, s.wrap("find the next message of a bulk", err)
	}
	from, since := b.FirstSeq, int64(0)
	if unjudged {
		from, since = b.JudgeFrom, micros(b.JudgeSince)
	}
	rows, err := s.read(ctx, selectResults, b.TenantKey, b.ID, next, judgedDepth, from, since, limit)
	list, err := all(rows, err, func(row scanner) (r gateway.BulkResult, err error) {
		var ended int64
		err = row.Scan(&r.Status, &ended)
		r.At = fromMicros(ended)
		return r, err
	})
	if err != nil {
		return nil, s.wrap("list results of a bulk", err)
	}
	return list, nil
}

// What has ended has no phase; what is held or waits behind the next message would fill the depth. The inner limit keeps it to an index in
// the order of Seq: to sort by time would read the whole bulk. What was sent tells when by WhatsApp's clock, so until a receipt has changed the row ours is
// asked. What had no place in the lane when the bulk was resumed has ended since then, whatever the clocks say.
const selectResults = `SELECT status, CASE WHEN sent_at <> 0 THEN sent_at WHEN failed_at <> 0 THEN failed_at ELSE updated_at END AS ended_at FROM (
		SELECT status, error_code, sent_at, delivered_at, failed_at, updated_at, seq FROM messages
		WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND phase = '' AND seq < $3 ORDER BY seq DESC LIMIT $4) newest
	WHERE status IN ('sent', 'delivered', 'read', 'failed', 'unknown') AND error_code NOT IN ('opted_out', 'canceled_by_operator')
		AND (seq >= $5 OR CASE WHEN delivered_at = 0 THEN updated_at ELSE sent_at END > CAST($6 AS BIGINT) AND CAST($6 AS BIGINT) > 0)
	ORDER BY ended_at DESC, seq DESC LIMIT $7`

// Held counts the messages of a bulk that are held or back off, whether or not their time has come: up to limit.
func (s *Store) Held(ctx context.Context, tenantKey int64, id string, limit int) (int, error) {
	var n int
	if err := s.readRow(ctx, countHeld, tenantKey, id, limit).Scan(&n); err != nil {
		return 0, s.wrap("count held messages of a bulk", err)
	}
	return n, nil
}

const countHeld = `SELECT COUNT(*) FROM (SELECT 1 FROM messages
	WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND status = 'sending' AND phase IN ('backoff', 'held') LIMIT $3) held`

// SettleBulk marks a bulk as finished, or as canceled for good, when none of its messages has anything left to do, and
// reports whether it did.
func (s *Store) SettleBulk(ctx context.Context, tenantKey int64, id string) (settled bool, err error) {
	const unfinished = `SELECT 1 FROM messages WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> ''
		AND status IN ('scheduled', 'queued', 'sending') AND phase > '' LIMIT 1`
	var one int
	if err := s.readRow(ctx, unfinished, tenantKey, id).Scan(&one); !errors.Is(err, sql.ErrNoRows) {
		if err != nil {
			return false, s.wrap("look for unfinished messages of a bulk", err)
		}
		return false, nil
	}
	err = s.write(ctx, "settle bulk", func(t *tx) error { // no message of it becomes unfinished again
		b, err := t.lookBulk(tenantKey, id)
		if err != nil || !b.FinishedAt.IsZero() {
			return err
		}
		if b.Status != gateway.BulkCanceled {
			b.Status = gateway.BulkFinished
		}
		_, err = t.exec(`UPDATE bulks SET status = $1, reason = '', finished_at = $2 WHERE id = $3`, b.Status, micros(s.now()), id)
		settled = err == nil
		return err
	})
	return settled && err == nil, err
}
