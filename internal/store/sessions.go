package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const selectSession = `SELECT s.tenant_key, t.id, s.state, s.reason, s.jid, s.lid, s.since,
	s.restriction_kind, s.restriction_until, s.restriction_count, s.restriction_code, s.restriction_suspect,
	s.last_number, s.queue_paused, s.queue_held, s.pairing_code, s.pairing_expires_at, s.pairing_phone,
	s.owner, s.epoch, s.lease_until
	FROM sessions s JOIN tenants t ON t.tenant_key = s.tenant_key `

func scanSession(row scanner) (v gateway.Session, err error) {
	var since, until, pairing, lease int64
	err = row.Scan(&v.TenantKey, &v.TenantID, &v.State, &v.Reason, &v.JID, &v.LID, &since,
		&v.Restriction.Kind, &until, &v.Restriction.Count, &v.Restriction.Code, &v.Restriction.Suspect,
		&v.LastNumber, &v.QueuePaused, &v.QueueHeld, &v.PairingCode, &pairing, &v.PairingPhone,
		&v.Owner, &v.Epoch, &lease)
	v.Since, v.Restriction.Until = fromMicros(since), fromMicros(until)
	v.PairingExpiresAt, v.LeaseUntil = fromMicros(pairing), fromMicros(lease)
	return v, err
}

// Session reads a tenant's session. CodeNotFound.
func (s *Store) Session(ctx context.Context, tenantKey int64) (gateway.Session, error) {
	v, err := scanSession(s.readRow(ctx, selectSession+`WHERE s.tenant_key = $1`, tenantKey))
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.Session{}, gateway.Errorf(gateway.CodeNotFound, "there is no such session")
	}
	if err != nil {
		return gateway.Session{}, s.wrap("read session", err)
	}
	return v, nil
}

