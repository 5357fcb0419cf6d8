package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/wapro/hub/internal/gateway"
)

// Most new messages are texts to which nothing has happened: of the forty columns only these differ. They are numbered and stored by one
// statement, whatever their number and that of their tenants: a trip to the server costs as much as a few messages. Tenants are locked in
// the order of their keys, and those that are gone are passed over, with their messages.
const acceptPlain = `WITH given AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[],
		$8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[])
		WITH ORDINALITY AS given (` + plainColumns + `, place)),
	takers AS (SELECT tenant_key FROM tenants WHERE tenant_key IN (SELECT tenant_key FROM given) AND deleted_at = 0
		ORDER BY tenant_key FOR NO KEY UPDATE),
	numbered AS (UPDATE tenants t SET last_seq = t.last_seq + n.n
		FROM takers JOIN (SELECT tenant_key, COUNT(*) AS n FROM given GROUP BY tenant_key) n ON n.tenant_key = takers.tenant_key
		WHERE t.tenant_key = takers.tenant_key RETURNING t.tenant_key, t.last_seq - n.n AS before),
	accepted AS (INSERT INTO messages (` + plainColumns + `, seq,
			media_mimetype, media_filename, media_size, media_sha256, media_voice, media_seconds, recipient_jid, recipient_lid,
			attempts, next_attempt_at, uncertain, deaths, in_flight, error_code, error_message, error_retryable, sent_at, delivered_at,
			read_at, failed_at, delivered_count, read_count, first_contact)
		SELECT ` + plainColumns + `, before + ROW_NUMBER() OVER (PARTITION BY tenant_key ORDER BY place),
			'', '', 0, '', FALSE, 0, '', '', 0, 0, FALSE, 0, '', '', '', FALSE, 0, 0, 0, 0, 0, 0, FALSE
		FROM given JOIN numbered USING (tenant_key))
	SELECT tenant_key, before FROM numbered`

const plainColumns = `id, tenant_key, stanza_id, recipient, type, body, lane, reference, bulk_id, retry_of, status, phase,
	created_at, send_at, expires_at, updated_at`

// isPlain tells whether m has nothing but what plainColumns hold.
func isPlain(m *gateway.Message) bool {
	rest := *m
	rest.TenantID, rest.HoldUnknown, rest.Seq = "", false, 0 // not columns of messages, or not known yet
	rest.ID, rest.TenantKey, rest.WhatsAppID, rest.To, rest.Type, rest.Text = "", 0, "", "", "", ""
	rest.Priority, rest.Reference, rest.BulkID, rest.RetryOf, rest.Status, rest.Phase = "", "", "", "", "", ""
	rest.CreatedAt, rest.SendAt, rest.ExpiresAt, rest.UpdatedAt = fromMicros(0), fromMicros(0), fromMicros(0), fromMicros(0)
	return rest == gateway.Message{}
}

func arePlain(msgs []*gateway.Message) bool {
	for _, m := range msgs {
		if !isPlain(m) {
			return false
		}
	}
	return true
}

// acceptPlain stores plain messages by query, gives them their Seq, and returns the tenants that are gone, of whose messages nothing
// is stored. Postgres only.
func (s *Store) acceptPlain(msgs []*gateway.Message, query func(string, ...any) (*sql.Rows, error)) (missing map[int64]bool, err error) {
	var texts [10][]string // in the order of plainColumns
	for i := range texts {
		texts[i] = make([]string, len(msgs))
	}
	var numbers [5][]int64
	for i := range numbers {
		numbers[i] = make([]int64, len(msgs))
	}
	bodies := make([][]byte, len(msgs))
	for i, m := range msgs {
		for c, value := range [...]string{
			m.ID, m.WhatsAppID, m.To, string(m.Type), string(m.Priority), m.Reference, m.BulkID, m.RetryOf, string(m.Status), string(m.Phase),
		} {
			texts[c][i] = value
		}
		for c, value := range [...]int64{m.TenantKey, micros(m.CreatedAt), micros(m.SendAt), micros(m.ExpiresAt), micros(m.UpdatedAt)} {
			numbers[c][i] = value
		}
		bodies[i] = []byte(m.Text)
	}
	type counter struct{ key, seq int64 }
	rows, err := query(acceptPlain,
		texts[0], numbers[0], texts[1], texts[2], texts[3], bodies, texts[4], texts[5], texts[6], texts[7], texts[8], texts[9],
		numbers[1], numbers[2], numbers[3], numbers[4])
	counters, err := all(rows, err, func(row scanner) (c counter, err error) { return c, row.Scan(&c.key, &c.seq) })
	if err != nil {
		return nil, err
	}
	last := make(map[int64]int64, len(counters))
	for _, c := range counters {
		last[c.key] = c.seq
	}
	for _, m := range msgs {
		seq, ok := last[m.TenantKey]
		if !ok {
			if missing == nil {
				missing = map[int64]bool{}
			}
			missing[m.TenantKey] = true
			continue
		}
		m.Seq = seq + 1
		last[m.TenantKey] = m.Seq
	}
	return missing, nil
}

// acceptAtOnce carries out jobs that do nothing but store plain messages, each of one tenant, in one trip to the server: a statement
// that stands alone is a transaction. Nothing is stored when it fails, unless the error is errUnknown. ok is false when the jobs
// are not all of that kind.
func (s *Store) acceptAtOnce(ctx context.Context, conn *sql.Conn, batch []*job) (ok bool, err error) {
	var msgs []*gateway.Message
	for _, j := range batch {
		if len(j.rows) == 0 {
			return false, nil
		}
		for _, m := range j.rows {
			if m.TenantKey != j.rank {
				return false, nil
			}
		}
		msgs = append(msgs, j.rows...)
	}
	if len(msgs) > maxRows {
		return false, nil
	}
	missing, err := s.acceptPlain(msgs, func(query string, args ...any) (*sql.Rows, error) { return conn.QueryContext(ctx, query, args...) })
	switch {
	case err == nil:
	case s.d.conflict(err), pgconn.SafeToRetry(err): // nothing was carried out, or not even sent
		return true, err
	case sqlState(err) == "" || ctx.Err() != nil: // not the server's own refusal: the connection broke, or the time was over
		return true, errors.Join(fmt.Errorf("commit: %w", err), errUnknown)
	case s.d.unavailable(err):
		return true, err
	default:
		return true, errors.Join(errApart, err)
	}
	for _, j := range batch {
		j.err = nil
		if missing[j.rank] {
			j.err = noTenant()
		}
	}
	return true, nil
}
