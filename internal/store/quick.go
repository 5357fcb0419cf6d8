package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
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
	oldestAhead = `SELECT o.id, o.seq FROM messages o WHERE o.tenant_key = own.tenant_key AND o.lane = own.lane AND o.next_attempt_at = 0`
	selectMayClaim = `SELECT ` + mayClaim
	mayClaim       = `EXISTS (SELECT 1 FROM sessions l WHERE l.tenant_key = $2 AND l.owner = $3 AND l.epoch = $4 AND l.lease_until > {now}
		AND NOT l.queue_paused AND NOT l.queue_held) AND $1::text <> ''`

	updateSeen = updateMessage + ` AND xmin::text = $22 `
	// The last row of history and the change stand or fall together.
	updateSeenWithEvent = `WITH changed AS (` + updateSeen + ` RETURNING id) ` + insertNextEvent + ` RETURNING xmin::text`
	insertNextEvent     = `INSERT INTO message_events (message_id, n, status, at, detail)
		SELECT id, (SELECT COALESCE(MAX(e.n), 1) + 1 FROM message_events e WHERE e.message_id = changed.id), $23, $24, $25 FROM changed `
	// The lease's row is shared until the commit, as in checkClaim. The commit does not wait for the disk.
	claimSeen = `WITH held AS (SELECT 1 FROM sessions WHERE tenant_key = $26 AND owner = $27 AND epoch = $28 AND lease_until > {now}
			AND NOT queue_paused AND NOT queue_held {share}),
		changed AS (` + updateSeen + ` AND EXISTS (SELECT 1 FROM held) RETURNING id)
		` + insertNextEvent + ` WHERE set_config('synchronous_commit', 'off', TRUE) <> '' RETURNING xmin::text`
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
	events, err := s.applied(what, m, apply)
	if err != nil {
		return "", err
	}
	if m.Status != gateway.StatusSending || m.InFlight == "" || len(events) != 1 {
		return "", errOtherWay // it has ended, and that is to be on disk
	}
	return s.put(ctx, what, s.d.sql(claimSeen), append(seenArgs(m, seen, events[0]), f.TenantKey, f.Owner, f.Epoch))
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
				return nil, errOutrun
			}
			_, events, err := apply(m, gateway.Confirmed{Delivered: !m.DeliveredAt.IsZero(), Read: !m.ReadAt.IsZero()})
			return events, err
		})
	return err
}

// changeQuickly changes the message that key names and where finds.
func (s *Store) changeQuickly(ctx context.Context, what string, key recentKey, maxAge time.Duration, where string,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (gateway.Message, error) {
	// Those of this process come one after the other instead of outrunning each other: an outcome and the receipts that follow it at once.
	done, err := s.recent.lock(ctx, key)
	if err != nil {
		return gateway.Message{}, fmt.Errorf("%s: %w", what, err)
	}
	defer done()
	m, seen, known := s.recent.get(key, maxAge)
	for range quickTries {
		if !known {
			if m, seen, err = s.see(ctx, what, where, key.tenantKey, key.name); err != nil {
				return gateway.Message{}, err
			}
		}
		wrote, err := s.changeSeen(ctx, what, &m, seen, apply)
		switch {
		case known && (err != nil || wrote == ""):
			// What is remembered is not believed, only tried.
		case err == nil && wrote == "":
			return m, nil
		case err == nil:
			s.recent.put(m, wrote)
			if !m.Status.Final() {
				s.ahead.drop(m.TenantKey) // it may be the oldest again
			}
			return m, nil
		case !errors.Is(err, errOutrun):
			s.recent.drop(key)
			return gateway.Message{}, err
		}
		known = false
		s.recent.drop(key)
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

// changeSeen applies a change to m and stores what came of it, on disk, if m is still as it was seen; it returns the version that m has then,
// none when nothing changed and nothing was written. After an error m is of no use.
func (s *Store) changeSeen(ctx context.Context, what string, m *gateway.Message, seen version,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (version, error) {
	before := *m
	events, err := s.applied(what, m, apply)
	if err != nil {
		return "", err
	}
	changed := !reflect.DeepEqual(before, *m)
	switch {
	case !changed && len(events) == 0:
		return "", nil
	case !changed, len(events) > 1:
		return "", errOutrun
	case len(events) == 0:
		return s.put(ctx, what, updateSeen+` RETURNING xmin::text`, append(stateArgs(m), m.ID, seen))
	default:
		return s.put(ctx, what, updateSeenWithEvent, seenArgs(m, seen, events[0]))
	}
}

func seenArgs(m *gateway.Message, seen version, e gateway.Event) []any {
	return append(stateArgs(m), m.ID, seen, e.Status, micros(e.At), e.Detail)
}

// applied is apply with its panic contained and the times as they will be stored.
func (s *Store) applied(what string, m *gateway.Message, apply func(*gateway.Message) ([]gateway.Event, error)) (events []gateway.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.wrap(what, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	if events, err = apply(m); err != nil {
		return nil, s.wrap(what, err)
	}
	storedTimes(m)
	return events, nil
}

// put runs one statement, which is a transaction of its own, and returns the version of the row that it wrote; errOutrun when it wrote none.
// An error that is errUnknown leaves open whether it did. Once begun it does not end with ctx, so that nobody is told of a failure that was
// none.
func (s *Store) put(ctx context.Context, what, statement string, args []any) (wrote version, err error) {
	err = s.onConn(ctx, what, func(ctx context.Context, conn *sql.Conn) error {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), maxTransact, errNoTurn)
		defer cancel()
		err := conn.QueryRowContext(ctx, statement, args...).Scan(&wrote)
		switch {
		case errors.Is(err, sql.ErrNoRows), s.d.conflict(err):
			return errOutrun
		case err != nil && (s.d.unavailable(err) || ctx.Err() != nil):
			return s.wrap(what, errors.Join(err, context.Cause(ctx), errUnknown))
		case err != nil:
			return s.wrap(what, err)
		}
		return nil
	})
	return wrote, err
}
