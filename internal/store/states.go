package store

import (
	"context"

	"github.com/wapro/hub/internal/gateway"
)

// SessionStates counts the sessions of all tenants by their state.
func (s *Store) SessionStates(ctx context.Context) (map[gateway.SessionState]int, error) {
	type count struct {
		state gateway.SessionState
		n     int
	}
	rows, err := s.read(ctx, `SELECT state, COUNT(*) FROM sessions GROUP BY state`)
	counts, err := all(rows, err, func(row scanner) (c count, err error) { return c, row.Scan(&c.state, &c.n) })
	if err != nil {
		return nil, s.wrap("count sessions", err)
	}
	states := make(map[gateway.SessionState]int, len(counts))
	for _, c := range counts {
		states[c.state] = c.n
	}
	return states, nil
}
