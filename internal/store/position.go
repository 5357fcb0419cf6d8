package store

import (
	"context"

	"github.com/wapro/hub/internal/gateway"
)

// Ahead counts the messages of its tenant that go before m, which waits: those of higher lanes, and the older ones of its own. It
// counts no further than limit. What backs off, is held or belongs to a bulk that is not running is not ahead of anybody.
func (s *Store) Ahead(ctx context.Context, m *gateway.Message, limit int) (int, error) {
	running, err := s.runningBulks(ctx, m.TenantKey)
	if err != nil {
		return 0, err
	}
	total := 0
	count := func(query string, args ...any) error {
		if total >= limit {
			return nil
		}
		var n int
		err := s.readRow(ctx, `SELECT COUNT(*) FROM (`+query+`) ahead`, append(args, limit-total)...).Scan(&n)
		total += n
		return err
	}
	for _, lane := range gateway.Priorities() {
		before := m.Seq
		if lane != m.Priority {
			before = 1 << 62 // all of it
		}
		err := count(aheadInLane, m.TenantKey, lane, before)
		for _, id := range running[lane] {
			if err == nil {
				err = count(aheadInBulk, m.TenantKey, id, before)
			}
		}
		if err != nil {
			return 0, s.wrap("count what is ahead", err)
		}
		if lane == m.Priority {
			break
		}
	}
	return total, nil
}

// None reads more than it counts: what has no place in its lane is counted by bulk, for those of a paused one would be met in vain.
const (
	aheadInLane = `SELECT * FROM (` + waitsAhead + ` AND phase = 'working' ORDER BY seq LIMIT $4) a
		UNION ALL SELECT * FROM (` + waitsAhead + ` AND phase = 'offline' ORDER BY seq LIMIT $4) b
		UNION ALL SELECT * FROM (` + waitsAhead + ` AND phase = 'waiting' ORDER BY seq LIMIT $4) c LIMIT $4`
	waitsAhead  = `SELECT seq FROM messages WHERE tenant_key = $1 AND lane = $2 AND phase NOT IN ('', 'schedule') AND next_attempt_at = 0 AND seq < $3`
	aheadInBulk = `SELECT 1 FROM messages WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND status = 'queued' AND phase = 'staged'
		AND seq < $3 LIMIT $4`
)

// runningBulks lists the bulks of a tenant whose messages are on their way into the lanes, by lane.
func (s *Store) runningBulks(ctx context.Context, tenantKey int64) (map[gateway.Priority][]string, error) {
	running := map[gateway.Priority][]string{}
	rows, err := s.read(ctx, `SELECT id, lane FROM bulks WHERE tenant_key = $1 AND finished_at = 0 AND status = 'running' AND send_at <= $2
		ORDER BY first_seq`, tenantKey, micros(s.now()))
	_, err = all(rows, err, func(row scanner) (id string, err error) {
		var lane gateway.Priority
		err = row.Scan(&id, &lane)
		running[lane] = append(running[lane], id)
		return id, err
	})
	if err != nil {
		return nil, s.wrap("list running bulks", err)
	}
	return running, nil
}
