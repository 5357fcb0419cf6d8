package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	invalidChunk = 250 // rows in one statement
	discardChunk = 500 // messages removed in one transaction
	stageChunk   = 250 // messages in one transaction on SQLite, where it holds up everybody
)

// CreateBulk begins a bulk of b.Rows rows: it takes their numbers, the first of which it puts into b.FirstSeq. Nobody is
// shown the bulk and its messages before PublishBulk. Who makes it stages some of it at least every minute; when he does not,
// StaleBulks tells so. CodeNotFound when the tenant is gone, or the bulk that b repeats; CodeUnavailable while another one that repeats it is being made.
func (s *Store) CreateBulk(ctx context.Context, b *gateway.Bulk) error {
	b.Status, b.CreatedAt = gateway.BulkStaging, stored(b.CreatedAt)
	return s.write(ctx, "create bulk", func(t *tx) (err error) {
		if b.FirstSeq, err = t.reserveSeqs(b.TenantKey, b.Rows); err != nil {
			return err
		}
		if b.RetryOf != "" {
			if err := t.onlyRetry(b); err != nil {
				return err
			}
		}
		b.JudgeFrom = b.FirstSeq
		_, err = t.exec(t.s.d.sql(`INSERT INTO bulks (`+bulkColumns+`, touched_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14, $15, 0, 0, {now})`),
			b.ID, b.TenantKey, b.Name, b.Status, b.Reason, b.Lane, b.RetryOf, b.FirstSeq, b.Rows, b.Total, b.Invalid,
			b.MaxFailureRate, b.JudgeFrom, micros(b.SendAt), micros(b.CreatedAt))
		return err
	})
}

// onlyRetry makes sure that nobody else repeats a bulk of the tenant, this one or one that it repeats, at this moment: neither would know of the
// other's messages.
func (t *tx) onlyRetry(b *gateway.Bulk) error {
	if _, err := t.lookBulk(b.TenantKey, b.RetryOf); err != nil { // and lock it
		return err
	}
	var others int
	err := t.row(`SELECT COUNT(*) FROM bulks WHERE tenant_key = $1 AND finished_at = 0 AND status = 'staging' AND retry_of <> ''`, b.TenantKey).Scan(&others)
	if err == nil && others > 0 {
		err = gateway.Errorf(gateway.CodeUnavailable, "another retry of a bulk is being stored; try again soon")
	}
	return err
}

// StageBulk stores messages of a bulk that is being made, whose Seq the caller has set, with the first rows of their history.
// At most gateway.StageBatch go into one transaction. It may be called for several parts of a bulk at the same time. They are on
// disk when PublishBulk returns. CodeConflict when the bulk was given up meanwhile.
func (s *Store) StageBulk(ctx context.Context, b *gateway.Bulk, msgs []*gateway.Message) error {
	chunk := gateway.StageBatch
	if s.d.writers == 1 {
		chunk = stageChunk
	}
	for _, m := range msgs {
		if err := enter(m); err != nil {
			return fmt.Errorf("stage messages: %w", err)
		}
		m.Phase = gateway.PhaseStaged
	}
	for part := range slices.Chunk(msgs, chunk) {
		err := s.write(ctx, "stage messages", func(t *tx) error {
			if err := t.shareBulk(b.ID); err != nil {
				return err
			}
			if t.s.d.writers > 1 {
				return t.copyMany(part)
			}
			return t.insertNow(part)
		})
		if err != nil {
			return err
		}
	}
	return s.write(ctx, "touch bulk", func(t *tx) error { return t.touchBulk(b.ID) })
}

// shareBulk locks a bulk that is being made against being given up before the commit. That need not be flushed: the one that
// accepts the bulk is, and with it all that was committed before it.
func (t *tx) shareBulk(id string) error {
	if t.s.d.writers > 1 {
		if _, err := t.exec(`SET LOCAL synchronous_commit = off`); err != nil {
			return err
		}
	}
	var one int
	err := t.row(t.s.d.sql(`SELECT 1 FROM bulks WHERE id = $1 AND status = 'staging' {share}`), id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return givenUp()
	}
	return err
}

func givenUp() error {
	return gateway.Errorf(gateway.CodeConflict, "the bulk was given up while it was being stored")
}

