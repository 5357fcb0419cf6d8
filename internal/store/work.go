package store

import (
	"context"
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
			(SELECT m.seq FROM messages m WHERE m.tenant_key = s.tenant_key AND m.status IN ('queued', 'sending')
				ORDER BY m.lane, m.phase, m.next_attempt_at, m.seq LIMIT 1) > 0
			OR EXISTS (SELECT 1 FROM bulks b WHERE b.tenant_key = s.tenant_key AND b.finished_at = 0))
		ORDER BY s.tenant_key`
	selectTimed = `SELECT id FROM messages WHERE tenant_key = $1 AND lane = $2 AND status IN ('queued', 'sending')
		AND phase = $3 AND next_attempt_at <= $4 ORDER BY next_attempt_at, seq LIMIT $5`
	selectReady = `SELECT id FROM messages WHERE tenant_key = $1 AND lane = $2 AND status IN ('queued', 'sending')
		AND phase = $3 AND next_attempt_at = 0 ORDER BY seq LIMIT $4`
	countPostponed = `SELECT COUNT(*) FROM (SELECT 1 FROM messages
		WHERE tenant_key = $1 AND lane = $2 AND status IN ('queued', 'sending')
			AND phase IN ('backoff', 'held') AND next_attempt_at > $3 LIMIT $4) postponed`
	selectExpirable = selectMessage + `WHERE status IN ('queued', 'sending') AND expires_at > 0 AND expires_at <= $1
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
// longest due first, then what waits for its first attempt, oldest first. At most limit, and no more rows are read.
func (s *Store) Unfinished(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) ([]gateway.Ticket, error) {
	tickets := []gateway.Ticket{}
	add := func(query string, args ...any) error {
		if limit <= len(tickets) {
			return nil
		}
		rows, err := s.read(ctx, query, append(args, limit-len(tickets))...)
		part, err := all(rows, err, func(row scanner) (gateway.Ticket, error) {
			ticket := gateway.Ticket{TenantKey: tenantKey, Lane: lane}
			return ticket, row.Scan(&ticket.MessageID)
		})
		tickets = append(tickets, part...)
		return err
	}
	now := micros(s.now())
	for _, do := range []func() error{
		func() error { return add(selectTimed, tenantKey, lane, gateway.PhaseBackoff, now) },
		func() error { return add(selectTimed, tenantKey, lane, gateway.PhaseHeld, now) },
		func() error { return add(selectReady, tenantKey, lane, gateway.PhaseOffline) },
		func() error { return add(selectReady, tenantKey, lane, gateway.PhaseWaiting) },
	} {
		if err := do(); err != nil {
			return nil, s.wrap("list unfinished messages", err)
		}
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
