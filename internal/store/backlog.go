package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// selectBacklog steps from tenant to tenant by the index of unfinished messages and reads no more than $1 entries of each of their lanes, so
// that a backlog of a million is no more work than one of thousands. What is held, backing off or staged does not count as old: it
// waits for a time, or for its bulk.
const selectBacklog = `SELECT s.tenant_key, l.lane,
		(SELECT COUNT(*) FROM (SELECT 1 FROM messages m WHERE m.tenant_key = s.tenant_key AND m.lane = l.lane
			AND m.phase NOT IN ('', 'schedule') LIMIT $1) few),
		(SELECT MIN(` + backlogFirst + ` AND m.phase = 'waiting' ORDER BY m.phase, m.next_attempt_at, m.seq LIMIT 1) first),
		(SELECT MIN(` + backlogFirst + ` AND m.phase = 'offline' ORDER BY m.phase, m.next_attempt_at, m.seq LIMIT 1) first),
		(SELECT MIN(` + backlogFirst + ` AND m.phase = 'working' ORDER BY m.phase, m.next_attempt_at, m.seq LIMIT 1) first)
	FROM sessions s CROSS JOIN (SELECT 'high' AS lane UNION ALL SELECT 'normal' UNION ALL SELECT 'bulk') l
	WHERE EXISTS (SELECT 1 FROM messages m WHERE m.tenant_key = s.tenant_key AND m.phase NOT IN ('', 'schedule'))`

const backlogFirst = `first.since) FROM (SELECT CASE WHEN m.send_at > m.created_at THEN m.send_at ELSE m.created_at END AS since
	FROM messages m WHERE m.tenant_key = s.tenant_key AND m.lane = l.lane AND m.phase NOT IN ('', 'schedule')`

// Backlogs tells what waits in each lane, in the order they are served. Of one tenant's lane no more than limit messages are counted.
func (s *Store) Backlogs(ctx context.Context, limit int) ([]gateway.LaneBacklog, error) {
	byLane := map[gateway.Priority]*gateway.LaneBacklog{}
	rows, err := s.read(ctx, selectBacklog, limit)
	_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
		var tenant int64
		var lane gateway.Priority
		var n int
		var first [3]sql.NullInt64
		if err := row.Scan(&tenant, &lane, &n, &first[0], &first[1], &first[2]); err != nil {
			return none, err
		}
		b := byLane[lane]
		if b == nil {
			b = &gateway.LaneBacklog{Lane: lane}
			byLane[lane] = b
		}
		b.Waiting += n
		for _, f := range first {
			if at := fromMicros(f.Int64); f.Valid && (b.Oldest.IsZero() || at.Before(b.Oldest)) {
				b.Oldest = at
			}
		}
		return none, nil
	})
	if err != nil {
		return nil, s.wrap("count what waits", err)
	}
	list := make([]gateway.LaneBacklog, 0, 3)
	for _, lane := range gateway.Priorities() {
		if b := byLane[lane]; b != nil {
			list = append(list, *b)
		} else {
			list = append(list, gateway.LaneBacklog{Lane: lane})
		}
	}
	return list, nil
}

// WebhookBacklog tells how many deliveries are still to be made, of each endpoint no more than limit, and when the oldest event of these happened; zero: there
// is none. Endpoints that are disabled do not count: nobody delivers to them.
func (s *Store) WebhookBacklog(ctx context.Context, limit int) (waiting int, oldest time.Time, err error) {
	var n, at sql.NullInt64
	err = s.readRow(ctx, `SELECT SUM((SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = w.id LIMIT $1) few)),
			MIN((SELECT e.at FROM webhook_deliveries d JOIN events e ON e.tenant_key = d.tenant_key AND e.pos = d.pos
				WHERE d.endpoint_id = w.id ORDER BY d.pos LIMIT 1))
		FROM webhook_endpoints w WHERE w.status = 'enabled'`, limit).Scan(&n, &at)
	if err != nil {
		return 0, time.Time{}, s.wrap("count deliveries", err)
	}
	return int(n.Int64), fromMicros(at.Int64), nil
}

// Pools are the connection pools by what they are for: "main", and on SQLite, where one connection writes, "writer" and "readers".
func (s *Store) Pools() map[string]*sql.DB {
	if s.writer == s.reader {
		return map[string]*sql.DB{"main": s.writer}
	}
	return map[string]*sql.DB{"writer": s.writer, "readers": s.reader}
}
