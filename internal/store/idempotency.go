package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// idempotencyKept is how long an answer is replayed.
const idempotencyKept = 24 * time.Hour

// ReserveIdempotency lets exactly one of the requests with the same key go on: it gets nil, nil and must complete or
// release the key. The others get the stored answer, CodeIdempotencyBusy while the first is in flight, or
// CodeIdempotencyReuse when their body differs. A reservation whose holder died is taken over after LockUntil.
func (s *Store) ReserveIdempotency(ctx context.Context, r gateway.Idempotency) (*gateway.IdempotencyAnswer, error) {
	var prior *gateway.IdempotencyAnswer
	err := s.write(ctx, "reserve idempotency key", func(t *tx) error {
		prior = nil
		now := s.now()
		// Each reservation removes two that are over, so that the table stays small without a sweeper.
		_, err := t.exec(s.d.sql(`DELETE FROM idempotency WHERE (tenant_key, scope, idem_key) IN (
			SELECT tenant_key, scope, idem_key FROM idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT 2 {skip})`),
			micros(now))
		if err != nil {
			return err
		}
		// The own one may have been over as well, behind those two.
		n, err := t.exec(`INSERT INTO idempotency (tenant_key, scope, idem_key, body_hash, lock_until, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (tenant_key, scope, idem_key) DO UPDATE
			SET body_hash = excluded.body_hash, lock_until = excluded.lock_until, expires_at = excluded.expires_at,
				status = 0, header = '', body = ''
			WHERE idempotency.expires_at <= $7`,
			r.TenantKey, r.Scope, r.Key, r.BodyHash[:], micros(r.LockUntil), micros(now.Add(idempotencyKept)), micros(now))
		if err != nil || n > 0 {
			return err
		}
		var (
			hash, body []byte
			lock       int64
			status     int
			header     string
		)
		err = t.row(s.d.sql(`SELECT body_hash, lock_until, status, header, body FROM idempotency
			WHERE tenant_key = $1 AND scope = $2 AND idem_key = $3 {lock}`), r.TenantKey, r.Scope, r.Key).
			Scan(&hash, &lock, &status, &header, &body)
		switch {
		case err != nil:
			return err
		case !bytes.Equal(hash, r.BodyHash[:]):
			return gateway.Errorf(gateway.CodeIdempotencyReuse, "this Idempotency-Key was used with another body")
		case status != 0:
			prior, err = decodeAnswer(status, header, body)
			return err
		case lock > micros(now):
			return gateway.Errorf(gateway.CodeIdempotencyBusy, "a request with this Idempotency-Key is in flight")
		}
		_, err = t.exec(`UPDATE idempotency SET lock_until = $1 WHERE tenant_key = $2 AND scope = $3 AND idem_key = $4`,
			micros(r.LockUntil), r.TenantKey, r.Scope, r.Key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return prior, nil
}

// CompleteIdempotency stores the answer of a reserved key. CodeIdempotencyBusy when the reservation was lost and
// another request has completed or released it.
func (s *Store) CompleteIdempotency(ctx context.Context, tenantKey int64, scope, key string, a gateway.IdempotencyAnswer) error {
	return s.write(ctx, "complete idempotency key", func(t *tx) error {
		return t.completeIdempotency(tenantKey, scope, key, a)
	})
}

func (t *tx) completeIdempotency(tenantKey int64, scope, key string, a gateway.IdempotencyAnswer) error {
	if a.Status == 0 {
		return errors.New("an answer without a status cannot be replayed")
	}
	header, err := json.Marshal(a.Header)
	if err != nil {
		return err
	}
	body := a.Body
	if body == nil {
		body = []byte{}
	}
	n, err := t.exec(`UPDATE idempotency SET status = $1, header = $2, body = $3
		WHERE tenant_key = $4 AND scope = $5 AND idem_key = $6 AND status = 0`,
		a.Status, string(header), body, tenantKey, scope, key)
	if err == nil && n == 0 {
		return gateway.Errorf(gateway.CodeIdempotencyBusy, "another request with this Idempotency-Key was faster")
	}
	return err
}

// ReleaseIdempotency gives up a reservation, so that the same key may be tried again. A completed key stays.
func (s *Store) ReleaseIdempotency(ctx context.Context, tenantKey int64, scope, key string) error {
	return s.write(ctx, "release idempotency key", func(t *tx) error {
		_, err := t.exec(`DELETE FROM idempotency WHERE tenant_key = $1 AND scope = $2 AND idem_key = $3 AND status = 0`,
			tenantKey, scope, key)
		return err
	})
}

func decodeAnswer(status int, header string, body []byte) (*gateway.IdempotencyAnswer, error) {
	a := &gateway.IdempotencyAnswer{Status: status, Body: body}
	if err := json.Unmarshal([]byte(header), &a.Header); err != nil {
		return nil, fmt.Errorf("read stored answer: %w", err)
	}
	return a, nil
}
