package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// What a sweep of the relay asks about each tenant, or of all: however long the backlog is, none reads more rows than it returns or
// counts (TestSweepsReadNoMoreThanTheirWindow).
const (
	// The order makes it a look into the index: for EXISTS Postgres reads the whole table when many messages of some tenant wait, and
	// does so again for each tenant that has none.
	selectWithWork = `SELECT s.tenant_key, s.owner, s.epoch FROM sessions s
		WHERE s.owner = $1 AND s.lease_until > {now} AND (
			(SELECT m.seq FROM messages m WHERE m.tenant_key = s.tenant_key AND m.phase NOT IN ('', 'schedule')
				ORDER BY m.lane, m.phase, m.next_attempt_at, m.seq LIMIT 1) > 0
			OR EXISTS (SELECT 1 FROM bulks b WHERE b.tenant_key = s.tenant_key AND b.finished_at = 0))
		ORDER BY s.tenant_key`
	// In one trip, for a sweep asks it about every lane of every tenant with work; each part ends at the limit by itself.
	selectUnfinished = `SELECT 1, next_attempt_at, seq, id FROM (` + dueIn + ` AND phase = 'backoff' AND next_attempt_at <= $3 ORDER BY next_attempt_at, seq LIMIT $4) a
		UNION ALL SELECT 2, next_attempt_at, seq, id FROM (` + dueIn + ` AND phase = 'held' AND next_attempt_at <= $3 ORDER BY next_attempt_at, seq LIMIT $4) b
		UNION ALL SELECT 3, next_attempt_at, seq, id FROM (` + dueIn + ` AND phase = 'offline' AND next_attempt_at = 0 ORDER BY seq LIMIT $4) c
		UNION ALL SELECT 4, next_attempt_at, seq, id FROM (` + dueIn + ` AND phase = 'waiting' AND next_attempt_at = 0 ORDER BY seq LIMIT $4) d`
	dueIn          = `SELECT next_attempt_at, seq, id FROM messages WHERE tenant_key = $1 AND lane = $2 AND phase NOT IN ('', 'schedule')`
	countPostponed = `SELECT COUNT(*) FROM (SELECT 1 FROM messages
		WHERE tenant_key = $1 AND lane = $2 AND phase NOT IN ('', 'schedule')
			AND phase IN ('backoff', 'held') AND next_attempt_at > $3 LIMIT $4) postponed`
	selectExpirable = selectMessage + `WHERE phase NOT IN ('', 'schedule') AND expires_at > 0 AND expires_at <= $1
		AND in_flight = '' ORDER BY expires_at LIMIT $2`
	selectElsewhere = selectMessage + `WHERE tenant_key = $1 AND in_flight <> '' AND in_flight <> $2
		ORDER BY seq LIMIT $3`
)

// TenantsWithWork lists, under the leases that owner holds, the tenants with messages or bulks that are not finished.
func (s *Store) TenantsWithWork(ctx context.Context, owner string) ([]gateway.Fence, error) {
	rows, err := s.read(ctx, s.d.sql(selectWithWork), owner)
	list, err := all(rows, err, scanFence)
	if err != nil {
		return nil, s.wrap("list tenants with work", err)
	}
	return list, nil
}

// Unfinished lists tickets for what could be claimed in a lane at this moment: first the retries that are due, the
// longest due first, then what was held, what was given back, and what waits for its first attempt, oldest first. At most limit, and no
// more rows of any of these are read.
func (s *Store) Unfinished(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) ([]gateway.Ticket, error) {
	type place struct {
		kind, at, seq int64
		id            string
	}
	rows, err := s.read(ctx, selectUnfinished, tenantKey, lane, micros(s.now()), limit)
	places, err := all(rows, err, func(row scanner) (p place, err error) { return p, row.Scan(&p.kind, &p.at, &p.seq, &p.id) })
	if err != nil {
		return nil, s.wrap("list unfinished messages", err)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
	})
	tickets := make([]gateway.Ticket, min(len(places), limit))
	for i := range tickets {
		tickets[i] = gateway.Ticket{TenantKey: tenantKey, MessageID: places[i].id, Lane: lane}
	}
	return tickets, nil
}

// Postponed counts the messages of a lane whose next attempt is still to come, up to limit: the queue holds a delayed
// ticket for each.
func (s *Store) Postponed(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) (int, error) {
	var n int
	err := s.readRow(ctx, countPostponed, tenantKey, lane, micros(s.now()), limit).Scan(&n)
	if err != nil {
		return 0, s.wrap("count postponed messages", err)
	}
	return n, nil
}

// Expirable lists messages of all tenants that wait although their ExpiresAt has come at now, longest late first.
func (s *Store) Expirable(ctx context.Context, now time.Time, limit int) ([]gateway.Message, error) {
	rows, err := s.read(ctx, selectExpirable, micros(now), limit)
	list, err := all(rows, err, scanMessage)
	if err != nil {
		return nil, s.wrap("list expired messages", err)
	}
	return list, nil
}

// InFlightElsewhere lists the messages of the tenant of f, whose lease must hold, that a process other than instance
// has in hand: that process has lost the lease. gateway.ErrFenced.
func (s *Store) InFlightElsewhere(ctx context.Context, f gateway.Fence, instance string, limit int) ([]gateway.Message, error) {
	if err := s.CheckFence(ctx, f); err != nil {
		return nil, err
	}
	rows, err := s.read(ctx, selectElsewhere, f.TenantKey, instance, limit)
	list, err := all(rows, err, scanMessage)
	if err != nil {
		return nil, s.wrap("list messages in flight elsewhere", err)
	}
	return list, nil
}
