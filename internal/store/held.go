package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// CheckClaimIn is CheckFenceIn that also wants the claim c, of a message of the same tenant, to be there still: gateway.ErrClaimLost. What is
// written in that transaction cannot reach the disk without the claim.
func (s *Store) CheckClaimIn(ctx context.Context, tx interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, f gateway.Fence, c gateway.Claim,
) error {
	if c == (gateway.Claim{}) {
		return s.CheckFenceIn(ctx, tx, f)
	}
	var claimed int
	err := tx.QueryRowContext(ctx, s.d.sql(`SELECT (SELECT COUNT(*) FROM messages m WHERE `+holdsClaim+`)
		FROM sessions WHERE tenant_key = $1 AND owner = $2 AND epoch = $3 AND lease_until > {now} {fence}`),
		f.TenantKey, f.Owner, f.Epoch, c.MessageID, c.Attempt).Scan(&claimed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return gateway.ErrFenced
	case err != nil:
		return s.wrap("check claim", err)
	case claimed == 0:
		return gateway.ErrClaimLost
	}
	return nil
}

// holdsClaim is true for a message that is in hand for the attempt $5. One that a receipt of an earlier attempt has ended is not.
const holdsClaim = `m.id = $4 AND m.tenant_key = $1 AND m.in_flight = $2 AND m.attempts = $5 AND m.status = 'sending'`

// ExecHeld writes rows, on Postgres, under the lease f and unless it is none the claim c, of a message of the same tenant: on disk when it returns.
// It reports false, and has written nothing, when the lease or the claim is lost, or not to be had at this moment; CheckClaimIn tells which.
// What callers hand over at the same time with the same statement is written together; a row that the database refuses fails its caller alone.
//
// The rows are columns of the same length, []string or [][]byte. The statement begins with {held}, in place of which stands a WITH that defines
// held (k): the callers who may write, and nobody can take their leases before the commit. Its arguments are $6::bigint[], the k of each row's
// caller, and from $7 on the columns. It must write only rows whose k is held, and end with SELECT k FROM held.
func (s *Store) ExecHeld(ctx context.Context, f gateway.Fence, c gateway.Claim, statement string, columns ...any) (bool, error) {
	w := &heldWrite{fence: f, claim: c, statement: statement, columns: columns}
	err := s.writeShared(ctx, s.held, "write under a lease", &job{held: w})
	return w.done, err
}

// heldWrite is a write under a lease that takes part.
type heldWrite struct {
	fence     gateway.Fence
	claim     gateway.Claim
	statement string
	columns   []any
	done      bool
}

// Who is about to lose the lease holds up nobody else. Nor does a session that somebody is writing, for long: then all go their own ways.
const held = `WITH held AS MATERIALIZED (SELECT w.k FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::bigint[]),
		(SELECT $4::text[]), (SELECT $5::bigint[])) WITH ORDINALITY AS w (tenant_key, owner, epoch, message, attempt, k),
	LATERAL (SELECT 1 FROM sessions s WHERE s.tenant_key = w.tenant_key AND s.owner = w.owner AND s.epoch = w.epoch AND s.lease_until > {now}
		{fence} SKIP LOCKED) l
	WHERE (w.message = '' OR (SELECT TRUE FROM messages m WHERE m.id = w.message AND m.tenant_key = w.tenant_key AND m.in_flight = w.owner
		AND m.attempts = w.attempt AND m.status = 'sending')) AND set_config('lock_timeout', '250ms', TRUE) <> '')`

// execGathered carries out writes under leases that wait, all in one transaction, or each in its own when the database refuses that.
func (s *Store) execGathered(ctx context.Context, conn *sql.Conn, batch []*job) error {
	together := map[string][]*job{}
	for _, j := range batch {
		together[j.held.statement] = append(together[j.held.statement], j)
	}
	for statement, jobs := range together {
		err := s.execHeld(ctx, conn, statement, jobs)
		if sqlState(err) == "55P03" { // lock_not_available
			continue // nothing is done, and each will write by itself
		}
		if err != nil && !s.d.unavailable(err) && len(jobs) > 1 {
			for _, j := range jobs {
				j.err = s.execHeld(ctx, conn, statement, []*job{j})
			}
			continue
		}
		for _, j := range jobs {
			j.err = err
		}
	}
	return nil
}

func (s *Store) execHeld(ctx context.Context, conn *sql.Conn, statement string, jobs []*job) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), maxTransact, errNoTurn)
	defer cancel()
	var tenants, epochs, attempts, of []int64
	var owners, messages []string
	columns := make([]any, len(jobs[0].held.columns))
	for i, j := range jobs {
		w := j.held
		tenants, owners, epochs = append(tenants, w.fence.TenantKey), append(owners, w.fence.Owner), append(epochs, w.fence.Epoch)
		messages, attempts = append(messages, w.claim.MessageID), append(attempts, int64(w.claim.Attempt))
		rows := 0
		for c, column := range w.columns {
			switch column := column.(type) {
			case []string:
				all, _ := columns[c].([]string)
				columns[c], rows = append(all, column...), len(column)
			case [][]byte:
				all, _ := columns[c].([][]byte)
				columns[c], rows = append(all, column...), len(column)
			default:
				return fmt.Errorf("a column of %T", column)
			}
		}
		for range rows {
			of = append(of, int64(i+1))
		}
	}
	query := s.d.sql(strings.Replace(statement, "{held}", held, 1))
	rows, err := conn.QueryContext(ctx, query, append([]any{tenants, owners, epochs, messages, attempts, of}, columns...)...)
	holding, err := all(rows, err, func(row scanner) (k int, err error) { return k, row.Scan(&k) })
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	for _, k := range holding {
		jobs[k-1].held.done = true
	}
	return nil
}
