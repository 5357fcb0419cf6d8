package store

import (
	"context"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// NextRecipients lists to whom, groups excepted, the next messages go that wait for their first attempt, in the order in which those will
// be claimed and each once; of at most limit messages of each lane.
func (s *Store) NextRecipients(ctx context.Context, tenantKey int64, limit int) ([]string, error) {
	next, met := []string{}, map[string]bool{}
	for _, lane := range []gateway.Priority{gateway.PriorityHigh, gateway.PriorityNormal, gateway.PriorityBulk} {
		rows, err := s.read(ctx, `SELECT recipient FROM messages WHERE tenant_key = $1 AND lane = $2 AND status IN ('queued', 'sending')
			AND phase = 'waiting' AND next_attempt_at = 0 ORDER BY seq LIMIT $3`, tenantKey, lane, limit)
		recipients, err := all(rows, err, func(row scanner) (to string, err error) { return to, row.Scan(&to) })
		if err != nil {
			return nil, s.wrap("list the next recipients", err)
		}
		for _, to := range recipients {
			if !met[to] && !strings.HasSuffix(to, "@g.us") {
				met[to] = true
				next = append(next, to)
			}
		}
		if len(next) >= limit {
			return next[:limit], nil
		}
	}
	return next, nil
}
