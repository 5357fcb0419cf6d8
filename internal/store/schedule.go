package store

import (
	"context"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Release lets apply change scheduled messages whose SendAt has come at now, with their history, at most limit of them, the longest
// due first, in one transaction. It passes over those that another transaction holds, and returns tickets for those that left
// their schedule. apply must be quick and must not use the database.
func (s *Store) Release(ctx context.Context, now time.Time, limit int, apply func(*gateway.Message) []gateway.Event) ([]gateway.Ticket, error) {
	// Most of the time nothing is due, and a look costs less than a transaction.
	var due int
	if err := s.readRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM messages
		WHERE phase = 'schedule' AND send_at <= $1 LIMIT 1) due`, micros(now)).Scan(&due); err != nil {
		return nil, s.wrap("look for due messages", err)
	}
	if due == 0 {
		return nil, nil
	}
	var tickets []gateway.Ticket
	err := s.write(ctx, "release scheduled messages", func(t *tx) error {
		tickets = nil
		rows, err := t.query(t.s.d.sql(selectMessage+`WHERE phase = 'schedule' AND send_at <= $1
			ORDER BY send_at, seq LIMIT $2 {skip}`), micros(now), limit)
		list, err := all(rows, err, scanMessage)
		if err != nil {
			return err
		}
		for i := range list {
			m := &list[i]
			if err := t.change(m, func(m *gateway.Message) ([]gateway.Event, error) { return apply(m), nil }); err != nil {
				return err
			}
			if m.Status != gateway.StatusScheduled {
				tickets = append(tickets, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tickets, nil
}
