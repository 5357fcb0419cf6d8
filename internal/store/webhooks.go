package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	webhookColumns = `id, tenant_key, url, events, secret, old_secret, old_until, status, reason, since, created_at, failures, failing_since, rest_until, failed_at, wake_from`
	// For readers; whoever delivers does not need the number of what waits, which takes long to count.
	selectWebhook = `SELECT ` + webhookColumns + `,
		(SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = webhook_endpoints.id LIMIT 10001) waiting)
		FROM webhook_endpoints WHERE status <> 'deleted' AND `
	selectWebhookToServe = `SELECT ` + webhookColumns + `, 0 FROM webhook_endpoints WHERE status <> 'deleted' AND `
	// A webhook that is deleted is there until purgeWebhook has removed what it had; its address and its secrets are not. $2 is empty.
	markDeleted = `UPDATE webhook_endpoints SET status = 'deleted', url = '', secret = $2, old_secret = $2 WHERE tenant_key = $1 AND status <> 'deleted'`
)

func scanWebhook(row scanner) (w gateway.Webhook, err error) {
	var events string
	var old, since, created, failing, rest, failed, wake int64
	err = row.Scan(&w.ID, &w.TenantKey, &w.URL, &events, &w.Secret, &w.OldSecret, &old, &w.Status, &w.Reason, &since, &created,
		&w.Failures, &failing, &rest, &failed, &wake, &w.Waiting)
	w.Events = strings.Fields(events)
	w.OldUntil, w.Since, w.CreatedAt, w.FailingSince, w.RestUntil = fromMicros(old), fromMicros(since), fromMicros(created), fromMicros(failing), fromMicros(rest)
	w.LastFailure, w.Waking = fromMicros(failed), wake > 0
	return w, err
}

// CreateWebhook stores a webhook, whose tenant listens to its events from now on. CodeConflict: it has gateway.MaxWebhooks already;
// CodeNotFound: there is no such tenant.
func (s *Store) CreateWebhook(ctx context.Context, w gateway.Webhook) error {
	return s.write(ctx, "create a webhook", func(t *tx) error {
		if err := t.listen(w.TenantKey); err != nil {
			return err
		}
		var n int // the row of the stream is locked by now
		if err := t.row(`SELECT COUNT(*) FROM webhook_endpoints WHERE tenant_key = $1 AND status <> 'deleted'`, w.TenantKey).Scan(&n); err != nil {
			return err
		}
		if n >= gateway.MaxWebhooks {
			return gateway.Errorf(gateway.CodeConflict, "a tenant has at most %d webhooks", gateway.MaxWebhooks)
		}
		_, err := t.exec(`INSERT INTO webhook_endpoints (`+webhookColumns+`) VALUES (`+placeholders(1, 16)+`)`,
			w.ID, w.TenantKey, w.URL, strings.Join(w.Events, " "), blob(w.Secret), blob(w.OldSecret), micros(w.OldUntil), w.Status, w.Reason,
			micros(w.Since), micros(w.CreatedAt), w.Failures, micros(w.FailingSince), micros(w.RestUntil), micros(w.LastFailure), 0)
		return err
	})
}

// blob is b for a column that is not NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Webhooks lists those of a tenant in the order of their creation.
func (s *Store) Webhooks(ctx context.Context, tenantKey int64) ([]gateway.Webhook, error) {
	rows, err := s.read(ctx, selectWebhook+`tenant_key = $1 ORDER BY id`, tenantKey)
	list, err := all(rows, err, scanWebhook)
	if err != nil {
		return nil, s.wrap("list webhooks", err)
	}
	return list, nil
}

// Webhook reads one. CodeNotFound.
func (s *Store) Webhook(ctx context.Context, tenantKey int64, id string) (gateway.Webhook, error) {
	w, err := scanWebhook(s.readRow(ctx, selectWebhook+`tenant_key = $1 AND id = $2`, tenantKey, id))
	if errors.Is(err, sql.ErrNoRows) {
		return w, noWebhook()
	}
	if err != nil {
		return w, s.wrap("read a webhook", err)
	}
	return w, nil
}

func noWebhook() error { return gateway.Errorf(gateway.CodeNotFound, "there is no such webhook") }

