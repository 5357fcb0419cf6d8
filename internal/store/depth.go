package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/wapro/hub/internal/gateway"
)

// depthLimit bounds what is counted of a lane, and of bulks: entries of an index, of which a million take a second.
const depthLimit = 100_000

// selectDepth counts $2 entries of each lane of tenant $1 at most. Of what waits the oldest comes first in the index, whatever their number. The messages
// of a bulk that have no place in the lane are counted bulk by bulk: so those of a bulk that is not accepted yet are left out, and indexes are all that is
// read.
const selectDepth = `SELECT l.lane,
		(SELECT COUNT(*) FROM (SELECT m.seq` + ofLane + ` AND m.phase > 'staged'` + byIndex + ` LIMIT $2) waiting_or_working),
		(SELECT COUNT(*) FROM (SELECT m.seq` + ofLane + ` AND m.phase < 'staged'` + byIndex + ` LIMIT $2) backoff_held_or_offline),
		(SELECT COUNT(*) FROM (SELECT m.seq` + ofBulks + ` LIMIT $2) staged),
		(SELECT m.seq` + ofLane + ` AND m.phase = 'waiting'` + byIndex + ` LIMIT 1),
		(SELECT m.seq` + ofLane + ` AND m.phase = 'working'` + byIndex + ` LIMIT 1),
		(SELECT MIN(few.seq) FROM (SELECT m.seq` + ofLane + ` AND m.phase < 'staged'` + byIndex + ` LIMIT $2) few),
		(SELECT MIN(few.seq) FROM (SELECT m.seq` + ofBulks + ` LIMIT $2) few)
	FROM (SELECT 'high' AS lane UNION ALL SELECT 'normal' UNION ALL SELECT 'bulk') l`

const (
	ofLane  = ` FROM messages m WHERE m.tenant_key = $1 AND m.lane = l.lane AND m.phase NOT IN ('', 'schedule')`
	byIndex = ` ORDER BY m.phase, m.next_attempt_at, m.seq` // of the index, or Postgres reads the table when most of it is one lane
	ofBulks = ` FROM bulks b JOIN messages m ON m.tenant_key = b.tenant_key AND m.bulk_id = b.id
		WHERE b.tenant_key = $1 AND b.lane = l.lane AND b.finished_at = 0 AND b.status IN ('running', 'paused', 'canceled')
			AND m.bulk_id <> '' AND m.status = 'queued' AND m.phase = 'staged'`
)

// Depth counts the unfinished messages of a tenant per lane, those in hand included: 100,000 of each lane at most, and as many that wait for
// their bulk to be given a place.
func (s *Store) Depth(ctx context.Context, tenantKey int64) (gateway.QueueDepth, error) {
	return s.depth(ctx, tenantKey, depthLimit)
}

func (s *Store) depth(ctx context.Context, tenantKey int64, limit int) (depth gateway.QueueDepth, err error) {
	oldest := int64(0)
	rows, err := s.read(ctx, selectDepth, tenantKey, limit)
	_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
		var lane gateway.Priority
		var n, late, staged int
		var first [4]sql.NullInt64
		if err := row.Scan(&lane, &n, &late, &staged, &first[0], &first[1], &first[2], &first[3]); err != nil {
			return none, err
		}
		n = min(n+late, limit) + staged
		switch lane {
		case gateway.PriorityHigh:
			depth.High = n
		case gateway.PriorityNormal:
			depth.Normal = n
		case gateway.PriorityBulk:
			depth.Bulk = n
		}
		for _, seq := range first {
			if seq.Valid && (oldest == 0 || seq.Int64 < oldest) {
				oldest = seq.Int64
			}
		}
		return none, nil
	})
	if err == nil && oldest > 0 {
		var created int64
		err = s.readRow(ctx, `SELECT created_at FROM messages WHERE tenant_key = $1 AND seq = $2`, tenantKey, oldest).Scan(&created)
		depth.OldestSince = fromMicros(created)
		if errors.Is(err, sql.ErrNoRows) { // it has been removed in between
			depth.OldestSince, err = s.now(), nil
		}
	}
	if err != nil {
		return gateway.QueueDepth{}, s.wrap("count waiting messages", err)
	}
	return depth, nil
}
