package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// One worker at a time delivers to a webhook: it has the turn, for as long as it renews it by the database's clock. So two never post the same
// event at once, and what is in flight to one address is bounded however many workers there are.

// DueWebhooks finds enabled webhooks to which something can be posted now and nobody posts, or of which something is to be made due: of those that fail
// and of the others up to limit each, however many of the others there are, and of each those whose last turn ended longest ago.
func (s *Store) DueWebhooks(ctx context.Context, now time.Time, limit int) ([]gateway.DueWebhook, error) {
	rows, err := s.read(ctx, s.d.sql(selectDueWebhooks), micros(now), limit)
	list, err := all(rows, err, func(row scanner) (w gateway.DueWebhook, err error) { return w, row.Scan(&w.ID, &w.Failing) })
	if err != nil {
		return nil, s.wrap("look for due webhooks", err)
	}
	return list, nil
}

const selectDueWebhooks = `SELECT id, FALSE FROM (SELECT w.id` + fromDueWebhooks + ` AND w.failures = 0 ORDER BY w.turn_until, w.id LIMIT $2) healthy
	UNION ALL SELECT id, TRUE FROM (SELECT w.id` + fromDueWebhooks + ` AND w.failures > 0 ORDER BY w.turn_until, w.id LIMIT $2) failing`

const fromDueWebhooks = ` FROM webhook_endpoints w
	WHERE w.status = 'enabled' AND w.rest_until <= $1 AND (w.turn = '' OR w.turn_until <= {now})
		AND (w.wake_from > 0 OR (SELECT d.pos FROM webhook_deliveries d WHERE d.endpoint_id = w.id AND d.next_at <= $1 AND ` + firstOfSubject + `
			ORDER BY d.next_at, d.pos LIMIT 1) IS NOT NULL)`

// firstOfSubject is which deliveries have none of the same subject before them. An event that came while one of its subject was put off may be due
// without being the first. As the look for one row it goes by its index in any plan, which NOT EXISTS does not.
const firstOfSubject = `d.pos = (SELECT p.pos FROM webhook_deliveries p WHERE p.endpoint_id = d.endpoint_id AND p.subject = d.subject ORDER BY p.pos LIMIT 1)`

// TakeWebhookTurn gives owner the turn for ttl, unless another has it. nil: another has, or the webhook is gone or disabled.
func (s *Store) TakeWebhookTurn(ctx context.Context, turn gateway.WebhookTurn, ttl time.Duration) (*gateway.Webhook, error) {
	var w *gateway.Webhook
	err := s.write(ctx, "take the turn of a webhook", func(t *tx) error {
		w = nil
		n, err := t.exec(s.d.sql(`UPDATE webhook_endpoints SET turn = $1, turn_until = {now} + $2
			WHERE id = $3 AND status = 'enabled' AND (turn_until <= {now} OR turn = '' OR turn = $1)`), turn.Owner, ttl.Microseconds(), turn.WebhookID)
		if err != nil || n == 0 {
			return err
		}
		found, err := scanWebhook(t.row(selectWebhookToServe+`id = $1`, turn.WebhookID))
		w = &found
		return err
	})
	return w, err
}

// EndWebhookTurn lets the turn go, and the webhook stand behind the others that are due; one that has been lost is left alone.
func (s *Store) EndWebhookTurn(ctx context.Context, turn gateway.WebhookTurn) error {
	return s.write(ctx, "end the turn of a webhook", func(t *tx) error {
		_, err := t.exec(s.d.sql(`UPDATE webhook_endpoints SET turn = '', turn_until = {now} WHERE id = $1 AND turn = $2`), turn.WebhookID, turn.Owner)
		return err
	})
}

// NextDeliveries reads what can be posted to a webhook now, oldest first: of each subject the first that waits. However much waits for a later attempt,
// no more than twice limit is read (TestWebhooksReadOnlyWhatIsDue).
func (s *Store) NextDeliveries(ctx context.Context, id string, now time.Time, limit int) ([]gateway.Delivery, error) {
	rows, err := s.read(ctx, selectNextDeliveries, id, micros(now), limit)
	list, err := all(rows, err, func(row scanner) (d gateway.Delivery, err error) {
		d.Notice, err = scanNotice(behind{row, []any{&d.WebhookID, &d.Attempts}})
		return d, err
	})
	if err != nil {
		return nil, s.wrap("read deliveries", err)
	}
	return list, nil
}