// UpdateWebhook lets apply change a webhook. CodeNotFound. Its id, tenant and creation stay.
func (s *Store) UpdateWebhook(ctx context.Context, tenantKey int64, id string, apply func(*gateway.Webhook) error) (w gateway.Webhook, err error) {
	err = s.write(ctx, "change a webhook", func(t *tx) error {
		w, err = scanWebhook(t.row(s.d.sql(selectWebhook+`tenant_key = $1 AND id = $2 {lock}`), tenantKey, id))
		if errors.Is(err, sql.ErrNoRows) {
			return noWebhook()
		}
		if err != nil {
			return err
		}
		return t.changeWebhook(&w, apply)
	})
	return w, err
}

// changeWebhook stores what apply makes of w, whose row is locked.
func (t *tx) changeWebhook(w *gateway.Webhook, apply func(*gateway.Webhook) error) error {
	rested := w.Status == gateway.WebhookDisabled || !w.RestUntil.IsZero()
	if err := apply(w); err != nil {
		return err
	}
	w.OldUntil, w.Since, w.FailingSince, w.RestUntil = stored(w.OldUntil), stored(w.Since), stored(w.FailingSince), stored(w.RestUntil)
	w.LastFailure = stored(w.LastFailure)
	_, err := t.exec(`UPDATE webhook_endpoints SET url = $1, events = $2, secret = $3, old_secret = $4, old_until = $5, status = $6, reason = $7, since = $8,
		failures = $9, failing_since = $10, rest_until = $11, failed_at = $12 WHERE id = $13`,
		w.URL, strings.Join(w.Events, " "), blob(w.Secret), blob(w.OldSecret), micros(w.OldUntil), w.Status, w.Reason, micros(w.Since),
		w.Failures, micros(w.FailingSince), micros(w.RestUntil), micros(w.LastFailure), w.ID)
	if err == nil && rested && w.Status == gateway.WebhookEnabled && w.RestUntil.IsZero() {
		w.Waking = true
		_, err = t.exec(`UPDATE webhook_endpoints SET wake_from = 1 WHERE id = $1`, w.ID)
	}
	return err
}

// WakeDeliveries makes due, of a webhook that is Waking, what of its next limit deliveries waits for another attempt, and tells whether there are more. What
// has been looked at is not looked at again: what fails anew waits its time.
func (s *Store) WakeDeliveries(ctx context.Context, id string, limit int) (more bool, err error) {
	err = s.write(ctx, "make deliveries due", func(t *tx) error {
		more = false
		var from int64 // locked before its deliveries, as whoever records them does
		err := t.row(s.d.sql(`SELECT wake_from FROM webhook_endpoints WHERE id = $1 AND status <> 'deleted' {lock}`), id).Scan(&from)
		if errors.Is(err, sql.ErrNoRows) || err == nil && from == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		var last sql.NullInt64
		if err := t.row(`SELECT MAX(pos) FROM (SELECT pos FROM webhook_deliveries WHERE endpoint_id = $1 AND pos >= $2 ORDER BY pos LIMIT $3) part`,
			id, from, limit).Scan(&last); err != nil {
			return err
		}
		next := int64(0)
		if last.Valid {
			more, next = true, last.Int64+1
			if _, err := t.exec(`UPDATE webhook_deliveries SET next_at = 0 WHERE endpoint_id = $1 AND pos >= $2 AND pos <= $3 AND next_at > 0`, id, from, last.Int64); err != nil {
				return err
			}
		}
		_, err = t.exec(`UPDATE webhook_endpoints SET wake_from = $1 WHERE id = $2`, next, id)
		return err
	})
	return more, err
}

// DeleteWebhook removes a webhook: it is gone at once. What it was to be told of, and its log, are left to PurgeWebhooks. CodeNotFound.
func (s *Store) DeleteWebhook(ctx context.Context, tenantKey int64, id string) error {
	return s.write(ctx, "delete a webhook", func(t *tx) error {
		n, err := t.exec(markDeleted+` AND id = $3`, tenantKey, blob(nil), id)
		if err == nil && n == 0 {
			return noWebhook()
		}
		return err
	})
}

