package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// Accept stores new messages, in the order given; all of them or none. They are
// on disk when it returns nil (I1). It assigns Seq, and rounds times to what a later read will give. With idem, the
// answer for the reserved Idempotency-Key is stored in the same transaction: CodeIdempotencyBusy when another request
// with that key was faster. CodeNotFound when the tenant is gone, CodeConflict when an id or stanza id is in use,
// CodeMediaLost when a file is not stored any more.
//
// Calls that wait at the same time share one commit. A call whose ctx ends while its commit is under way still
// returns what became of it.
func (s *Store) Accept(ctx context.Context, msgs []*gateway.Message, idem *gateway.IdempotencyCompletion) error {
	for _, m := range msgs {
		if err := enter(m); err != nil {
			return fmt.Errorf("accept message: %w", err)
		}
	}
	tenantKey := int64(0)
	if len(msgs) > 0 {
		tenantKey = msgs[0].TenantKey
	}
	// Accepts of one tenant wait for its counter, so it is them that share.
	q := s.queues[uint64(tenantKey)%uint64(len(s.queues))]
	j := &job{rank: tenantKey, do: func(t *tx) error {
		if err := t.accept(msgs); err != nil {
			return err
		}
		if idem == nil {
			return nil
		}
		answer, err := idem.Answer(msgs)
		if err != nil {
			return err
		}
		return t.completeIdempotency(idem.TenantKey, idem.Scope, idem.Key, answer)
	}}
	if idem == nil && arePlain(msgs) {
		j.rows = msgs
	}
	err := s.writeShared(ctx, q, "accept message", j)
	if errors.Is(err, errUnknown) && len(msgs) > 0 {
		return s.acceptedAfterAll(ctx, msgs[0], err)
	}
	return err
}

// acceptedAfterAll finds out what became of an accept whose commit was not confirmed, and returns nil when it is on disk.
// The lock of the tenant makes it wait for a commit that is still under way.
func (s *Store) acceptedAfterAll(ctx context.Context, m *gateway.Message, unknown error) error {
	ctx, cancel := context.WithTimeout(ctx, maxTurn)
	defer cancel()
	stored, err := s.lookAgain(ctx, func(t *tx) (found bool, err error) {
		var one int
		if err := t.row(s.d.sql(`SELECT 1 FROM tenants WHERE tenant_key = $1 {lock}`), m.TenantKey).Scan(&one); err != nil {
			return false, err
		}
		err = t.row(`SELECT 1 FROM messages WHERE id = $1 AND stanza_id = $2`, m.ID, m.WhatsAppID).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	})
	if err == nil && stored {
		return nil
	}
	return unknown
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
	if m.Status != firstStatus(m) { // its history begins with it
		return fmt.Errorf("a message of %s that goes out at %s cannot be %s", m.CreatedAt, m.SendAt, m.Status)
	}
	return nil
}

// accept numbers new messages and stores them: on Postgres those of all jobs together, before the commit, or at once where the job
// stands alone.
func (t *tx) accept(msgs []*gateway.Message) error {
	if t.s.d.writers > 1 && !t.isolated {
		t.rows = append(t.rows, msgs...)
		return nil
	}
	if err := t.number(msgs); err != nil {
		return err
	}
	err := t.insertNow(msgs)
	if t.s.d.duplicate(err) {
		return &gateway.Error{Code: gateway.CodeConflict, Message: "a message with this id exists already", Err: err}
	}
	return err
}

// number assigns Seq from the tenants' counters. Their rows stay locked until the commit, so that Seq follows the
// order of commits: what a reader does not see yet has a higher one than what it sees.
func (t *tx) number(msgs []*gateway.Message) error {
	for _, m := range msgs {
		first, err := t.reserveSeqs(m.TenantKey, 1)
		if err != nil {
			return err
		}
		m.Seq = first
	}
	return nil
}

// reserveSeqs takes the next n numbers of a tenant and returns the first. CodeNotFound when the tenant is gone.
func (t *tx) reserveSeqs(tenantKey int64, n int) (first int64, err error) {
	last, ok := t.lastSeq[tenantKey]
	if !ok {
		err := t.row(t.s.d.sql(`SELECT last_seq FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {lock}`), tenantKey).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, noTenant()
		}
		if err != nil {
			return 0, err
		}
	}
	t.lastSeq[tenantKey] = last + int64(n)
	return last + 1, nil
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

// insertNow stores new messages that have their Seq.
func (t *tx) insertNow(msgs []*gateway.Message) error {
	if err := t.useBlobs(msgs); err != nil {
		return err
	}
	if t.s.d.writers > 1 {
		return t.insertMany(msgs)
	}
	for _, m := range msgs {
		if _, err := t.exec(insertMessage, t.s.d.messageArgs(m)...); err != nil {
			return err
		}
	}
	return nil
}

// storeRows numbers and inserts what the jobs have left to be inserted together.
func (t *tx) storeRows() error {
	if len(t.rows) == 0 {
		return nil
	}
	err := t.storeTogether()
	if err != nil && !t.s.d.unavailable(err) {
		return errors.Join(errApart, err)
	}
	return err
}

func (t *tx) storeTogether() error {
	if !arePlain(t.rows) {
		if err := t.number(t.rows); err != nil {
			return err
		}
		return t.insertNow(t.rows)
	}
	t.wrote = true
	missing, err := t.s.acceptPlain(t.rows, t.query)
	if err == nil && len(missing) > 0 {
		err = noTenant()
	}
	return err
}

func noTenant() error { return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant") }