// selectNextDeliveries has two parts: were they one in the order of next_at, what fails would wait for as long as anything new comes; in the order of
// pos, everything that waits for another attempt would be read. 0 is written as a range, or SQLite goes by pos.
const selectNextDeliveries = `SELECT n.endpoint_id, n.attempts, e.id, e.tenant_key, t.id, e.pos, e.kind, e.subject, e.at, e.data
	FROM (SELECT * FROM (SELECT * FROM webhook_deliveries d WHERE d.endpoint_id = $1 AND d.next_at <= 0 AND ` + firstOfSubject + `
			ORDER BY d.next_at, d.pos LIMIT $3) fresh
		UNION ALL SELECT * FROM (SELECT * FROM webhook_deliveries d WHERE d.endpoint_id = $1 AND d.next_at > 0 AND d.next_at <= $2 AND ` + firstOfSubject + `
			ORDER BY d.next_at, d.pos LIMIT $3) again) n
	JOIN webhook_endpoints w ON w.id = n.endpoint_id AND w.status <> 'deleted'
	JOIN events e ON e.tenant_key = n.tenant_key AND e.pos = n.pos JOIN tenants t ON t.tenant_key = n.tenant_key
	ORDER BY n.pos LIMIT $3`

// RecordDeliveries stores what became of attempts, and what apply makes of the webhook by that; the turn is prolonged by ttl. It returns the
// webhook and whether the turn is still held. What was taken stays taken when the turn was lost meanwhile: it was.
// apply must be quick and must not use the database. When the webhook rested and does not any more, it is Waking: all that waits for another attempt is to be
// made due (WakeDeliveries).
func (s *Store) RecordDeliveries(ctx context.Context, turn gateway.WebhookTurn, ttl time.Duration, attempts []gateway.DeliveryAttempt,
	apply func(*gateway.Webhook),
) (w gateway.Webhook, held bool, err error) {
	err = s.write(ctx, "record deliveries", func(t *tx) error {
		held = false
		w, err = scanWebhook(t.row(s.d.sql(selectWebhookToServe+`id = $1 {lock}`), turn.WebhookID))
		if errors.Is(err, sql.ErrNoRows) {
			return nil // deleted, with its deliveries
		}
		if err != nil {
			return err
		}
		for _, a := range attempts {
			if err := t.recordAttempt(a); err != nil {
				return err
			}
		}
		err := insertParts(t, `INSERT INTO webhook_attempts (endpoint_id, event_id, kind, attempt, at, status, took, error, outcome, next_at) VALUES `, attempts,
			func(a gateway.DeliveryAttempt) []any {
				return []any{a.WebhookID, a.EventID, a.Kind, a.Attempt, micros(a.At), a.Status, a.Took.Microseconds(), a.Error, a.Outcome, micros(a.NextAt)}
			})
		if err != nil {
			return err
		}
		if err := t.changeWebhook(&w, func(w *gateway.Webhook) error { apply(w); return nil }); err != nil {
			return err
		}
		n, err := t.exec(s.d.sql(`UPDATE webhook_endpoints SET turn_until = {now} + $1 WHERE id = $2 AND turn = $3`), ttl.Microseconds(), turn.WebhookID, turn.Owner)
		held = n > 0
		return err
	})
	return w, held, err
}

// recordAttempt takes a delivery off the list, or has it and those behind it wait.
func (t *tx) recordAttempt(a gateway.DeliveryAttempt) error {
	if a.Outcome != gateway.DeliveryRetry {
		_, err := t.exec(`DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND pos = $2`, a.WebhookID, a.Pos)
		return err
	}
	if _, err := t.exec(`UPDATE webhook_deliveries SET attempts = $1 WHERE endpoint_id = $2 AND pos = $3`, a.Attempt, a.WebhookID, a.Pos); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE webhook_deliveries SET next_at = $1 WHERE endpoint_id = $2 AND subject = $3 AND pos >= $4 AND next_at < $1`,
		micros(a.NextAt), a.WebhookID, a.Subject, a.Pos)
	return err
}
