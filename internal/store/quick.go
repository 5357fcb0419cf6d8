package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// On Postgres a change of one message is read, decided here, and written by one statement that does so only if nobody has written the row in
// between: two trips to the server, one when the row is known from its claim, instead of four or five, and no lock while the answer is on
// its way. Whoever was outrun, and whatever takes more than one statement, takes the way with a transaction and locks (change.go), which
// every database can go. See docs/decisions/0011.

// errOutrun: the row, or the lease, is not as it was seen, or the change is not one for this way. Nothing was written.
var errOutrun = errors.New("somebody else was faster")

// errOtherWay is errOutrun for what will not be otherwise at the next look.
var errOtherWay = fmt.Errorf("not this way: %w", errOutrun)

// version tells one state of a row from every other: the transaction that wrote it.
type version string

const (
	selectVersioned = `SELECT messages.xmin::text, ` + messageColumns + ` FROM messages `
	// The oldest of the lane, up to 16 of those that wait and were not tried, and of those that were given back; or the one with that id alone when
	// that waits for its time. Two look-ups in the index, as in selectClaimable.
	// With it comes whether the lease holds and lets messages be claimed.
	selectAhead = `WITH own AS (SELECT n.id, n.tenant_key, n.lane, n.phase FROM messages n
			WHERE n.id = $1 AND n.tenant_key = $2 AND n.phase NOT IN ('', 'schedule')),
		ahead AS (SELECT w.id FROM own, LATERAL (` + oldestAhead + ` AND o.phase = 'waiting' ORDER BY o.seq LIMIT 16) w WHERE own.phase IN ('waiting', 'offline')
			UNION ALL SELECT w.id FROM own, LATERAL (` + oldestAhead + ` AND o.phase = 'offline' ORDER BY o.seq LIMIT 16) w WHERE own.phase IN ('waiting', 'offline')
			UNION ALL SELECT own.id FROM own WHERE own.phase NOT IN ('waiting', 'offline'))
		SELECT messages.xmin::text, ` + mayClaim + `, ` + restrictedColumn + `, ` + messageColumns + `
		FROM messages WHERE id IN (SELECT id FROM ahead) ORDER BY seq LIMIT 16`
	oldestAhead    = `SELECT o.id, o.seq FROM messages o WHERE o.tenant_key = own.tenant_key AND o.lane = own.lane AND o.next_attempt_at = 0`
	selectMayClaim = `SELECT ` + mayClaim
	mayClaim       = `EXISTS (SELECT 1 FROM sessions l WHERE l.tenant_key = $2 AND l.owner = $3 AND l.epoch = $4 AND l.lease_until > {now}
		AND NOT l.queue_paused AND NOT l.queue_held) AND $1::text <> ''`
)

// quick tells whether this database has the quick way.
func (s *Store) quick() bool { return s.d.writers > 1 }

// quickTries is how often a change is tried this way before the way with locks.
const quickTries = 3