// PurgeWebhooks removes what deleted webhooks have left, and then the webhooks, in small transactions.
func (s *Store) PurgeWebhooks(ctx context.Context) error {
	keys, err := s.keysOf(ctx, "look for deleted webhooks", `SELECT DISTINCT tenant_key FROM webhook_endpoints WHERE status = 'deleted'`)
	if err != nil {
		return err
	}
	for _, key := range keys {
		for found := true; found; {
			err := s.write(ctx, "remove the rows of a deleted webhook", func(t *tx) (err error) {
				found, err = t.purgeWebhook(key)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// purgeWebhook removes some rows of a deleted webhook of a tenant, or the webhook when it has none left, and tells whether there was one.
func (t *tx) purgeWebhook(tenantKey int64) (found bool, err error) {
	var id string
	err = t.row(`SELECT id FROM webhook_endpoints WHERE tenant_key = $1 AND status = 'deleted' ORDER BY id LIMIT 1`, tenantKey).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var one int // another process may do the same; its turn ends with its commit
	err = t.row(t.s.d.sql(`SELECT 1 FROM webhook_endpoints WHERE id = $1 {lock}`), id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil // there may be others
	}
	if err != nil {
		return false, err
	}
	for _, query := range []string{
		`DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND pos IN (SELECT pos FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY pos LIMIT $2)`,
		`DELETE FROM webhook_attempts WHERE id IN (SELECT id FROM webhook_attempts WHERE endpoint_id = $1 ORDER BY id LIMIT $2)`,
	} {
		n, err := t.exec(query, id, purgeChunk)
		if err != nil || n > 0 {
			return true, err
		}
	}
	_, err = t.exec(`DELETE FROM webhook_endpoints WHERE id = $1`, id)
	return true, err
}

// TestWebhook appends an event of kind gateway.EventTest to the stream and has this webhook alone be told of it. CodeNotFound.
func (s *Store) TestWebhook(ctx context.Context, tenantKey int64, id string, at time.Time) (n gateway.Notice, err error) {
	err = s.write(ctx, "test a webhook", func(t *tx) error {
		last, err := t.lastPlace(tenantKey)
		if errors.Is(err, sql.ErrNoRows) {
			return noWebhook()
		}
		if err != nil {
			return err
		}
		var one int
		err = t.row(`SELECT 1 FROM webhook_endpoints WHERE tenant_key = $1 AND id = $2 AND status <> 'deleted'`, tenantKey, id).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return noWebhook()
		}
		if err != nil {
			return err
		}
		n = gateway.Notice{
			ID: gateway.NoticeID(last + 1), TenantKey: tenantKey, Pos: last + 1, Kind: gateway.EventTest, Subject: id, At: stored(at),
			Data: gateway.WebhookNotice(id),
		}
		if err := t.storeNotices([]gateway.Notice{n}); err != nil {
			return err
		}
		if _, err := t.deliver(id, []gateway.Notice{n}); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE event_streams SET last_pos = $1 WHERE tenant_key = $2`, n.Pos, tenantKey)
		return err
	})
	return n, err
}

// fanOut has the enabled webhooks of a tenant be told of what they want of new events.
func (t *tx) fanOut(tenantKey int64, list []gateway.Notice) error {
	rows, err := t.query(`SELECT id, events FROM webhook_endpoints WHERE tenant_key = $1 AND status = 'enabled'`, tenantKey)
	type target struct{ id, events string }
	targets, err := all(rows, err, func(row scanner) (to target, err error) { return to, row.Scan(&to.id, &to.events) })
	if err != nil {
		return err
	}
	for _, to := range targets {
		filters := strings.Fields(to.events)
		var wanted []gateway.Notice
		for _, n := range list {
			if n.Kind.Wanted(filters) {
				wanted = append(wanted, n)
			}
		}
		if _, err := t.deliver(to.id, wanted); err != nil {
			return err
		}
	}
	return nil
}

// deliver has a webhook be told of events, in their order: behind one of the same subject that waits for another attempt, they wait as long. The row
// of the stream is locked, so that none of them is forgotten meanwhile; those that have been are left out. It returns of how many the webhook is told.
func (t *tx) deliver(id string, list []gateway.Notice) (told int, err error) {
	for _, n := range list {
		added, err := t.exec(`INSERT INTO webhook_deliveries (endpoint_id, pos, tenant_key, subject, attempts, next_at)
			SELECT $1, CAST($2 AS BIGINT), CAST($3 AS BIGINT), $4, 0,
				COALESCE((SELECT MAX(p.next_at) FROM webhook_deliveries p WHERE p.endpoint_id = $1 AND p.subject = $4 AND p.pos < $2), 0)
			WHERE EXISTS (SELECT 1 FROM webhook_endpoints w WHERE w.id = $1 AND w.status <> 'deleted')
				AND EXISTS (SELECT 1 FROM events e WHERE e.tenant_key = $3 AND e.pos = $2)
			ON CONFLICT (endpoint_id, pos) DO UPDATE SET attempts = 0, next_at = excluded.next_at`, id, n.Pos, n.TenantKey, n.Subject)
		if err != nil {
			return told, err
		}
		told += int(added)
	}
	return told, nil
}

// Replay has a webhook be told once more of the event pos, when its tenant has that, or when pos is 0 of all that happened since a time and that it
// wants, gateway.MaxWebhookReplays at most, oldest first; it returns of how many. CodeNotFound.
func (s *Store) Replay(ctx context.Context, tenantKey int64, id string, pos int64, since time.Time) (count int, err error) {
	w, err := s.Webhook(ctx, tenantKey, id)
	if err != nil {
		return 0, err
	}
	args := []any{tenantKey, pos}
	query := selectNotice + `WHERE e.tenant_key = $1 AND e.pos = $2`
	if pos == 0 {
		var wanted string
		wanted, args = eventFilter(w.Events, []any{tenantKey, micros(since), gateway.MaxWebhookReplays})
		query = selectNotice + `WHERE e.tenant_key = $1 AND e.at >= $2` + wanted + ` ORDER BY e.at, e.pos LIMIT $3`
	}
	rows, err := s.read(ctx, query, args...)
	list, err := all(rows, err, scanNotice)
	if err != nil {
		return 0, s.wrap("read events", err)
	}
	if len(list) == 0 && pos != 0 {
		return 0, gateway.Errorf(gateway.CodeNotFound, "there is no such event, or it is no longer kept")
	}
	for len(list) > 0 {
		part := list[:min(len(list), SettleBatch)]
		list = list[len(part):]
		told := 0
		if err := s.write(ctx, "replay events", func(t *tx) (err error) {
			var one int // locked before the webhook, as whoever hands out new events does
			err = t.row(s.d.sql(`SELECT 1 FROM event_streams WHERE tenant_key = $1 {lock}`), tenantKey).Scan(&one)
			if err == nil { // locked before its deliveries, as whoever records them does
				err = t.row(s.d.sql(`SELECT 1 FROM webhook_endpoints WHERE id = $1 AND status <> 'deleted' {lock}`), id).Scan(&one)
			}
			if errors.Is(err, sql.ErrNoRows) {
				return noWebhook()
			}
			if err == nil {
				told, err = t.deliver(id, part)
			}
			return err
		}); err != nil {
			return count, err
		}
		count += told
	}
	return count, nil
}

// DeliveryAttempts lists what was posted to a webhook, newest first, before the attempt of that number; 0: from the newest. CodeNotFound.
func (s *Store) DeliveryAttempts(ctx context.Context, tenantKey int64, id string, before int64, limit int) ([]gateway.DeliveryAttempt, error) {
	if _, err := s.Webhook(ctx, tenantKey, id); err != nil {
		return nil, err
	}
	rows, err := s.read(ctx, `SELECT id, endpoint_id, event_id, kind, attempt, at, status, took, error, outcome, next_at FROM webhook_attempts
		WHERE endpoint_id = $1 AND (CAST($2 AS BIGINT) = 0 OR id < $2) ORDER BY id DESC LIMIT $3`, id, before, limit)
	list, err := all(rows, err, func(row scanner) (a gateway.DeliveryAttempt, err error) {
		var at, took, next int64
		err = row.Scan(&a.ID, &a.WebhookID, &a.EventID, &a.Kind, &a.Attempt, &at, &a.Status, &took, &a.Error, &a.Outcome, &next)
		a.At, a.Took, a.NextAt = fromMicros(at), time.Duration(took)*time.Microsecond, fromMicros(next)
		return a, err
	})
	if err != nil {
		return nil, s.wrap("list deliveries", err)
	}
	return list, nil
}
