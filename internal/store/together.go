package store

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// On Postgres the changes of messages that come while others are being written are gathered, and written together by the next statement:
// one trip, one commit and one flush of the disk for all of them, of whatever tenants. Nobody waits for company. Claims have a queue of
// their own, for their commit does not wait for the disk. See docs/decisions/0014.

// change is a change of one message that takes part.
type change struct {
	key    recentKey
	maxAge time.Duration // of what is remembered of the message
	read   *seenMessage  // as it was read for this change; nil: as it is remembered
	readAt time.Time
	apply  func(*gateway.Message) ([]gateway.Event, error)
	m      gateway.Message // the message as stored
}

// claim is a claim that takes part.
type claim struct {
	fence gateway.Fence
	row   seenRow
	wrote version
}

// seenRow is a message to be written if it is still as it was seen.
type seenRow struct {
	m      gateway.Message
	seen   version
	events []gateway.Event
}

const (
	// One by itself, with one event at most, is a third cheaper so.
	changeOne = `WITH ` + oneAsSeen + ` {skip}), ` + writeOne
	claimOne  = `WITH held AS (SELECT 1 FROM sessions WHERE tenant_key = $26 AND owner = $27 AND epoch = $28 AND lease_until > {now}
			AND NOT queue_paused AND NOT queue_held {share} SKIP LOCKED),
		` + oneAsSeen + ` AND EXISTS (SELECT 1 FROM held) {skip}), ` + writeOne + ` WHERE set_config('synchronous_commit', 'off', TRUE) <> ''`
	oneAsSeen = `mine AS (SELECT ctid AS place FROM messages WHERE id = $21 AND xmin::text = $22`
	writeOne  = `changed AS (` + updateState + ` WHERE ctid = (SELECT place FROM mine) RETURNING id, xmin::text AS seen),
		told AS (INSERT INTO message_events (message_id, n, status, at, detail)
			SELECT id, (SELECT COALESCE(MAX(e.n), 1) + 1 FROM message_events e WHERE e.message_id = changed.id), $23::text, $24::bigint, $25::text
			FROM changed WHERE $23 <> '')
		SELECT id, seen FROM changed`

	// What is locked is passed over: a transaction that holds a row for long holds up who wants that row, by the way with locks, and
	// nobody else. The arrays stand in a subquery each, so that the plan does not depend on how long they are.
	changeTogether = `WITH mine AS MATERIALIZED (SELECT w.*, l.place FROM unnest(` + wantedArrays + `) AS w (` + stateColumns + `, id, seen),
		` + asSeen + `), ` + writeMine
	claimTogether = `WITH mine AS MATERIALIZED (SELECT w.*, l.place FROM unnest(` + wantedArrays + `, (SELECT $28::bigint[]), (SELECT $29::text[]), (SELECT $30::bigint[]))
			AS w (` + stateColumns + `, id, seen, tenant_key, owner, epoch),
		LATERAL (SELECT 1 FROM sessions s WHERE s.tenant_key = w.tenant_key AND s.owner = w.owner AND s.epoch = w.epoch AND s.lease_until > {now}
			AND NOT s.queue_paused AND NOT s.queue_held {share} SKIP LOCKED) h,
		` + asSeen + `), ` + writeMine + ` WHERE set_config('synchronous_commit', 'off', TRUE) <> ''`

	wantedArrays = `(SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[]), (SELECT $4::text[]), (SELECT $5::bigint[]), (SELECT $6::bigint[]),
		(SELECT $7::boolean[]), (SELECT $8::bigint[]), (SELECT $9::text[]), (SELECT $10::text[]), (SELECT $11::text[]), (SELECT $12::boolean[]),
		(SELECT $13::bigint[]), (SELECT $14::bigint[]), (SELECT $15::bigint[]), (SELECT $16::bigint[]), (SELECT $17::bigint[]),
		(SELECT $18::bigint[]), (SELECT $19::bigint[]), (SELECT $20::boolean[]), (SELECT $21::text[]), (SELECT $22::text[])`
	asSeen    = `LATERAL (SELECT m.ctid AS place FROM messages m WHERE m.id = w.id AND m.xmin::text = w.seen {skip}) l`
	writeMine = `changed AS (UPDATE messages m SET recipient_jid = w.recipient_jid, recipient_lid = w.recipient_lid, status = w.status, phase = w.phase,
			attempts = w.attempts, next_attempt_at = w.next_attempt_at, uncertain = w.uncertain, deaths = w.deaths, in_flight = w.in_flight,
			error_code = w.error_code, error_message = w.error_message, error_retryable = w.error_retryable, sent_at = w.sent_at,
			delivered_at = w.delivered_at, read_at = w.read_at, failed_at = w.failed_at, updated_at = w.updated_at,
			delivered_count = w.delivered_count, read_count = w.read_count, first_contact = w.first_contact
			FROM mine w WHERE m.ctid = w.place RETURNING m.id, m.xmin::text AS seen),
		told AS (INSERT INTO message_events (message_id, n, status, at, detail)
			SELECT c.id, (SELECT COALESCE(MAX(e.n), 1) FROM message_events e WHERE e.message_id = c.id) + t.k, t.status, t.at, t.detail
			FROM unnest((SELECT $23::text[]), (SELECT $24::bigint[]), (SELECT $25::text[]), (SELECT $26::bigint[]), (SELECT $27::text[]))
				AS t (id, k, status, at, detail) JOIN changed c ON c.id = t.id)
		SELECT id, seen FROM changed`
)

