package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Whoever changes a message, the state of a session or the status of a bulk writes what happened into event_outbox along with it: triggers
// do, so that no statement can forget it (migration 21). SettleEvents then gives each event its place in its tenant's stream. Readers go
// by that place, so that none is passed over whose transaction ended late. docs/decisions/0016.

// SettleBatch is how many events get their place in one transaction.
const SettleBatch = 500

// heardEvery is how precisely it is known when somebody listened last.
const heardEvery = time.Hour

// Listen begins the stream of a tenant's events, or goes on with it, and returns the place of the last one: nothing that happened before is in
// it. CodeNotFound.
func (s *Store) Listen(ctx context.Context, tenantKey int64) (last int64, err error) {
	err = s.readRow(ctx, s.d.sql(`SELECT last_pos FROM event_streams WHERE tenant_key = $1 AND heard_at > {now} - $2`),
		tenantKey, heardEvery.Microseconds()).Scan(&last)
	if err == nil {
		return last, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, s.wrap("listen to events", err)
	}
	err = s.write(ctx, "listen to events", func(t *tx) error {
		if err := t.listen(tenantKey); err != nil {
			return err
		}
		return t.row(`SELECT last_pos FROM event_streams WHERE tenant_key = $1`, tenantKey).Scan(&last)
	})
	return last, err
}

func (t *tx) listen(tenantKey int64) error {
	var one int // locked: what is added behind a deletion would keep the tenant's row for ever
	err := t.row(t.s.d.sql(`SELECT 1 FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {share}`), tenantKey).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant")
	}
	if err != nil {
		return err
	}
	_, err = t.exec(t.s.d.sql(`INSERT INTO event_streams (tenant_key, since, heard_at, last_pos) VALUES ($1, {now}, {now}, {now})
		ON CONFLICT (tenant_key) DO UPDATE SET heard_at = excluded.heard_at`), tenantKey)
	return err
}

// appendEvent tells of what no trigger does, in the transaction of the change. data is the JSON of the event's own part. Nothing is written for
// a tenant that does not listen.
func (t *tx) appendEvent(tenantKey int64, kind gateway.EventKind, subject string, at time.Time, data json.RawMessage) error {
	_, err := t.exec(`INSERT INTO event_outbox (tenant_key, kind, subject, at, data)
		SELECT tenant_key, $2, $3, CAST($4 AS BIGINT), $5 FROM event_streams WHERE tenant_key = $1`, tenantKey, kind, subject, micros(at), string(data))
	return err
}

// UnsettledTenants lists the tenants of whom events wait for their place.
func (s *Store) UnsettledTenants(ctx context.Context) ([]int64, error) {
	rows, err := s.read(ctx, `SELECT s.tenant_key FROM event_streams s
		WHERE EXISTS (SELECT 1 FROM event_outbox o WHERE o.tenant_key = s.tenant_key) ORDER BY s.tenant_key`)
	list, err := all(rows, err, func(row scanner) (key int64, err error) { return key, row.Scan(&key) })
	if err != nil {
		return nil, s.wrap("look for events", err)
	}
	return list, nil
}

// SettleEvents gives the next events of a tenant their place in its stream and hands them to its webhooks, SettleBatch at most, in the order in which
// they were written. more
// tells that others wait. What a transaction in progress writes gets a later place; of one message, no event can come before one
// that happened before: its row was locked until that was committed.
//
// An event of a bulk tells how many of its messages are in each status. They are counted, which may take a while, beside the transaction, and not before
// what happened is visible: what ended the bulk is in the count. A call that meets such an event runs two transactions.
func (s *Store) SettleEvents(ctx context.Context, tenantKey int64) (more bool, err error) {
	more, bulks, err := s.settleEvents(ctx, tenantKey, nil)
	if err != nil || len(bulks) == 0 {
		return more, err
	}
	counts, err := s.BulkCounts(ctx, tenantKey, bulks)
	if err != nil {
		return false, err
	}
	more, _, err = s.settleEvents(ctx, tenantKey, counts)
	return more, err
}

