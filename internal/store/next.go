package store

import (
	"context"
	"strings"
)

// NextRecipients lists to whom, groups excepted, the next messages go that wait for their first attempt, in the order in which those will
// be claimed and each once; of at most limit messages of each lane. messages is how many of those go to them.
func (s *Store) NextRecipients(ctx context.Context, tenantKey int64, limit int) (next []string, messages int, err error) {
	rows, err := s.read(ctx, selectNext, tenantKey, limit)
	recipients, err := all(rows, err, func(row scanner) (to string, err error) { return to, row.Scan(&to) })
	if err != nil {
		return nil, 0, s.wrap("list the next recipients", err)
	}
	next = []string{}
	met := map[string]bool{}
	for _, to := range recipients {
		if len(next) < limit && !met[to] && !strings.HasSuffix(to, "@g.us") {
			met[to] = true
			next = append(next, to)
		}
		if met[to] {
			messages++
		}
	}
	return next, messages, nil
}

// By lane, for the index to be read no further than it has to.
const (
	selectNext = `SELECT recipient FROM (
		SELECT * FROM (SELECT 1 AS place, ` + nextOfLane + ` AND lane = 'high' ORDER BY seq LIMIT $2) high
		UNION ALL SELECT * FROM (SELECT 2 AS place, ` + nextOfLane + ` AND lane = 'normal' ORDER BY seq LIMIT $2) normal
		UNION ALL SELECT * FROM (SELECT 3 AS place, ` + nextOfLane + ` AND lane = 'bulk' ORDER BY seq LIMIT $2) bulk) next ORDER BY place, seq`
	nextOfLane = `seq, recipient FROM messages WHERE tenant_key = $1 AND phase NOT IN ('', 'schedule') AND phase = 'waiting' AND next_attempt_at = 0`
)
