package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/wapro/hub/internal/gateway"
)

// AddOptOuts adds to the list of a tenant, at most gateway.MaxOptOuts at a time, and returns how many were new. What is there already
// stays as it is.
func (s *Store) AddOptOuts(ctx context.Context, tenantKey int64, list []gateway.OptOut) (added int, err error) {
	err = s.write(ctx, "add opt-outs", func(t *tx) error {
		added = 0
		var one int // locked: what is added behind a deletion would keep the tenant's row for ever
		err := t.row(s.d.sql(`SELECT 1 FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {share}`), tenantKey).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return gateway.Errorf(gateway.CodeNotFound, "there is no such tenant")
		}
		if err != nil {
			return err
		}
		for _, o := range list {
			n, err := t.exec(`INSERT INTO opt_outs (tenant_key, recipient, source, created_at) VALUES ($1, $2, $3, $4)
				ON CONFLICT DO NOTHING`, tenantKey, o.Recipient, o.Source, micros(o.CreatedAt))
			if err != nil {
				return err
			}
			added += int(n)
		}
		return nil
	})
	return added, err
}

// RemoveOptOut removes one, and what a stop word of the same person entered under another name. CodeNotFound.
func (s *Store) RemoveOptOut(ctx context.Context, tenantKey int64, recipient string) error {
	return s.write(ctx, "remove an opt-out", func(t *tx) error {
		found, err := t.removeOptOut(tenantKey, recipient)
		if err == nil && !found {
			return noOptOut()
		}
		return err
	})
}

func (t *tx) removeOptOut(tenantKey int64, recipient string) (found bool, err error) {
	n, err := t.exec(`DELETE FROM opt_outs WHERE tenant_key = $1 AND recipient IN
		($2, (SELECT o.other FROM opt_outs o WHERE o.tenant_key = $1 AND o.recipient = $2))`, tenantKey, recipient)
	return n > 0, err
}

// OptOut reads one. CodeNotFound.
func (s *Store) OptOut(ctx context.Context, tenantKey int64, recipient string) (gateway.OptOut, error) {
	o, err := scanOptOut(s.readRow(ctx, selectOptOut+`WHERE tenant_key = $1 AND recipient = $2`, tenantKey, recipient))
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.OptOut{}, noOptOut()
	}
	if err != nil {
		return gateway.OptOut{}, s.wrap("read an opt-out", err)
	}
	return o, nil
}

// OptOuts lists those of a tenant in the order of their recipients, those behind after only; limit is at most gateway.MaxOptOuts.
func (s *Store) OptOuts(ctx context.Context, tenantKey int64, after string, limit int) ([]gateway.OptOut, error) {
	rows, err := s.read(ctx, selectOptOut+`WHERE tenant_key = $1 AND recipient > $2 ORDER BY recipient LIMIT $3`,
		tenantKey, after, min(limit, gateway.MaxOptOuts))
	list, err := all(rows, err, scanOptOut)
	if err != nil {
		return nil, s.wrap("list opt-outs", err)
	}
	return list, nil
}

// OptedOut tells which of recipients are on the list of a tenant, of any number of them.
func (s *Store) OptedOut(ctx context.Context, tenantKey int64, recipients []string) (map[string]bool, error) {
	found := map[string]bool{}
	err := s.inParts(recipients, func(list string, args []any) error {
		args = append(args, tenantKey)
		rows, err := s.read(ctx, `SELECT recipient FROM opt_outs WHERE recipient IN (`+list+`) AND tenant_key = $`+strconv.Itoa(len(args)), args...)
		part, err := all(rows, err, func(row scanner) (recipient string, err error) { return recipient, row.Scan(&recipient) })
		for _, recipient := range part {
			found[recipient] = true
		}
		return err
	})
	if err != nil {
		return nil, s.wrap("look up opt-outs", err)
	}
	return found, nil
}

const selectOptOut = `SELECT recipient, source, created_at FROM opt_outs `

func scanOptOut(row scanner) (o gateway.OptOut, err error) {
	var created int64
	err = row.Scan(&o.Recipient, &o.Source, &created)
	o.CreatedAt = fromMicros(created)
	return o, err
}

func noOptOut() error {
	return gateway.Errorf(gateway.CodeNotFound, "this recipient is not on the list of opt-outs")
}