// AcquireSessions takes the leases of up to limit sessions that nobody holds, or whose lease has run out (our own
// included), longest free first, for ttl by the database's clock. Each gets a new epoch, which fences whoever held it before.
func (s *Store) AcquireSessions(ctx context.Context, owner string, ttl time.Duration, limit int) ([]gateway.Session, error) {
	if owner == "" {
		return nil, errors.New("acquire sessions: the owner needs a name")
	}
	// A read first: this is asked every two seconds, and there is seldom something to take.
	var free int
	err := s.readRow(ctx, s.d.sql(`SELECT COUNT(*) FROM sessions WHERE owner = '' OR lease_until <= {now}`)).Scan(&free)
	if err != nil {
		return nil, s.wrap("look for free sessions", err)
	}
	if free == 0 || limit <= 0 {
		return []gateway.Session{}, nil
	}
	var taken []gateway.Session
	err = s.write(ctx, "acquire sessions", func(t *tx) error {
		taken = taken[:0]
		rows, err := t.query(s.d.sql(`WITH free AS (SELECT tenant_key FROM sessions WHERE owner = '' OR lease_until <= {now}
				ORDER BY lease_until, tenant_key LIMIT $1 {take})
			UPDATE sessions SET owner = $2, epoch = epoch + 1, lease_until = {now} + $3
			WHERE tenant_key IN (SELECT tenant_key FROM free)
			RETURNING tenant_key`), limit, owner, ttl.Microseconds())
		keys, err := all(rows, err, func(row scanner) (key int64, err error) { return key, row.Scan(&key) })
		if err != nil {
			return err
		}
		for _, key := range keys {
			v, err := scanSession(t.row(selectSession+`WHERE s.tenant_key = $1`, key))
			if err != nil {
				return err
			}
			taken = append(taken, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(taken, func(a, b gateway.Session) int { return cmp.Compare(a.TenantKey, b.TenantKey) })
	return taken, nil
}

// RenewSessions prolongs every lease that owner still holds to ttl from now by the database's clock, and tells which.
// A lease that has run out is not renewed, even when nobody took it: it is acquired again, under a new epoch.
func (s *Store) RenewSessions(ctx context.Context, owner string, ttl time.Duration) ([]gateway.Fence, error) {
	var held []gateway.Fence
	err := s.write(ctx, "renew sessions", func(t *tx) error {
		rows, err := t.query(s.d.sql(`WITH mine AS (SELECT tenant_key FROM sessions WHERE owner = $1 AND lease_until > {now}
				ORDER BY tenant_key {lock})
			UPDATE sessions SET lease_until = {now} + $2
			WHERE tenant_key IN (SELECT tenant_key FROM mine) RETURNING tenant_key, owner, epoch`), owner, ttl.Microseconds())
		held, err = all(rows, err, scanFence)
		return err
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

func scanFence(row scanner) (f gateway.Fence, err error) {
	return f, row.Scan(&f.TenantKey, &f.Owner, &f.Epoch)
}

// ReleaseSessions gives up every lease of owner at once, so that another worker need not wait for its end.
func (s *Store) ReleaseSessions(ctx context.Context, owner string) error {
	return s.write(ctx, "release sessions", func(t *tx) error {
		_, err := t.exec(s.d.sql(`WITH mine AS (SELECT tenant_key FROM sessions WHERE owner = $1 ORDER BY tenant_key {lock})
			UPDATE sessions SET owner = '', lease_until = {now} WHERE tenant_key IN (SELECT tenant_key FROM mine)`), owner)
		return err
	})
}

const holdsLease = `SELECT 1 FROM sessions WHERE tenant_key = $1 AND owner = $2 AND epoch = $3 AND lease_until > {now}`

// CheckFence returns gateway.ErrFenced unless f holds at this moment. On SQLite it reads beside the writer, so it may be
// called inside a transaction on Writer; on Postgres use CheckFenceIn there.
func (s *Store) CheckFence(ctx context.Context, f gateway.Fence) error {
	return s.fenced(s.readRow(ctx, s.d.sql(holdsLease), f.TenantKey, f.Owner, f.Epoch))
}

// CheckFenceIn is CheckFence inside a transaction on Writer that depends on it: no other worker can take the lease before
// that has ended.
func (s *Store) CheckFenceIn(ctx context.Context, tx interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, f gateway.Fence,
) error {
	return s.fenced(tx.QueryRowContext(ctx, s.d.sql(holdsLease+` {fence}`), f.TenantKey, f.Owner, f.Epoch))
}

func (s *Store) fenced(row scanner) error {
	var one int
	err := row.Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.ErrFenced
	}
	if err != nil {
		return s.wrap("check lease", err)
	}
	return nil
}

// checkFence is CheckFence inside the transaction that depends on it; no other worker can take the lease before it
// has committed.
func (t *tx) checkFence(f gateway.Fence) error {
	return t.s.fenced(t.row(t.s.d.sql(holdsLease+` {fence}`), f.TenantKey, f.Owner, f.Epoch))
}

// UpdateSession lets apply change the state, names, restriction, hold and pairing code of the session under f, and returns
// what is stored. Who owns it and until when, and whether its queue is paused, is not apply's to change. apply must be quick and must not use the
// database. gateway.ErrFenced.
func (s *Store) UpdateSession(ctx context.Context, f gateway.Fence, apply func(*gateway.Session)) (gateway.Session, error) {
	defer s.ahead.drop(f.TenantKey) // a claim tells of the restriction
	var v gateway.Session
	err := s.write(ctx, "update session", func(t *tx) error {
		// Locked to be written from the start: of two that only share the row, neither could go on to write it.
		err := s.fenced(t.row(s.d.sql(holdsLease+` {lock}`), f.TenantKey, f.Owner, f.Epoch))
		if err != nil {
			return err
		}
		if v, err = scanSession(t.row(selectSession+`WHERE s.tenant_key = $1`, f.TenantKey)); err != nil {
			return err
		}
		before := v
		apply(&v)
		v.TenantKey, v.TenantID, v.Owner, v.Epoch, v.LeaseUntil = before.TenantKey, before.TenantID, before.Owner, before.Epoch, before.LeaseUntil
		v.QueuePaused = before.QueuePaused
		v.Since, v.Restriction.Until, v.PairingExpiresAt = stored(v.Since), stored(v.Restriction.Until), stored(v.PairingExpiresAt)
		if v == before {
			return nil
		}
		_, err = t.exec(`UPDATE sessions SET state = $1, reason = $2, jid = $3, lid = $4, since = $5,
			restriction_kind = $6, restriction_until = $7, restriction_count = $8, pairing_code = $9, pairing_expires_at = $10,
			pairing_phone = $11, restriction_code = $12, restriction_suspect = $13, last_number = $14, queue_held = $15
			WHERE tenant_key = $16`,
			v.State, v.Reason, v.JID, v.LID, micros(v.Since),
			v.Restriction.Kind, micros(v.Restriction.Until), v.Restriction.Count, v.PairingCode, micros(v.PairingExpiresAt),
			v.PairingPhone, v.Restriction.Code, v.Restriction.Suspect, v.LastNumber, v.QueueHeld, v.TenantKey)
		if err != nil || v.Restriction.Same(before.Restriction) {
			return err
		}
		kind := gateway.EventRestricted
		if v.Restriction.Kind == gateway.RestrictionNone {
			kind = gateway.EventUnrestricted
		}
		return t.appendEvent(v.TenantKey, kind, "session", s.now(), gateway.RestrictionNotice(&v)) // behind that of the state, which its trigger has written
	})
	if err != nil {
		return gateway.Session{}, err
	}
	return v, nil
}

// AddCommand asks the owner of a session, now or later, to do what c says; its ID and time are the store's to give.
// CodeNotFound when there is no such tenant.
func (s *Store) AddCommand(ctx context.Context, c gateway.Command) error {
	return s.write(ctx, "add command", func(t *tx) error {
		n, err := t.exec(s.d.sql(`INSERT INTO commands (tenant_key, kind, phone, query, created_at)
			SELECT tenant_key, $1, $2, $3, CAST($4 AS BIGINT) FROM sessions WHERE tenant_key = $5 {share}`), c.Kind, c.Phone, c.Query, micros(s.now()), c.TenantKey)
		if err == nil && n == 0 {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such session")
		}
		return err
	})
}

// TakeCommands removes and returns, oldest first, the commands to sessions whose lease owner holds.
func (s *Store) TakeCommands(ctx context.Context, owner string) ([]gateway.Command, error) {
	// A read first: this is asked several times a second, and there is seldom something to take.
	var waiting int
	err := s.readRow(ctx, s.d.sql(`SELECT COUNT(*) FROM commands c JOIN sessions s ON s.tenant_key = c.tenant_key
		WHERE s.owner = $1 AND s.lease_until > {now}`), owner).Scan(&waiting)
	if err != nil {
		return nil, s.wrap("look for commands", err)
	}
	if waiting == 0 {
		return []gateway.Command{}, nil
	}
	var taken []gateway.Command
	err = s.write(ctx, "take commands", func(t *tx) error {
		rows, err := t.query(s.d.sql(`DELETE FROM commands WHERE tenant_key IN (
			SELECT tenant_key FROM sessions WHERE owner = $1 AND lease_until > {now})
			RETURNING id, tenant_key, kind, phone, query, created_at`), owner)
		taken, err = all(rows, err, scanCommand)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(taken, func(a, b gateway.Command) int { return cmp.Compare(a.ID, b.ID) })
	return taken, nil
}

func scanCommand(row scanner) (c gateway.Command, err error) {
	var created int64
	err = row.Scan(&c.ID, &c.TenantKey, &c.Kind, &c.Phone, &c.Query, &created)
	c.CreatedAt = fromMicros(created)
	return c, err
}