// changeGathered carries out changes that wait, several of one message one after the other. A job that has to be tried in another way, or
// again, has errOutrun.
func (s *Store) changeGathered(ctx context.Context, conn *sql.Conn, batch []*job) error {
	type pending struct {
		seenRow
		jobs []*job
	}
	var order []*pending
	byID := map[recentKey]*pending{}
	for _, j := range batch {
		m, seen, ok := s.recall(j.change)
		if !ok {
			j.err = errOutrun
			continue
		}
		p := byID[recentKey{m.TenantKey, m.ID}]
		if p != nil {
			m = p.m
		}
		before := m
		events, err := s.applied(&m, j.change.apply)
		changed := err == nil && !reflect.DeepEqual(before, m)
		switch {
		case err != nil, !changed:
			j.err = err
			switch {
			case errors.Is(err, errOtherWay):
			case err == nil && len(events) > 0:
				j.err = errOtherWay
			case j.change.read == nil || p != nil:
				j.err = errOutrun // what is remembered is not believed, only tried
			}
			j.change.m = m
			continue
		case p == nil:
			p = &pending{seenRow: seenRow{seen: seen}}
			byID[recentKey{m.TenantKey, m.ID}], order = p, append(order, p)
		}
		p.m, p.events, p.jobs = m, append(p.events, events...), append(p.jobs, j)
	}
	rows := make([]seenRow, len(order))
	for i, p := range order {
		rows[i] = p.seenRow
	}
	wrote, err := s.writeSeen(ctx, conn, rows, nil)
	for i, p := range order {
		failed := wrote[i].err
		if failed == nil && err == nil {
			s.recent.put(p.m, wrote[i].seen)
			if !p.m.Status.Final() {
				s.ahead.drop(p.m.TenantKey) // it may be the oldest again
			}
		} else {
			s.recent.drop(recentKey{p.m.TenantKey, p.m.ID})
		}
		for _, j := range p.jobs {
			j.err, j.change.m = errors.Join(failed, err), p.m
		}
	}
	return nil
}

// recall is the message that c changes, as it was read for c, or as it is remembered if that is newer.
func (s *Store) recall(c *change) (m gateway.Message, seen version, ok bool) {
	m, seen, at, ok := s.recent.get(c.key, c.maxAge)
	if c.read != nil && (!ok || at.Before(c.readAt)) {
		return c.read.m, c.read.seen, true
	}
	if c.read != nil {
		c.read = nil
	}
	return m, seen, ok
}

// claimGathered carries out claims that wait; one that was outrun has errOutrun.
func (s *Store) claimGathered(ctx context.Context, conn *sql.Conn, batch []*job) error {
	var rows []seenRow
	var fences []gateway.Fence
	var first []*job
	met := map[string]bool{}
	for _, j := range batch {
		if met[j.claim.row.m.ID] {
			j.err = errOutrun // its message is another's
			continue
		}
		met[j.claim.row.m.ID] = true
		rows, fences, first = append(rows, j.claim.row), append(fences, j.claim.fence), append(first, j)
	}
	wrote, err := s.writeSeen(ctx, conn, rows, fences)
	for i, j := range first {
		j.claim.wrote, j.err = wrote[i].seen, errors.Join(wrote[i].err, err)
	}
	return nil
}