// claimQuickly is Claim. The claim is visible to everybody when it returns, but need not be on disk: what the attempt has to write before
// anything of it goes out is, with everything before it, and is refused without the claim (CheckClaimIn).
func (s *Store) claimQuickly(ctx context.Context, f gateway.Fence, ticket gateway.Ticket,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (*gateway.Message, error) {
	const what = "claim message"
	if s.recent.ended(f.TenantKey, ticket.MessageID) {
		return nil, nil // for ever
	}
	for range quickTries {
		m, seen, err := s.nextClaimable(ctx, what, f, ticket)
		if m == nil || err != nil {
			return nil, err
		}
		seen, err = s.claimSeen(ctx, what, f, m, seen, apply)
		if err == nil {
			s.recent.put(*m, seen)
			return m, nil
		}
		s.ahead.drop(f.TenantKey) // else the next claim would pass over this one
		if errors.Is(err, errUnknown) {
			return s.claimedAfterAll(ctx, m, err)
		}
		if !errors.Is(err, errOutrun) || errors.Is(err, errOtherWay) {
			return nil, err
		}
	}
	return nil, errOutrun
}

// claimSeen lets apply begin an attempt of m and stores that, if m is as it was seen and the lease f lets it.
func (s *Store) claimSeen(ctx context.Context, what string, f gateway.Fence, m *gateway.Message, seen version,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (version, error) {
	if !m.Due(s.now()) {
		return "", errOtherWay
	}
	events, err := s.applied(m, apply)
	if err != nil {
		return "", s.wrap(what, err)
	}
	if m.Status != gateway.StatusSending || m.InFlight == "" || len(events) != 1 {
		return "", errOtherWay // it has ended, and that is to be on disk
	}
	c := &claim{fence: f, row: seenRow{m: *m, seen: seen, events: events}}
	err = s.writeShared(ctx, s.claims, what, &job{claim: c})
	return c.wrote, err
}

// nextClaimable is the message that ticket entitles to, and which state of it that is; nil when there is none.
func (s *Store) nextClaimable(ctx context.Context, what string, f gateway.Fence, ticket gateway.Ticket) (*gateway.Message, version, error) {
	if m, seen, ok := s.ahead.next(f, ticket, time.Now()); ok {
		return &m, seen, nil
	}
	var (
		held bool
		list []seenMessage
	)
	read := time.Now()
	err := s.onConn(ctx, what, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := conn.QueryContext(ctx, s.d.sql(selectAhead), ticket.MessageID, f.TenantKey, f.Owner, f.Epoch)
		list, err = all(rows, err, func(row scanner) (v seenMessage, err error) {
			var restricted bool
			v.m, err = scanMessage(behind{row, []any{&v.seen, &held, &restricted}})
			v.m.Restricted = restricted
			return v, err
		})
		if err == nil && len(list) == 0 {
			err = conn.QueryRowContext(ctx, s.d.sql(selectMayClaim), ticket.MessageID, f.TenantKey, f.Owner, f.Epoch).Scan(&held)
		}
		if err != nil && ctx.Err() != nil {
			return s.wrap(what, context.Cause(ctx))
		}
		if err != nil {
			return s.wrap(what, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, "", err
	case !held:
		return nil, "", errOutrun // the other way says why
	case len(list) == 0:
		return nil, "", nil
	}
	s.ahead.put(f, ticket, list[1:], read)
	return &list[0].m, list[0].seen, nil
}

// updateQuickly is Update without a fence.
func (s *Store) updateQuickly(ctx context.Context, tenantKey int64, id string,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (gateway.Message, error) {
	return s.changeQuickly(ctx, "update message", recentKey{tenantKey, id}, recentFor, `WHERE tenant_key = $1 AND id = $2`, apply)
}

// receiveQuickly is Receive for one stanza. Members of groups are counted the other way.
func (s *Store) receiveQuickly(ctx context.Context, tenantKey int64, r gateway.Receipt,
	apply func(*gateway.Message, gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error),
) error {
	group := false
	_, err := s.changeQuickly(ctx, "record receipt", recentKey{tenantKey, r.StanzaIDs[0]}, 0, `WHERE tenant_key = $1 AND stanza_id = $2`,
		func(m *gateway.Message) ([]gateway.Event, error) {
			if group = m.IsGroup(); group {
				return nil, errOtherWay
			}
			_, events, err := apply(m, gateway.Confirmed{Delivered: !m.DeliveredAt.IsZero(), Read: !m.ReadAt.IsZero()})
			return events, err
		})
	return err
}

// changeQuickly changes the message that key names and where finds, together with what else is to be changed: as it is remembered, or as it is
// read when that is not how it is.
func (s *Store) changeQuickly(ctx context.Context, what string, key recentKey, maxAge time.Duration, where string,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (gateway.Message, error) {
	c := &change{key: key, maxAge: maxAge, apply: apply}
	_, _, _, known := s.recent.get(key, maxAge)
	for range quickTries {
		if !known {
			c.readAt = time.Now()
			m, seen, err := s.see(ctx, what, where, key.tenantKey, key.name)
			if err != nil {
				return gateway.Message{}, err
			}
			c.read = &seenMessage{m, seen}
		}
		err := s.writeShared(ctx, s.changes, what, &job{change: c})
		switch {
		case err == nil:
			return c.m, nil
		case !errors.Is(err, errOutrun), errors.Is(err, errOtherWay):
			return gateway.Message{}, err
		}
		known = false
	}
	return gateway.Message{}, errOutrun
}

// see reads a message and which state of it that is. One that is not there is left to the other way.
func (s *Store) see(ctx context.Context, what, where string, args ...any) (m gateway.Message, seen version, err error) {
	err = s.onConn(ctx, what, func(ctx context.Context, conn *sql.Conn) (err error) {
		m, err = scanMessage(behind{conn.QueryRowContext(ctx, selectVersioned+where, args...), []any{&seen}})
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return errOutrun
		case err != nil && ctx.Err() != nil:
			return s.wrap(what, context.Cause(ctx))
		case err != nil:
			return s.wrap(what, err)
		}
		return nil
	})
	return m, seen, err
}

// applied is apply with its panic contained and the times as they will be stored.
func (s *Store) applied(m *gateway.Message, apply func(*gateway.Message) ([]gateway.Event, error)) (events []gateway.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if events, err = apply(m); err != nil {
		return nil, err
	}
	storedTimes(m)
	return events, nil
}
