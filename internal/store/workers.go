package store

import (
	"context"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// forgetWorkers is how long the row of a worker that died is kept.
const forgetWorkers = time.Hour

// SeeWorker says that w lives and goes on doing so for ttl. Its first call is w's start.
func (s *Store) SeeWorker(ctx context.Context, w gateway.Worker, ttl time.Duration) error {
	return s.write(ctx, "see worker", func(t *tx) error {
		_, err := t.exec(s.d.sql(`INSERT INTO workers (id, host, pid, started_at, seen_at, live_until)
			VALUES ($1, $2, $3, {now}, {now}, {now} + $4)
			ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, live_until = excluded.live_until`),
			w.ID, w.Host, w.PID, ttl.Microseconds())
		if err != nil {
			return err
		}
		_, err = t.exec(s.d.sql(`DELETE FROM workers WHERE live_until < {now} - $1`), forgetWorkers.Microseconds())
		return err
	})
}

// RetireWorker says that the worker named takes no more sessions: others may take its share at once.
func (s *Store) RetireWorker(ctx context.Context, id string) error {
	return s.write(ctx, "retire worker", func(t *tx) error {
		_, err := t.exec(`DELETE FROM workers WHERE id = $1`, id)
		return err
	})
}

// Workers lists the live workers with what they have to do, in the order of their start.
func (s *Store) Workers(ctx context.Context) ([]gateway.Worker, error) {
	// What waits is counted per worker by the index of unfinished messages; finished ones are not looked at.
	rows, err := s.read(ctx, s.d.sql(`SELECT w.id, w.host, w.pid, w.started_at, w.seen_at, COUNT(s.tenant_key),
			COUNT(CASE WHEN s.state = 'online' THEN 1 END),
			(SELECT COUNT(*) FROM sessions o JOIN messages m ON m.tenant_key = o.tenant_key
				WHERE o.owner = w.id AND o.lease_until > {now} AND m.phase NOT IN ('', 'schedule'))
		FROM workers w LEFT JOIN sessions s ON s.owner = w.id AND s.lease_until > {now}
		WHERE w.live_until > {now}
		GROUP BY w.id, w.host, w.pid, w.started_at, w.seen_at ORDER BY w.started_at, w.id`))
	list, err := all(rows, err, func(row scanner) (w gateway.Worker, err error) {
		var started, seen int64
		err = row.Scan(&w.ID, &w.Host, &w.PID, &started, &seen, &w.Sessions, &w.Online, &w.Waiting)
		w.StartedAt, w.SeenAt = fromMicros(started), fromMicros(seen)
		return w, err
	})
	if err != nil {
		return nil, s.wrap("list workers", err)
	}
	return list, nil
}

// Shares tells who holds how many sessions. A session is an orphan when nobody has held it for longer than patience.
func (s *Store) Shares(ctx context.Context, patience time.Duration) (gateway.Shares, error) {
	shares := gateway.Shares{Held: map[string]int{}}
	err := s.readRow(ctx, s.d.sql(`SELECT COUNT(*), COUNT(CASE WHEN owner = '' OR lease_until <= {now} THEN 1 END),
			COUNT(CASE WHEN lease_until <= {now} - $1 THEN 1 END) FROM sessions`), patience.Microseconds()).
		Scan(&shares.Total, &shares.Free, &shares.Orphans)
	if err != nil {
		return gateway.Shares{}, s.wrap("count sessions", err)
	}
	rows, err := s.read(ctx, s.d.sql(`SELECT w.id, COUNT(s.tenant_key) FROM workers w
		LEFT JOIN sessions s ON s.owner = w.id AND s.lease_until > {now}
		WHERE w.live_until > {now} GROUP BY w.id`))
	_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
		var id string
		var held int
		err = row.Scan(&id, &held)
		shares.Held[id] = held
		return none, err
	})
	if err != nil {
		return gateway.Shares{}, s.wrap("count sessions of workers", err)
	}
	return shares, nil
}

// Spare lists up to limit sessions of owner in the order in which to hand them over: those without a number cost nothing, those
// with nothing to send little. A session whose pairing is under way is not handed over, nor one that holds still until a
// person does something: another worker would connect it.
func (s *Store) Spare(ctx context.Context, owner string, limit int) ([]gateway.Fence, error) {
	rows, err := s.read(ctx, s.d.sql(`SELECT s.tenant_key, s.owner, s.epoch FROM sessions s
		WHERE s.owner = $1 AND s.lease_until > {now} AND s.state NOT IN ('pairing', 'replaced', 'outdated')
			AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.tenant_key = s.tenant_key)
		ORDER BY CASE WHEN s.jid = '' THEN 0 WHEN NOT EXISTS (
				SELECT 1 FROM messages m WHERE m.tenant_key = s.tenant_key AND m.phase NOT IN ('', 'schedule')) THEN 1 ELSE 2 END,
			s.tenant_key DESC LIMIT $2`), owner, limit)
	list, err := all(rows, err, scanFence)
	if err != nil {
		return nil, s.wrap("list sessions to hand over", err)
	}
	return list, nil
}

// ReleaseSession gives up the lease that f proves, if it is still held, and lets another worker take it at once.
func (s *Store) ReleaseSession(ctx context.Context, f gateway.Fence) error {
	return s.write(ctx, "release session", func(t *tx) error {
		_, err := t.exec(s.d.sql(`UPDATE sessions SET owner = '', lease_until = {now} WHERE tenant_key = $1 AND owner = $2 AND epoch = $3`),
			f.TenantKey, f.Owner, f.Epoch)
		return err
	})
}
