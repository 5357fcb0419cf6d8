package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

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

// number assigns Seq from the tenants' counters. Their rows stay locked until the commit, so that Seq follows the
// order of commits: what a reader does not see yet has a higher one than what it sees.
func (t *tx) number(msgs []*gateway.Message) error {
	for _, m := range msgs {
		last, ok := t.lastSeq[m.TenantKey]
		if !ok {
			err := t.row(t.s.d.sql(`SELECT last_seq FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {lock}`), m.TenantKey).Scan(&last)
			if errors.Is(err, sql.ErrNoRows) {
				return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant")
			}
			if err != nil {
				return err
			}
		}
		m.Seq = last + 1
		t.lastSeq[m.TenantKey] = m.Seq
	}
	return nil
}

// storeSeqs writes the counters back, once for all that a transaction accepted. The numbers of an undone job are left
// out for good.
func (t *tx) storeSeqs() error {
	for key, seq := range t.lastSeq {
		if _, err := t.exec(`UPDATE tenants SET last_seq = $1 WHERE tenant_key = $2`, seq, key); err != nil {
			return err
		}
	}
	return nil
}
