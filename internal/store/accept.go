package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

var insertMessage = `INSERT INTO messages (` + fixedColumns + `, ` + stateColumns + `)
	VALUES (` + placeholders(1, fixedCount+stateCount) + `)`

// Accept stores new messages with the first row of their history, in the order given; all of them or none. They are
// on disk when it returns nil (I1). It assigns Seq, and rounds times to what a later read will give. With idem, the
// answer for the reserved Idempotency-Key is stored in the same transaction: CodeIdempotencyBusy when another request
// with that key was faster. CodeNotFound when the tenant is gone, CodeConflict when an id or stanza id is in use.
//
// Calls that wait at the same time share one commit. A call whose ctx ends while its commit is under way still
// returns what became of it.
func (s *Store) Accept(ctx context.Context, msgs []*gateway.Message, idem *gateway.IdempotencyCompletion) error {
	for _, m := range msgs {
		if err := enter(m); err != nil {
			return fmt.Errorf("accept message: %w", err)
		}
	}
	return s.write(ctx, "accept message", func(t *tx) error {
		if err := t.number(msgs); err != nil {
			return err
		}
		for _, m := range msgs {
			if _, err := t.exec(insertMessage, messageArgs(m)...); err != nil {
				if s.d.duplicate(err) {
					return &gateway.Error{Code: gateway.CodeConflict, Message: "a message with this id exists already", Err: err}
				}
				return err
			}
			_, err := t.exec(`INSERT INTO message_events (message_id, n, status, at, detail) VALUES ($1, 1, $2, $3, '')`,
				m.ID, m.Status, micros(m.CreatedAt))
			if err != nil {
				return err
			}
		}
		if idem == nil {
			return nil
		}
		answer, err := idem.Answer(msgs)
		if err != nil {
			return err
		}
		return t.completeIdempotency(idem.TenantKey, idem.Scope, idem.Key, answer)
	})
}

// enter checks what the rest of the hub relies on and fills in what follows from it.
func enter(m *gateway.Message) error {
	switch {
	case m.ID == "" || m.WhatsAppID == "":
		return errors.New("a message needs its id and its stanza id before it is stored")
	case !m.Priority.Valid():
		return fmt.Errorf("%q is no priority", m.Priority)
	case m.Status != gateway.StatusQueued && m.Status != gateway.StatusScheduled:
		return fmt.Errorf("a new message is queued or scheduled, not %q", m.Status)
	}
	m.Phase = gateway.PhaseWaiting
	if m.Status == gateway.StatusScheduled {
		m.Phase = gateway.PhaseSchedule
	}
	if m.UpdatedAt.IsZero() {
		m.UpdatedAt = m.CreatedAt
	}
	storedTimes(m)
	return nil
}

// number assigns Seq from the tenants' counters, whose rows stay locked until the commit: Seq follows the order of
// commits without gaps that could be filled later.
func (t *tx) number(msgs []*gateway.Message) error {
	for first := 0; first < len(msgs); {
		key, last := msgs[first].TenantKey, first
		for last < len(msgs) && msgs[last].TenantKey == key {
			last++
		}
		var seq int64
		err := t.row(`UPDATE tenants SET last_seq = last_seq + $1 WHERE tenant_key = $2 AND deleted_at = 0 RETURNING last_seq`,
			last-first, key).Scan(&seq)
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant")
		}
		if err != nil {
			return err
		}
		for i, m := range msgs[first:last] {
			m.Seq = seq - int64(last-first) + int64(i) + 1
		}
		first = last
	}
	return nil
}
