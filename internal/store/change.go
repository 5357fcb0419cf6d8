package store

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

// What happened first, that the message was accepted, has no row of its own (history.go): the second event is the first with one.
const (
	appendEvent = `INSERT INTO message_events (message_id, n, status, at, detail)
	SELECT $1, COALESCE(MAX(n), 1) + 1, $2, $3, $4 FROM message_events WHERE message_id = $1`
	updateWithEvent = `WITH changed AS (` + updateMessage + ` RETURNING id)
	INSERT INTO message_events (message_id, n, status, at, detail)
	SELECT id, (SELECT COALESCE(MAX(e.n), 1) + 1 FROM message_events e WHERE e.message_id = changed.id), $22, $23, $24 FROM changed`
)

// Claim finds the message that ticket entitles to, lets apply begin its attempt, and stores that, all under the lease
// f. The ticket's own message when it is due for another attempt; when it waits for its first, the oldest message of
// its lane that does, so that the order is SQL's whatever became of other tickets. nil, nil when there is nothing to
// do: the message is finished, in hand, not due yet, or gone. gateway.ErrFenced, gateway.ErrQueueClosed.
//
// apply must be quick and must not use the database; its error undoes the claim and is returned.
func (s *Store) Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (*gateway.Message, error) {
	if ticket.TenantKey != f.TenantKey {
		return nil, gateway.ErrFenced
	}
	if s.quick() {
		if m, err := s.claimQuickly(ctx, f, ticket, apply); !errors.Is(err, errOutrun) {
			return m, err
		}
	}
	var claimed *gateway.Message
	err := s.write(ctx, "claim message", func(t *tx) error {
		claimed = nil
		if err := t.checkClaim(f); err != nil {
			return err
		}
		m, err := t.claimable(ticket)
		if m == nil || err != nil {
			return err
		}
		if err := t.change(m, apply); err != nil {
			return err
		}
		claimed = m
		return nil
	})
	if errors.Is(err, errUnknown) && claimed != nil {
		return s.claimedAfterAll(ctx, claimed, err)
	}
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// claimedAfterAll finds out what became of a claim whose commit was not confirmed: a message in the hands of this process
// that nobody here knows of would wait for ever. So it asks until the database answers or ctx ends.
func (s *Store) claimedAfterAll(ctx context.Context, claimed *gateway.Message, unknown error) (*gateway.Message, error) {
	stored, err := s.lookAgain(ctx, func(t *tx) (bool, error) {
		m, err := t.look(claimed.ID, claimed.TenantKey, " {lock}")
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		m.Restricted = claimed.Restricted // not a column of messages
		return reflect.DeepEqual(m, *claimed), err
	})
	if err == nil && stored {
		return claimed, nil
	}
	return nil, unknown
}

// claimable finds and locks the message that ticket entitles to; nil when there is none. Only that one is locked: two
// locks of messages would have to be taken in the order in which receipts take theirs.
func (t *tx) claimable(ticket gateway.Ticket) (*gateway.Message, error) {
	for {
		var restricted bool
		m, err := scanMessage(behind{t.row(t.s.d.sql(selectClaimable), ticket.MessageID, ticket.TenantKey), []any{&restricted}})
		m.Restricted = restricted
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if m.Due(t.s.now()) {
			return &m, nil
		}
		if m.ID == ticket.MessageID {
			return nil, nil
		}
		// It was canceled or has ended between being found and being locked. That is committed now: it is not found again.
	}
}

// Two look-ups of the oldest in the index: sorting both phases together would read the whole backlog.
const (
	selectClaimable = `SELECT ` + restrictedColumn + `, ` + messageColumns + ` FROM messages WHERE ` + isClaimable + ` {lock}`
	isClaimable     = `id = (SELECT CASE WHEN n.phase IN ('waiting', 'offline') THEN
			(SELECT id FROM (SELECT * FROM (` + oldestClaimable + ` AND o.phase = 'waiting' ORDER BY o.seq LIMIT 1) a
				UNION ALL SELECT * FROM (` + oldestClaimable + ` AND o.phase = 'offline' ORDER BY o.seq LIMIT 1) b) c ORDER BY seq LIMIT 1)
			ELSE n.id END
		FROM messages n WHERE n.id = $1 AND n.tenant_key = $2 AND n.phase NOT IN ('', 'schedule'))`
	restrictedColumn = `(SELECT s.restriction_kind <> '' FROM sessions s WHERE s.tenant_key = messages.tenant_key)`
	oldestClaimable  = `SELECT o.id, o.seq FROM messages o WHERE o.tenant_key = n.tenant_key AND o.lane = n.lane
		AND o.phase NOT IN ('', 'schedule') AND o.next_attempt_at = 0 AND o.seq <= n.seq`
)

// Update lets apply change one message of a tenant, with its history, and returns what is stored; with a fence only
// while that holds. CodeNotFound, gateway.ErrFenced. For apply see Claim.
func (s *Store) Update(ctx context.Context, tenantKey int64, id string, f *gateway.Fence,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (gateway.Message, error) {
	if s.quick() && f == nil {
		if m, err := s.updateQuickly(ctx, tenantKey, id, apply); !errors.Is(err, errOutrun) {
			return m, err
		}
	}
	var m gateway.Message
	err := s.write(ctx, "update message", func(t *tx) error {
		if f != nil {
			if f.TenantKey != tenantKey {
				return gateway.ErrFenced
			}
			if err := t.checkFence(*f); err != nil {
				return err
			}
		}
		var err error
		m, err = t.look(id, tenantKey, " {lock}")
		if errors.Is(err, sql.ErrNoRows) {
			return noMessage()
		}
		if err != nil {
			return err
		}
		return t.change(&m, apply)
	})
	if err != nil {
		return gateway.Message{}, err
	}
	return m, nil
}

// Receive lets apply change each message of a tenant that a receipt names by stanza id, all in one transaction;
// unknown ids are passed over. apply is told what the sender of the receipt had confirmed of a message before, and
// returns what it has by now; for groups that is kept per member. An error of apply undoes the whole receipt.
func (s *Store) Receive(ctx context.Context, tenantKey int64, r gateway.Receipt,
	apply func(*gateway.Message, gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error),
) error {
	if s.quick() && len(r.StanzaIDs) == 1 {
		if err := s.receiveQuickly(ctx, tenantKey, r, apply); !errors.Is(err, errOutrun) {
			return err
		}
	}
	return s.write(ctx, "record receipt", func(t *tx) error {
		for _, stanza := range inOrder(r.StanzaIDs) {
			m, err := scanMessage(t.row(t.s.d.sql(selectMessage+`WHERE stanza_id = $1 AND tenant_key = $2 {lock}`), stanza, tenantKey))
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			had := gateway.Confirmed{Delivered: !m.DeliveredAt.IsZero(), Read: !m.ReadAt.IsZero()}
			if m.IsGroup() {
				if had, err = t.confirmed(m.ID, r); err != nil {
					return err
				}
			}
			has := had
			err = t.change(&m, func(m *gateway.Message) (events []gateway.Event, err error) {
				has, events, err = apply(m, had)
				return events, err
			})
			if err != nil {
				return err
			}
			if m.IsGroup() {
				if err := t.confirm(m.ID, r, had, has); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// inOrder is the order in which messages are locked, each once.
func inOrder(stanzaIDs []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(stanzaIDs)))
}

// confirmed reads what the member behind a receipt confirmed before, under either of its names.
func (t *tx) confirmed(id string, r gateway.Receipt) (had gateway.Confirmed, err error) {
	alt := r.SenderAlt
	if alt == "" {
		alt = r.Sender
	}
	rows, err := t.query(`SELECT kind FROM message_receipts WHERE message_id = $1 AND member IN ($2, $3)`, id, r.Sender, alt)
	kinds, err := all(rows, err, func(row scanner) (kind gateway.ReceiptKind, err error) { return kind, row.Scan(&kind) })
	for _, kind := range kinds {
		had.Delivered = had.Delivered || kind == gateway.ReceiptDelivered
		had.Read = had.Read || kind == gateway.ReceiptRead
	}
	return had, err
}

func (t *tx) confirm(id string, r gateway.Receipt, had, has gateway.Confirmed) error {
	const insert = `INSERT INTO message_receipts (message_id, member, kind, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	if has.Delivered && !had.Delivered {
		if _, err := t.exec(insert, id, r.Sender, gateway.ReceiptDelivered, micros(r.At)); err != nil {
			return err
		}
	}
	if has.Read && !had.Read {
		if _, err := t.exec(insert, id, r.Sender, gateway.ReceiptRead, micros(r.At)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) look(id string, tenantKey int64, lock string) (gateway.Message, error) {
	return scanMessage(t.row(t.s.d.sql(selectMessage+`WHERE id = $1 AND tenant_key = $2`+lock), id, tenantKey))
}

// change applies a change to m and stores what came of it; nothing is written when nothing changed.
func (t *tx) change(m *gateway.Message, apply func(*gateway.Message) ([]gateway.Event, error)) error {
	before := *m
	events, err := apply(m)
	if err != nil {
		return err
	}
	storedTimes(m)
	changed := !reflect.DeepEqual(before, *m)
	if changed && len(events) == 1 && t.s.d.writers > 1 { // one trip to the server instead of two
		e := events[0]
		_, err := t.exec(updateWithEvent, append(stateArgs(m), m.ID, e.Status, micros(e.At), e.Detail)...)
		return err
	}
	if changed {
		if _, err := t.exec(updateMessage, append(stateArgs(m), m.ID)...); err != nil {
			return err
		}
	}
	for _, e := range events {
		if _, err := t.exec(appendEvent, m.ID, e.Status, micros(e.At), e.Detail); err != nil {
			return err
		}
	}
	return nil
}
