package store

import (
	"context"
	"database/sql"

	"github.com/wapro/hub/internal/gateway"
)

// A history begins with the acceptance. That follows from the message, and is not stored: a row for each accepted message, its
// entry in the index and the check of what it refers to took a third of the database's time of an accept. Versions before
// this one stored it, as number 1; a process of theirs that works beside one of this gives that number to what came next.

// firstStatus is how the history of m begins. The messages of a bulk that waits for its time are queued.
func firstStatus(m *gateway.Message) gateway.Status {
	if m.BulkID == "" && m.SendAt.After(m.CreatedAt) {
		return gateway.StatusScheduled
	}
	return gateway.StatusQueued
}

// Events reads the history of a message, oldest first. CodeNotFound, also when it is another tenant's.
func (s *Store) Events(ctx context.Context, tenantKey int64, id string) ([]gateway.Event, error) {
	type entry struct {
		gateway.Event
		n int
	}
	var m gateway.Message
	var created, sendAt int64
	rows, err := s.read(ctx, `SELECT m.created_at, m.send_at, m.bulk_id, e.n, e.status, e.at, e.detail
		FROM messages m LEFT JOIN message_events e ON e.message_id = m.id
		WHERE m.id = $1 AND m.tenant_key = $2 ORDER BY e.n`, id, tenantKey)
	list, err := all(rows, err, func(row scanner) (e entry, err error) {
		var n, at sql.NullInt64
		var status, detail sql.NullString
		err = row.Scan(&created, &sendAt, &m.BulkID, &n, &status, &at, &detail)
		e.n, e.Event = int(n.Int64), gateway.Event{
			MessageID: id, TenantKey: tenantKey, Status: gateway.Status(status.String), At: fromMicros(at.Int64), Detail: detail.String,
		}
		return e, err
	})
	switch {
	case err != nil:
		return nil, s.wrap("read history", err)
	case len(list) == 0:
		return nil, noMessage()
	}
	m.CreatedAt, m.SendAt = fromMicros(created), fromMicros(sendAt)
	history := make([]gateway.Event, 0, 1+len(list))
	if first := firstStatus(&m); list[0].n != 1 || list[0].Status != first {
		history = append(history, gateway.Event{MessageID: id, TenantKey: tenantKey, Status: first, At: m.CreatedAt})
	}
	for _, e := range list {
		if e.n > 0 { // 0: nothing has happened since
			history = append(history, e.Event)
		}
	}
	return history, nil
}
