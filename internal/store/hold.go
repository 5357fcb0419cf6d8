package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// SetQueue pauses or resumes a tenant's queue, or lifts its hold, and asks the session's owner to look: nil leaves a value as it is. When it
// returns a pause, no message is claimed any more; one in hand is still sent. It returns the session as stored. CodeNotFound.
func (s *Store) SetQueue(ctx context.Context, tenantKey int64, paused, held *bool) (gateway.Session, error) {
	var v gateway.Session
	err := s.write(ctx, "pause or resume a queue", func(t *tx) error {
		var one int
		err := t.row(s.d.sql(`SELECT 1 FROM sessions WHERE tenant_key = $1 {lock}`), tenantKey).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such session")
		}
		if err != nil {
			return err
		}
		if v, err = scanSession(t.row(selectSession+`WHERE s.tenant_key = $1`, tenantKey)); err != nil {
			return err
		}
		before := v
		v.QueuePaused, v.QueueHeld = *cmp.Or(paused, &v.QueuePaused), *cmp.Or(held, &v.QueueHeld)
		if v == before {
			return nil
		}
		if _, err = t.exec(`UPDATE sessions SET queue_paused = $1, queue_held = $2 WHERE tenant_key = $3`, v.QueuePaused, v.QueueHeld, tenantKey); err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO commands (tenant_key, kind, phone, created_at) VALUES ($1, $2, '', $3)`,
			tenantKey, gateway.CommandQueue, micros(s.now()))
		return err
	})
	if err != nil {
		return gateway.Session{}, err
	}
	return v, nil
}

// checkClaim is checkFence for a claim, which a pause or a hold forbids; neither begins before the claim has committed.
func (t *tx) checkClaim(f gateway.Fence) error {
	var closed bool
	err := t.row(t.s.d.sql(`SELECT queue_paused OR queue_held FROM sessions
		WHERE tenant_key = $1 AND owner = $2 AND epoch = $3 AND lease_until > {now} {share}`), f.TenantKey, f.Owner, f.Epoch).Scan(&closed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return gateway.ErrFenced
	case err != nil:
		return t.s.wrap("check lease", err)
	case closed:
		return gateway.ErrQueueClosed
	}
	return nil
}

// Backlog reports whether messages of a tenant wait: for their turn, for another attempt, or for their time. Three looks into indexes,
// however many there are: the orders keep Postgres from reading all of them.
func (s *Store) Backlog(ctx context.Context, tenantKey int64) (bool, error) {
	var waits bool
	if err := s.readRow(ctx, hasBacklog, tenantKey).Scan(&waits); err != nil {
		return false, s.wrap("look for a backlog", err)
	}
	return waits, nil
}

const hasBacklog = `SELECT COALESCE(
	(SELECT m.seq FROM messages m WHERE m.tenant_key = $1 AND m.phase NOT IN ('', 'schedule') AND m.phase IN ('waiting', 'offline', 'backoff', 'held')
		ORDER BY m.lane, m.phase, m.next_attempt_at, m.seq LIMIT 1),
	(SELECT m.seq FROM messages m WHERE m.tenant_key = $1 AND m.phase = 'schedule' ORDER BY m.seq LIMIT 1),
	(SELECT MAX(b.first_seq) FROM bulks b WHERE b.tenant_key = $1 AND b.finished_at = 0 AND b.status NOT IN ('staging', 'discarding')
		AND (SELECT m.seq FROM messages m WHERE m.tenant_key = b.tenant_key AND m.bulk_id = b.id AND m.bulk_id <> '' AND m.status = 'queued' AND m.phase = 'staged'
			ORDER BY m.seq LIMIT 1) > 0), 0) > 0`

// LastSeq is the Seq of the message that a tenant accepted last, 0 when there is none.
func (s *Store) LastSeq(ctx context.Context, tenantKey int64) (seq int64, err error) {
	if err := s.readRow(ctx, `SELECT COALESCE(MAX(seq), 0) FROM messages WHERE tenant_key = $1`, tenantKey).Scan(&seq); err != nil {
		return 0, s.wrap("read the last message's number", err)
	}
	return seq, nil
}

// waiting are the kinds of messages that wait, each an index of its own, in the order in which a message goes from one to the next.
// $3 and $4 are where to go on after.
const (
	waitingIn = `WHERE tenant_key = $1 AND lane = $5 AND phase NOT IN ('', 'schedule') AND phase = $6 AND seq <= $2 AND in_flight = ''
		AND (next_attempt_at, seq) > ($3, $4) AND (phase <> 'staged' OR bulk_id NOT IN ` + hiddenBulks + `)
		ORDER BY next_attempt_at, seq LIMIT $7 {skip}`
	waitingScheduled = `WHERE tenant_key = $1 AND phase = 'schedule' AND seq <= $2 AND seq > $3 ORDER BY seq LIMIT $4 {skip}`
)

// kindOfWaiting is a lane and a phase; the zero value is what is scheduled.
type kindOfWaiting struct {
	lane  gateway.Priority
	phase gateway.Phase
}

func kindsOfWaiting() []kindOfWaiting {
	kinds := []kindOfWaiting{{}}
	for _, phase := range []gateway.Phase{gateway.PhaseStaged, gateway.PhaseWaiting, gateway.PhaseOffline, gateway.PhaseBackoff, gateway.PhaseHeld} {
		for _, lane := range gateway.Priorities() {
			kinds = append(kinds, kindOfWaiting{lane, phase})
		}
	}
	return kinds
}

// UpdateWaiting lets apply change up to limit messages of a tenant that wait, after a place and with a Seq up to upTo, in one transaction
// with their history. It returns those that changed, and the place that it got to, the zero value when nothing is left behind it. No more
// rows are read, however long the tenant's history is. What somebody else changes at this moment is passed over. For apply see Claim.
func (s *Store) UpdateWaiting(ctx context.Context, tenantKey int64, after gateway.WaitingPlace, upTo int64, limit int,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (changed []gateway.Message, next gateway.WaitingPlace, err error) {
	err = s.write(ctx, "update waiting messages", func(t *tx) error {
		changed, next = nil, after
		left := limit
		for kinds := kindsOfWaiting(); next.Kind < len(kinds); next = (gateway.WaitingPlace{Kind: next.Kind + 1}) {
			waiting, err := t.waiting(kinds[next.Kind], tenantKey, next, upTo, left)
			if err != nil {
				return err
			}
			for _, m := range waiting {
				before := m
				if err := t.change(&m, apply); err != nil {
					return err
				}
				if m != before {
					changed = append(changed, m)
				}
				next.At, next.Seq = before.NextAttemptAt, before.Seq
			}
			if left -= len(waiting); left == 0 {
				return nil
			}
		}
		next = gateway.WaitingPlace{}
		return nil
	})
	return changed, next, err
}

// waiting locks and reads messages of a kind behind a place.
func (t *tx) waiting(kind kindOfWaiting, tenantKey int64, after gateway.WaitingPlace, upTo int64, limit int) ([]gateway.Message, error) {
	if kind == (kindOfWaiting{}) {
		rows, err := t.query(t.s.d.sql(selectMessage+waitingScheduled), tenantKey, upTo, after.Seq, limit)
		return all(rows, err, scanMessage)
	}
	rows, err := t.query(t.s.d.sql(selectMessage+waitingIn), tenantKey, upTo, micros(after.At), after.Seq, kind.lane, kind.phase, limit)
	return all(rows, err, scanMessage)
}

// heldUntilLater are the held messages of a lane, those first that come back first.
const heldUntilLater = `WHERE tenant_key = $1 AND lane = $2 AND phase NOT IN ('', 'schedule') AND phase = 'held' AND next_attempt_at > $3
	AND in_flight = '' ORDER BY next_attempt_at, seq LIMIT $4 {skip}`

// Reconsider lets apply change up to limit messages of the tenant of f that are held beyond now, of the highest lane first, in one
// transaction, and returns tickets for those that it changed. What somebody else changes at this moment is passed over. apply must be
// quick and must not use the database. gateway.ErrFenced.
func (s *Store) Reconsider(ctx context.Context, f gateway.Fence, now time.Time, limit int, apply func(*gateway.Message) bool) ([]gateway.Ticket, error) {
	var tickets []gateway.Ticket
	err := s.write(ctx, "reconsider held messages", func(t *tx) error {
		tickets = nil
		if err := t.checkFence(f); err != nil {
			return err
		}
		left := limit
		for _, lane := range gateway.Priorities() {
			rows, err := t.query(s.d.sql(selectMessage+heldUntilLater), f.TenantKey, lane, micros(now), left)
			held, err := all(rows, err, scanMessage)
			if err != nil {
				return err
			}
			for i := range held {
				m, changed := &held[i], false
				if err := t.change(m, func(m *gateway.Message) ([]gateway.Event, error) {
					changed = apply(m)
					return nil, nil
				}); err != nil {
					return err
				}
				if changed {
					tickets = append(tickets, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
				}
			}
			if left -= len(held); left <= 0 {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tickets, nil
}
