package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// A message's columns, those that never change first. messageArgs and scanMessage follow their order.
const (
	fixedColumns = `id, tenant_key, seq, stanza_id, recipient, type, body, lane, reference, bulk_id, retry_of, media_mimetype,
		media_filename, media_size, media_sha256, media_voice, media_seconds, created_at, send_at, expires_at, content`
	stateColumns = `recipient_jid, recipient_lid, status, phase, attempts, next_attempt_at, uncertain, deaths, in_flight, error_code,
		error_message, error_retryable, sent_at, delivered_at, read_at, failed_at, updated_at, delivered_count, read_count, first_contact`
	fixedCount = 21
	stateCount = 20

	messageColumns = `(SELECT t.id FROM tenants t WHERE t.tenant_key = messages.tenant_key),
		(SELECT t.hold_unknown FROM tenants t WHERE t.tenant_key = messages.tenant_key),
		` + fixedColumns + `, ` + stateColumns
	selectMessage = `SELECT ` + messageColumns + ` FROM messages `
	insertMessage = `INSERT INTO messages (` + fixedColumns + `, ` + stateColumns + `) VALUES (
		$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
		$26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41)`
	updateMessage = updateState + ` WHERE id = $21`
	updateState   = `UPDATE messages SET
		recipient_jid = $1, recipient_lid = $2, status = $3, phase = $4, attempts = $5, next_attempt_at = $6,
		uncertain = $7, deaths = $8, in_flight = $9, error_code = $10, error_message = $11, error_retryable = $12,
		sent_at = $13, delivered_at = $14, read_at = $15, failed_at = $16, updated_at = $17, delivered_count = $18,
		read_count = $19, first_contact = $20`
)

// messageArgs are the values of fixedColumns and stateColumns.
func (d dialect) messageArgs(m *gateway.Message) []any {
	media := gateway.Media{}
	if m.Media != nil {
		media = *m.Media
	}
	args := make([]any, 0, fixedCount+stateCount)
	args = append(args,
		m.ID, m.TenantKey, m.Seq, m.WhatsAppID, m.To, m.Type, d.text(m.Text), m.Priority, m.Reference, m.BulkID, m.RetryOf,
		media.MimeType, media.Filename, media.Size, media.SHA256, media.Voice, media.Seconds,
		micros(m.CreatedAt), micros(m.SendAt), micros(m.ExpiresAt), writeContent(m.Content))
	return append(args, stateArgs(m)...)
}

// stateArgs are the values of stateColumns.
func stateArgs(m *gateway.Message) []any {
	failure := gateway.Failure{}
	if m.Error != nil {
		failure = *m.Error
	}
	return []any{
		m.RecipientJID, m.RecipientLID, m.Status, m.Phase, m.Attempts, micros(m.NextAttemptAt), m.Uncertain, m.Deaths, m.InFlight,
		failure.Code, failure.Message, failure.Retryable,
		micros(m.SentAt), micros(m.DeliveredAt), micros(m.ReadAt), micros(m.FailedAt), micros(m.UpdatedAt),
		m.DeliveredCount, m.ReadCount, m.FirstContact,
	}
}

// scanMessage reads a row of selectMessage.
func scanMessage(row scanner) (gateway.Message, error) {
	var (
		m                                                                      gateway.Message
		media                                                                  gateway.Media
		failure                                                                gateway.Failure
		created, sendAt, expires, next, sent, delivered, read, failed, updated int64
		content                                                                string
	)
	err := row.Scan(&m.TenantID, &m.HoldUnknown,
		&m.ID, &m.TenantKey, &m.Seq, &m.WhatsAppID, &m.To, &m.Type, &m.Text, &m.Priority, &m.Reference, &m.BulkID, &m.RetryOf,
		&media.MimeType, &media.Filename, &media.Size, &media.SHA256, &media.Voice, &media.Seconds,
		&created, &sendAt, &expires, &content,
		&m.RecipientJID, &m.RecipientLID, &m.Status, &m.Phase, &m.Attempts, &next, &m.Uncertain, &m.Deaths, &m.InFlight,
		&failure.Code, &failure.Message, &failure.Retryable,
		&sent, &delivered, &read, &failed, &updated,
		&m.DeliveredCount, &m.ReadCount, &m.FirstContact)
	if err != nil {
		return gateway.Message{}, err
	}
	if m.Content, err = readContent(content); err != nil {
		return gateway.Message{}, err
	}
	if media != (gateway.Media{}) {
		m.Media = &media
	}
	if failure.Code != "" {
		m.Error = &failure
	}
	m.CreatedAt, m.SendAt, m.ExpiresAt = fromMicros(created), fromMicros(sendAt), fromMicros(expires)
	m.NextAttemptAt, m.SentAt, m.DeliveredAt = fromMicros(next), fromMicros(sent), fromMicros(delivered)
	m.ReadAt, m.FailedAt, m.UpdatedAt = fromMicros(read), fromMicros(failed), fromMicros(updated)
	return m, nil
}

// writeContent is the JSON of what a message holds beside text and file, "" for nothing.
func writeContent(c *gateway.Content) string {
	if c == nil {
		return ""
	}
	written, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and finite numbers: intake lets no other through
	}
	return string(written)
}

func readContent(written string) (*gateway.Content, error) {
	if written == "" {
		return nil, nil
	}
	c := &gateway.Content{}
	if err := json.Unmarshal([]byte(written), c); err != nil {
		return nil, fmt.Errorf("read the content of a message: %w", err)
	}
	return c, nil
}

// behind reads columns that stand before those of scanMessage.
type behind struct {
	row   scanner
	first []any
}

func (b behind) Scan(dest ...any) error { return b.row.Scan(append(b.first, dest...)...) }

// storedTimes rounds the times of m to what a later read will give.
func storedTimes(m *gateway.Message) {
	m.CreatedAt, m.SendAt, m.ExpiresAt = stored(m.CreatedAt), stored(m.SendAt), stored(m.ExpiresAt)
	m.NextAttemptAt, m.SentAt, m.DeliveredAt = stored(m.NextAttemptAt), stored(m.SentAt), stored(m.DeliveredAt)
	m.ReadAt, m.FailedAt, m.UpdatedAt = stored(m.ReadAt), stored(m.FailedAt), stored(m.UpdatedAt)
}

// placeholders is "$first, ..., $(first+n-1)".
func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
	}
	return b.String()
}
