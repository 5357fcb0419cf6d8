package store

import (
	"context"

	"github.com/wapro/hub/internal/gateway"
)

// Ahead counts the messages of its tenant that go before m, which waits: those of higher lanes, and the older ones of its own. It
// counts no further than limit. What backs off, is held or belongs to a bulk that is not running is not ahead of anybody.
func (s *Store) Ahead(ctx context.Context, m *gateway.Message, limit int) (int, error) {
	const (
		waiting = `SELECT 1 FROM messages WHERE tenant_key = $1 AND lane = $2 AND status IN ('queued', 'sending')
			AND phase IN ('waiting', 'offline', 'working') AND next_attempt_at = 0 AND seq < $3 LIMIT $4`
		staged = `SELECT 1 FROM messages m JOIN bulks b ON b.tenant_key = m.tenant_key AND b.id = m.bulk_id
			WHERE m.tenant_key = $1 AND m.lane = $2 AND m.status IN ('queued', 'sending') AND m.phase = 'staged' AND m.next_attempt_at = 0
				AND m.seq < $3 AND b.status = 'running' AND b.send_at <= $5 LIMIT $4`
	)
	total := 0
	for _, lane := range gateway.Priorities() {
		before := m.Seq
		if lane != m.Priority {
			before = 1 << 62 // all of it
		}
		for _, count := range []struct {
			query string
			args  []any
		}{{waiting, nil}, {staged, []any{micros(s.now())}}} {
			var n int
			args := append([]any{m.TenantKey, lane, before, limit - total}, count.args...)
			err := s.readRow(ctx, `SELECT COUNT(*) FROM (`+count.query+`) ahead`, args...).Scan(&n)
			if err != nil {
				return 0, s.wrap("count what is ahead", err)
			}
			if total += n; total >= limit {
				return limit, nil
			}
		}
		if lane == m.Priority {
			break
		}
	}
	return total, nil
}