// StageInvalid stores rows of a bulk that cannot be sent. CodeConflict as for StageBulk.
func (s *Store) StageInvalid(ctx context.Context, b *gateway.Bulk, rows []gateway.BulkInvalid) error {
	for part := range slices.Chunk(rows, invalidChunk) {
		err := s.write(ctx, "stage invalid rows", func(t *tx) error {
			if err := t.touchBulk(b.ID); err != nil {
				return err
			}
			var values strings.Builder
			args := make([]any, 0, 4*len(part))
			for i, r := range part {
				if i > 0 {
					values.WriteString(", ")
				}
				values.WriteString("(" + placeholders(4*i+1, 4) + ")")
				args = append(args, b.ID, r.Row, r.To, r.Code)
			}
			_, err := t.exec(`INSERT INTO bulk_invalid (bulk_id, row_number, recipient, code) VALUES `+values.String(), args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// touchBulk keeps a bulk that is being made from being taken for an orphan, and locks it against being given up.
func (t *tx) touchBulk(id string) error {
	n, err := t.exec(t.s.d.sql(`UPDATE bulks SET touched_at = {now} WHERE id = $1 AND status = 'staging'`), id)
	if err == nil && n == 0 {
		return givenUp()
	}
	return err
}

// PublishBulk accepts a bulk: from its commit on, the bulk and its b.Total messages are there and go out. With idem, the
// answer for the Idempotency-Key is stored in the same transaction, see Accept; its Answer gets no messages.
func (s *Store) PublishBulk(ctx context.Context, b *gateway.Bulk, idem *gateway.IdempotencyCompletion) error {
	b.Status = gateway.BulkRunning
	err := s.write(ctx, "accept bulk", func(t *tx) error {
		if err := t.touchBulk(b.ID); err != nil {
			return err
		}
		if err := t.checkStaged(b); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE bulks SET status = $1, total = $2, invalid = $3 WHERE id = $4`, b.Status, b.Total, b.Invalid, b.ID); err != nil {
			return err
		}
		if idem == nil {
			return nil
		}
		answer, err := idem.Answer(nil)
		if err != nil {
			return err
		}
		return t.completeIdempotency(idem.TenantKey, idem.Scope, idem.Key, answer)
	})
	if !errors.Is(err, errUnknown) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTurn)
	defer cancel()
	accepted, lookErr := s.lookAgain(ctx, func(t *tx) (bool, error) {
		b, err := t.lookBulk(b.TenantKey, b.ID)
		if errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
			return false, nil
		}
		return b.Status == gateway.BulkRunning || b.Status == gateway.BulkPaused, err
	})
	if lookErr == nil && accepted {
		return nil
	}
	return err
}

// checkStaged makes sure that all messages are there. A commit that was not flushed is lost when the server breaks down, and one
// that is back soon takes the next batch as if nothing had happened.
func (t *tx) checkStaged(b *gateway.Bulk) error {
	if t.s.d.writers == 1 {
		return nil // every commit is flushed
	}
	var stored int
	err := t.row(`SELECT COUNT(*) FROM messages WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> ''`, b.TenantKey, b.ID).Scan(&stored)
	if err == nil && stored != b.Total {
		err = fmt.Errorf("%d of %d messages are left of what was staged", stored, b.Total)
	}
	return err
}

// DiscardBulk gives up a bulk that was not accepted and removes its messages in small steps. When ctx ends before, StaleBulks
// tells of it until it is done. A bulk that was accepted stays.
func (s *Store) DiscardBulk(ctx context.Context, tenantKey int64, id string) error {
	for left := true; left; {
		err := s.write(ctx, "discard bulk", func(t *tx) error {
			left = false
			n, err := t.exec(`UPDATE bulks SET status = 'discarding'
				WHERE id = $1 AND tenant_key = $2 AND status IN ('staging', 'discarding')`, id, tenantKey)
			if err != nil || n == 0 {
				return err
			}
			n, err = t.exec(`DELETE FROM messages WHERE id IN (
				SELECT id FROM messages WHERE tenant_key = $1 AND bulk_id = $2 AND bulk_id <> '' LIMIT $3)`, tenantKey, id, discardChunk)
			if err != nil || n > 0 {
				left = true
				return err
			}
			_, err = t.exec(`DELETE FROM bulks WHERE id = $1`, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// StaleBulks lists bulks that are to be discarded: those that were given up, and those whose maker was not heard of for
// patience.
func (s *Store) StaleBulks(ctx context.Context, patience time.Duration) ([]gateway.Bulk, error) {
	rows, err := s.read(ctx, s.d.sql(`SELECT tenant_key, id FROM bulks WHERE finished_at = 0
		AND (status = 'discarding' OR status = 'staging' AND touched_at < {now} - $1)`), patience.Microseconds())
	list, err := all(rows, err, func(row scanner) (b gateway.Bulk, err error) { return b, row.Scan(&b.TenantKey, &b.ID) })
	if err != nil {
		return nil, s.wrap("list stale bulks", err)
	}
	return list, nil
}

// noRows makes no row a success.
func noRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