// settleEvents is SettleEvents for the events before the first one of a bulk that counts does not know; uncounted are all such bulks among the next events.
func (s *Store) settleEvents(ctx context.Context, tenantKey int64, counts map[string]gateway.BulkCounts) (more bool, uncounted []string, err error) {
	err = s.write(ctx, "settle events", func(t *tx) error {
		more, uncounted = false, nil
		last, err := t.lastPlace(tenantKey)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := t.query(selectOutbox, tenantKey, SettleBatch)
		list, err := all(rows, err, scanOutbox)
		if err != nil {
			return err
		}
		full := len(list) == SettleBatch
		list, uncounted, err = complete(list, counts)
		more = full || len(uncounted) > 0
		if err != nil || len(list) == 0 {
			return err
		}
		seqs := make([]int64, len(list))
		notices := make([]gateway.Notice, len(list))
		for i, o := range list {
			last++
			o.ID, o.Pos, o.TenantKey = gateway.NoticeID(last), last, tenantKey
			seqs[i], notices[i] = o.seq, o.Notice
		}
		for part := range byParts(seqs) {
			args := make([]any, len(part))
			for i, seq := range part {
				args[i] = seq
			}
			if _, err := t.exec(`DELETE FROM event_outbox WHERE seq IN (`+placeholders(1, len(part))+`)`, args...); err != nil {
				return err
			}
		}
		if err := t.storeNotices(notices); err != nil {
			return err
		}
		if err := t.fanOut(tenantKey, notices); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE event_streams SET last_pos = $1 WHERE tenant_key = $2`, last, tenantKey)
		return err
	})
	return more, uncounted, err
}

// lastPlace locks the stream of a tenant, whose places are given one after the other, and returns the place behind which the next is given: the last one, or
// by now the time. So a database that was restored gives none that readers have seen. sql.ErrNoRows: there is no stream.
func (t *tx) lastPlace(tenantKey int64) (last int64, err error) {
	var now int64
	err = t.row(t.s.d.sql(`SELECT last_pos, {now} FROM event_streams WHERE tenant_key = $1 {lock}`), tenantKey).Scan(&last, &now)
	return max(last, now), err
}

func (t *tx) storeNotices(list []gateway.Notice) error {
	return insertParts(t, `INSERT INTO events (tenant_key, pos, id, kind, subject, at, data) VALUES `, list, func(n gateway.Notice) []any {
		return []any{n.TenantKey, n.Pos, n.ID, n.Kind, n.Subject, micros(n.At), string(n.Data)}
	})
}

// insertParts runs an INSERT that ends in VALUES for all rows, some at a time.
func insertParts[T any](t *tx, insert string, rows []T, columns func(T) []any) error {
	for part := range byParts(rows) {
		var values strings.Builder
		var args []any
		for i, row := range part {
			if i > 0 {
				values.WriteString(", ")
			}
			list := columns(row)
			values.WriteString("(" + placeholders(len(args)+1, len(list)) + ")")
			args = append(args, list...)
		}
		if _, err := t.exec(insert+values.String(), args...); err != nil {
			return err
		}
	}
	return nil
}

// byParts cuts a list into parts of 100, 10 and 1: statements for parts of any size would be as many prepared ones.
func byParts[T any](list []T) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for _, size := range []int{100, 10, 1} {
			for ; len(list) >= size; list = list[size:] {
				if !yield(list[:size]) {
					return
				}
			}
		}
	}
}

// outboxed is an event that has no place yet, and perhaps no data.
type outboxed struct {
	gateway.Notice
	seq          int64
	detail, code string
	message      gateway.Message // as far as its event needs it
}

const selectOutbox = `SELECT o.seq, o.kind, o.subject, o.at, o.detail, o.code, o.data,
		COALESCE(m.recipient, ''), COALESCE(m.type, ''), COALESCE(m.reference, ''), COALESCE(m.bulk_id, ''), COALESCE(m.stanza_id, '')
	FROM event_outbox o LEFT JOIN messages m ON o.data = '' AND m.id = o.subject AND m.tenant_key = o.tenant_key
	WHERE o.tenant_key = $1 ORDER BY o.seq LIMIT $2`

func scanOutbox(row scanner) (o outboxed, err error) {
	var at int64
	var data string
	m := &o.message
	err = row.Scan(&o.seq, &o.Kind, &o.Subject, &at, &o.detail, &o.code, &data, &m.To, &m.Type, &m.Reference, &m.BulkID, &m.WhatsAppID)
	o.At, o.Data = fromMicros(at), json.RawMessage(data)
	return o, err
}

// complete gives those of list their data that have none: what may change from what the trigger wrote, the rest from the message. It returns those
// before the first one of a bulk that counts does not know, and all such bulks.
func complete(list []outboxed, counts map[string]gateway.BulkCounts) (complete []outboxed, uncounted []string, err error) {
	for i := range list {
		o := &list[i]
		if len(o.Data) > 0 {
			continue
		}
		family, state, _ := strings.Cut(string(o.Kind), ".")
		switch family {
		case "message":
			o.message.ID = o.Subject
			o.Data = gateway.MessageNotice(&o.message, gateway.Status(state), o.detail, gateway.Code(o.code))
		case "session":
			o.Data = gateway.SessionNotice(gateway.SessionState(state), gateway.SessionReason(o.code), o.detail)
		case "bulk":
			c, known := counts[o.Subject]
			if !known {
				if uncounted == nil {
					complete = list[:i]
				}
				uncounted = append(uncounted, o.Subject)
				continue
			}
			o.Data = gateway.BulkNotice(o.Subject, o.detail, gateway.BulkStatus(state), o.code, c)
		default:
			return nil, nil, fmt.Errorf("an event of kind %s has no data", o.Kind)
		}
	}
	if uncounted == nil {
		complete = list
	}
	return complete, uncounted, nil
}

// Notices reads the events of a tenant behind the place after, oldest first, that one of filters names (gateway.ValidEventFilter); no filters name
// all. limit is at most SettleBatch.
func (s *Store) Notices(ctx context.Context, tenantKey, after int64, filters []string, limit int) ([]gateway.Notice, error) {
	args := []any{tenantKey, after, min(limit, SettleBatch)}
	wanted, args := eventFilter(filters, args)
	rows, err := s.read(ctx, selectNotice+`WHERE e.tenant_key = $1 AND e.pos > $2`+wanted+` ORDER BY e.pos LIMIT $3`, args...)
	list, err := all(rows, err, scanNotice)
	if err != nil {
		return nil, s.wrap("read events", err)
	}
	return list, nil
}

// NoticesFrom is the place behind which every event of a tenant is kept: nothing was removed that has a later one. 0: there is no stream.
func (s *Store) NoticesFrom(ctx context.Context, tenantKey int64) (pos int64, err error) {
	err = s.readRow(ctx, `SELECT CASE WHEN since > forgotten_pos THEN since ELSE forgotten_pos END FROM event_streams WHERE tenant_key = $1`, tenantKey).Scan(&pos)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, s.wrap("look for the oldest event", err)
	}
	return pos, nil
}

const selectNotice = `SELECT e.id, e.tenant_key, t.id, e.pos, e.kind, e.subject, e.at, e.data FROM events e JOIN tenants t ON t.tenant_key = e.tenant_key `

func scanNotice(row scanner) (n gateway.Notice, err error) {
	var at int64
	var data string
	err = row.Scan(&n.ID, &n.TenantKey, &n.TenantID, &n.Pos, &n.Kind, &n.Subject, &at, &data)
	n.At, n.Data = fromMicros(at), json.RawMessage(data)
	return n, err
}

// eventFilter is the condition of filters on the kind of an event, with its arguments behind args. The last is repeated up to a power of two, so
// that there are few such statements.
func eventFilter(filters []string, args []any) (string, []any) {
	if len(filters) == 0 || slices.Contains(filters, "*") {
		return "", args
	}
	var kinds []string
	for i := range 1 << bits.Len(uint(len(filters)-1)) {
		from := filters[min(i, len(filters)-1)]
		until := from
		if family, all := strings.CutSuffix(from, ".*"); all {
			from, until = family+".", family+"/" // what follows the point
		}
		args = append(args, from, until)
		kinds = append(kinds, `e.kind >= $`+strconv.Itoa(len(args)-1)+` AND e.kind <= $`+strconv.Itoa(len(args)))
	}
	return ` AND (` + strings.Join(kinds, " OR ") + `)`, args
}
