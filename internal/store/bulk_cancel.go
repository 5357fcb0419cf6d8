package store

import (
	"context"
	"errors"
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

// CancelQueued ends up to limit messages of a canceled bulk that nobody has claimed, and returns how many it ended. apply ends
// one, in whose place all of them change alike; like theirs, its history has one row more.
func (s *Store) CancelQueued(ctx context.Context, tenantKey int64, bulkID string, limit int,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (ended int, err error) {
	err = s.write(ctx, "cancel messages of a bulk", func(t *tx) error {
		ended = 0
		b, err := t.lookBulk(tenantKey, bulkID)
		if err != nil || b.Status != gateway.BulkCanceled {
			return err
		}
		m := gateway.Message{TenantKey: tenantKey, BulkID: bulkID, Status: gateway.StatusQueued, Phase: gateway.PhaseStaged}
		events, err := apply(&m)
		if err != nil || len(events) != 1 || m.Error == nil {
			return errors.Join(errors.New("a queued message is ended by one event that says why"), err)
		}
		storedTimes(&m)
		rows, err := t.query(`UPDATE messages SET status = $1, phase = $2, next_attempt_at = $3, error_code = $4, error_message = $5,
				error_retryable = $6, updated_at = $7
			WHERE id IN (SELECT id FROM messages WHERE tenant_key = $8 AND bulk_id = $9 AND bulk_id <> ''
					AND status = 'queued' AND phase IN ('waiting', 'staged') LIMIT $10)
				AND status = 'queued' RETURNING id`,
			m.Status, m.Phase, micros(m.NextAttemptAt), m.Error.Code, m.Error.Message, m.Error.Retryable, micros(m.UpdatedAt),
			tenantKey, bulkID, limit)
		ids, err := all(rows, err, func(row scanner) (id string, err error) { return id, row.Scan(&id) })
		if err != nil {
			return err
		}
		ended = len(ids)
		for part := range slices.Chunk(ids, maxIDs) {
			args := []any{events[0].Status, micros(events[0].At), events[0].Detail}
			for _, id := range part {
				args = append(args, id)
			}
			_, err := t.exec(`INSERT INTO message_events (message_id, n, status, at, detail)
				SELECT m.id, (SELECT COALESCE(MAX(e.n), 1) + 1 FROM message_events e WHERE e.message_id = m.id), $1, CAST($2 AS BIGINT), $3
				FROM messages m WHERE m.id IN (`+placeholders(4, len(part))+`)`, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ended, err
}

// begunOfBulk are the messages of a bulk that were claimed and are in nobody's hands.
const begunOfBulk = `WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' AND status = 'sending' AND phase IN ('offline', 'backoff', 'held')
	AND in_flight = '' LIMIT $3 {skip}`

// CancelBegun lets apply end up to limit messages of a canceled bulk that were claimed and are in nobody's hands, in one transaction with
// their history, and returns those that changed. What somebody else changes at this moment is passed over. For apply see Claim.
func (s *Store) CancelBegun(ctx context.Context, tenantKey int64, bulkID string, limit int,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (changed []gateway.Message, err error) {
	err = s.write(ctx, "cancel what was begun of a bulk", func(t *tx) error {
		changed = nil
		b, err := t.lookBulk(tenantKey, bulkID)
		if err != nil || b.Status != gateway.BulkCanceled {
			return err
		}
		rows, err := t.query(s.d.sql(selectMessage+begunOfBulk), tenantKey, bulkID, limit)
		begun, err := all(rows, err, scanMessage)
		if err != nil {
			return err
		}
		for _, m := range begun {
			before := m
			if err := t.change(&m, apply); err != nil {
				return err
			}
			if m != before {
				changed = append(changed, m)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}
