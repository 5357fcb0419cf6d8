package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// ForgetEvents removes what happened before a time, tenant after tenant, with what is still to be delivered of it, and the lines of the logs, up to
// limit of each in one transaction; it ends streams that nobody has listened to since. It returns how
// many events, deliveries and lines it removed.
func (s *Store) ForgetEvents(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	keys, err := s.keysOf(ctx, "look for old events", selectForgettable+` ORDER BY s.tenant_key`, micros(before), limit)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		for n := 1; n > 0; {
			n, err = s.ForgetEventsOf(ctx, key, before, limit)
			removed += n
			if err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

func (s *Store) keysOf(ctx context.Context, what, query string, args ...any) ([]int64, error) {
	rows, err := s.read(ctx, query, args...)
	keys, err := all(rows, err, func(row scanner) (key int64, err error) { return key, row.Scan(&key) })
	if err != nil {
		return nil, s.wrap(what, err)
	}
	return keys, nil
}

const (
	// selectForgettable lists the streams of which something is to be removed. Attempts have their numbers in the order in which they ended, so that
	// nobody pays for an index of their time: the oldest $2 of each webhook are looked at.
	selectForgettable = `SELECT s.tenant_key FROM event_streams s WHERE (
		(SELECT e.at FROM events e WHERE e.tenant_key = s.tenant_key ORDER BY e.at LIMIT 1) < $1
		OR EXISTS (SELECT 1 FROM webhook_endpoints w WHERE w.tenant_key = s.tenant_key
			AND (SELECT MIN(head.at) FROM (SELECT a.at FROM webhook_attempts a WHERE a.endpoint_id = w.id ORDER BY a.id LIMIT $2) head) < $1)
		OR s.heard_at < $1 AND ` + unheard + `)`
	// unheard is a stream in which there is nothing, and that nobody is told of.
	unheard = `NOT EXISTS (SELECT 1 FROM webhook_endpoints w WHERE w.tenant_key = s.tenant_key)
		AND NOT EXISTS (SELECT 1 FROM events e WHERE e.tenant_key = s.tenant_key) AND NOT EXISTS (SELECT 1 FROM event_outbox o WHERE o.tenant_key = s.tenant_key)`
)

// ForgetEventsOf removes up to limit events of a tenant that happened before a time, as many deliveries, and as many lines of each webhook's log. It
// returns how many in all; 0: nothing is left, which is seen by a read.
func (s *Store) ForgetEventsOf(ctx context.Context, key int64, before time.Time, limit int) (removed int, err error) {
	due, err := s.keysOf(ctx, "look for old events", selectForgettable+` AND s.tenant_key = $3`, micros(before), limit, key)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	err = s.write(ctx, "remove old events", func(t *tx) error {
		removed = 0
		var one int // locked: nothing is added behind the look for a listener, and nothing replayed that is about to go
		err := t.row(s.d.sql(`SELECT 1 FROM event_streams WHERE tenant_key = $1 {lock}`), key).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		remove := func(query string, args ...any) error {
			n, err := t.exec(query, args...)
			removed += int(n)
			return err
		}
		if err := remove(`DELETE FROM webhook_deliveries WHERE tenant_key = $1 AND endpoint_id IN (SELECT id FROM webhook_endpoints WHERE tenant_key = $1)
			AND pos IN (SELECT pos FROM events WHERE tenant_key = $1 AND at < $2 ORDER BY at, pos LIMIT $3)`, key, micros(before), limit); err != nil {
			return err
		}
		rows, err := t.query(`SELECT id FROM webhook_endpoints WHERE tenant_key = $1`, key)
		hooks, err := all(rows, err, func(row scanner) (id string, err error) { return id, row.Scan(&id) })
		if err != nil {
			return err
		}
		for _, id := range hooks {
			if err := remove(`DELETE FROM webhook_attempts WHERE id IN (SELECT id FROM
				(SELECT a.id, a.at FROM webhook_attempts a WHERE a.endpoint_id = $1 ORDER BY a.id LIMIT $3) head WHERE at < $2)`, id, micros(before), limit); err != nil {
				return err
			}
		}
		if _, err := t.exec(`UPDATE event_streams SET forgotten_pos = COALESCE((SELECT MAX(gone.pos) FROM
				(SELECT e.pos FROM events e WHERE e.tenant_key = $1 AND e.at < $2 ORDER BY e.at, e.pos LIMIT $3) gone
				WHERE gone.pos > forgotten_pos), forgotten_pos) WHERE tenant_key = $1`, key, micros(before), limit); err != nil {
			return err
		}
		if err := remove(`DELETE FROM events WHERE tenant_key = $1 AND pos IN (SELECT pos FROM events WHERE tenant_key = $1 AND at < $2 ORDER BY at, pos LIMIT $3)`,
			key, micros(before), limit); err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM event_streams WHERE tenant_key IN (SELECT s.tenant_key FROM event_streams s
			WHERE s.tenant_key = $1 AND s.heard_at < $2 AND `+unheard+`)`, key, micros(before))
		return err
	})
	return removed, err
}
