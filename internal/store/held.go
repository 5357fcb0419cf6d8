package store

import (
	"context"
	"database/sql"
	"errors"
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

// ExecHeld runs, on Postgres, one statement as a transaction of its own, which is on disk when it returns. The statement begins with {held},
// in place of which stands a WITH that defines held: one row while the lease f holds and, unless c is none, the claim c is there; nobody can
// take the lease before the commit. It must write only WHERE EXISTS (SELECT 1 FROM held); its own arguments begin with $6. It returns how many
// rows were written; CheckClaimIn tells why there were none.
func (s *Store) ExecHeld(ctx context.Context, f gateway.Fence, c gateway.Claim, statement string, args ...any) (int64, error) {
	query := s.d.sql(strings.Replace(statement, "{held}", held, 1))
	result, err := s.writer.ExecContext(ctx, query, append([]any{f.TenantKey, f.Owner, f.Epoch, c.MessageID, c.Attempt}, args...)...)
	if err != nil {
		return 0, s.wrap("write under a lease", err)
	}
	return result.RowsAffected()
}

const held = `WITH held AS (SELECT 1 FROM sessions WHERE tenant_key = $1 AND owner = $2 AND epoch = $3 AND lease_until > {now}
	AND ($4::text = '' OR EXISTS (SELECT 1 FROM messages m WHERE ` + holdsClaim + `)) {fence})`
