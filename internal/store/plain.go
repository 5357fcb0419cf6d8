package store

import (
	"slices"

	"github.com/wapro/hub/internal/gateway"
)

// Most new messages are texts to which nothing has happened: of the forty columns only these differ. Sending them alone takes half the
// work of a shared accept, on both sides.
const insertPlain = `WITH accepted AS (INSERT INTO messages (` + plainColumns + `,
		media_mimetype, media_filename, media_size, media_sha256, media_voice, media_seconds, recipient_jid, recipient_lid,
		attempts, next_attempt_at, uncertain, deaths, in_flight, error_code, error_message, error_retryable, sent_at, delivered_at,
		read_at, failed_at, delivered_count, read_count, first_contact)
	SELECT ` + plainColumns + `, '', '', 0, '', FALSE, 0, '', '', 0, 0, FALSE, 0, '', '', '', FALSE, 0, 0, 0, 0, 0, 0, FALSE
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::text[], $10::text[],
			$11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[]) AS plain (` + plainColumns + `)
	RETURNING id, status, created_at)
	INSERT INTO message_events (message_id, n, status, at, detail) SELECT id, 1, status, created_at, '' FROM accepted`

const plainColumns = `id, tenant_key, seq, stanza_id, recipient, type, body, lane, reference, bulk_id, retry_of, status, phase,
	created_at, send_at, expires_at, updated_at`

// isPlain tells whether m has nothing but what plainColumns hold.
func isPlain(m *gateway.Message) bool {
	rest := *m
	rest.TenantID, rest.HoldUnknown = "", false // not columns of messages
	rest.ID, rest.TenantKey, rest.Seq, rest.WhatsAppID, rest.To, rest.Type, rest.Text = "", 0, 0, "", "", "", ""
	rest.Priority, rest.Reference, rest.BulkID, rest.RetryOf, rest.Status, rest.Phase = "", "", "", "", "", ""
	rest.CreatedAt, rest.SendAt, rest.ExpiresAt, rest.UpdatedAt = fromMicros(0), fromMicros(0), fromMicros(0), fromMicros(0)
	return rest == gateway.Message{}
}

// insertPlain stores plain messages with the first rows of their history in one statement. Postgres only.
func (t *tx) insertPlain(msgs []*gateway.Message) error {
	for part := range slices.Chunk(msgs, maxRows) {
		var texts [10][]string // in the order of plainColumns
		for i := range texts {
			texts[i] = make([]string, len(part))
		}
		var numbers [6][]int64
		for i := range numbers {
			numbers[i] = make([]int64, len(part))
		}
		bodies := make([][]byte, len(part))
		for i, m := range part {
			for c, value := range [...]string{
				m.ID, m.WhatsAppID, m.To, string(m.Type), string(m.Priority), m.Reference, m.BulkID, m.RetryOf, string(m.Status), string(m.Phase),
			} {
				texts[c][i] = value
			}
			for c, value := range [...]int64{m.TenantKey, m.Seq, micros(m.CreatedAt), micros(m.SendAt), micros(m.ExpiresAt), micros(m.UpdatedAt)} {
				numbers[c][i] = value
			}
			bodies[i] = []byte(m.Text)
		}
		_, err := t.exec(insertPlain,
			texts[0], numbers[0], numbers[1], texts[1], texts[2], texts[3], bodies, texts[4], texts[5], texts[6], texts[7], texts[8], texts[9],
			numbers[2], numbers[3], numbers[4], numbers[5])
		if err != nil {
			return err
		}
	}
	return nil
}