// written is what became of a row: the version that it has, or why it was not written.
type written struct {
	seen version
	err  error
}

// writeSeen writes, in one transaction, those of rows that are still as they were seen, with their events; the others have errOutrun. With fences,
// one for each row, only under those that hold, and without a wait for the disk. A row that the database refuses fails alone. The error is that of
// all: nothing was written, unless it is errUnknown.
func (s *Store) writeSeen(ctx context.Context, conn *sql.Conn, rows []seenRow, fences []gateway.Fence) ([]written, error) {
	wrote := make([]written, len(rows))
	if len(rows) == 0 {
		return wrote, nil
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), maxTransact, errNoTurn)
	defer cancel()
	statement, args := changeTogether, []any(nil)
	one := len(rows) == 1 && len(rows[0].events) <= 1
	switch {
	case one && fences == nil:
		statement, args = changeOne, seenArgs(rows[0], nil)
	case one:
		statement, args = claimOne, seenArgs(rows[0], &fences[0])
	case fences == nil:
		args = seenArrays(rows, nil)
	default:
		statement, args = claimTogether, seenArrays(rows, fences)
	}
	type place struct{ id, seen string }
	found, err := conn.QueryContext(ctx, s.d.sql(statement), args...)
	places, err := all(found, err, func(row scanner) (p place, err error) { return p, row.Scan(&p.id, &p.seen) })
	switch {
	case err == nil:
		versions := make(map[string]version, len(places))
		for _, p := range places {
			versions[p.id] = version(p.seen)
		}
		for i := range rows {
			if wrote[i].seen = versions[rows[i].m.ID]; wrote[i].seen == "" {
				wrote[i].err = errOutrun
			}
		}
		return wrote, nil
	case s.d.conflict(err):
		for i := range wrote {
			wrote[i].err = errOutrun
		}
		return wrote, nil
	case s.d.unavailable(err) || ctx.Err() != nil:
		return wrote, errors.Join(err, context.Cause(ctx), errUnknown)
	case len(rows) == 1:
		wrote[0].err = err
		return wrote, nil
	}
	for i := range rows { // one of them is to blame
		var one []gateway.Fence
		if fences != nil {
			one = fences[i : i+1]
		}
		alone, err := s.writeSeen(ctx, conn, rows[i:i+1], one)
		wrote[i] = alone[0]
		if err != nil {
			wrote[i].err = err
		}
	}
	return wrote, nil
}

// seenArgs are the arguments of changeOne, or with a fence of claimOne.
func seenArgs(r seenRow, f *gateway.Fence) []any {
	e := gateway.Event{}
	if len(r.events) > 0 {
		e = r.events[0]
	}
	args := append(stateArgs(&r.m), r.m.ID, r.seen, e.Status, micros(e.At), e.Detail)
	if f != nil {
		args = append(args, f.TenantKey, f.Owner, f.Epoch)
	}
	return args
}

// seenArrays are the arguments of changeTogether, or with fences of claimTogether.
func seenArrays(rows []seenRow, fences []gateway.Fence) []any {
	states := make([][]any, len(rows))
	var ids, seen, of, statuses, details []string
	var places, times []int64
	for i, r := range rows {
		states[i] = stateArgs(&r.m)
		ids, seen = append(ids, r.m.ID), append(seen, string(r.seen))
		for k, e := range r.events {
			of, places, statuses = append(of, r.m.ID), append(places, int64(k+1)), append(statuses, string(e.Status))
			times, details = append(times, micros(e.At)), append(details, e.Detail)
		}
	}
	args, _ := columnar(states)
	args = append(args, ids, seen, of, places, statuses, times, details)
	if fences == nil {
		return args
	}
	var tenants, epochs []int64
	var owners []string
	for _, f := range fences {
		tenants, owners, epochs = append(tenants, f.TenantKey), append(owners, f.Owner), append(epochs, f.Epoch)
	}
	return append(args, tenants, owners, epochs)
}
