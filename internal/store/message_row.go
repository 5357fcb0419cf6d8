package store

import (
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// The columns of a message in the order of messageArgs; the mutable ones come last, in the order of stateArgs.
const (
	fixedColumns = `id, tenant_key, seq, stanza_id, recipient, type, body, lane, reference, bulk_id, retry_of,
		media_mimetype, media_filename, media_size, media_sha256, media_voice, media_seconds, created_at, send_at, expires_at`
	stateColumns = `recipient_jid, recipient_lid, status, phase, attempts, next_attempt_at, uncertain, deaths, in_flight,
		error_code, error_message, error_retryable, sent_at, delivered_at, read_at, failed_at, updated_at, delivered_count, read_count`
	fixedCount = 20
	stateCount = 19

	selectMessage = `SELECT t.id, ` + fixedColumnsOfM + `, ` + stateColumnsOfM + `
		FROM messages m JOIN tenants t ON t.tenant_key = m.tenant_key `
	fixedColumnsOfM = `m.id, m.tenant_key, m.seq, m.stanza_id, m.recipient, m.type, m.body, m.lane, m.reference, m.bulk_id, m.retry_of,
		m.media_mimetype, m.media_filename, m.media_size, m.media_sha256, m.media_voice, m.media_seconds, m.created_at, m.send_at, m.expires_at`
	stateColumnsOfM = `m.recipient_jid, m.recipient_lid, m.status, m.phase, m.attempts, m.next_attempt_at, m.uncertain, m.deaths, m.in_flight,
		m.error_code, m.error_message, m.error_retryable, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.updated_at, m.delivered_count, m.read_count`
)

// messageArgs are the values of fixedColumns and stateColumns.
func messageArgs(m *gateway.Message) []any {
	media := gateway.Media{}
	if m.Media != nil {
		media = *m.Media
	}
	args := make([]any, 0, fixedCount+stateCount)
	args = append(args,
		m.ID, m.TenantKey, m.Seq, m.WhatsAppID, m.To, m.Type, m.Text, m.Priority, m.Reference, m.BulkID, m.RetryOf,
		media.MimeType, media.Filename, media.Size, media.SHA256, media.Voice, media.Seconds,
		micros(m.CreatedAt), micros(m.SendAt), micros(m.ExpiresAt))
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
		m.DeliveredCount, m.ReadCount,
	}
}

// scanMessage reads a row of selectMessage.
func scanMessage(row scanner) (gateway.Message, error) {
	var (
		m                                                                      gateway.Message
		media                                                                  gateway.Media
		failure                                                                gateway.Failure
		created, sendAt, expires, next, sent, delivered, read, failed, updated int64
	)
	err := row.Scan(&m.TenantID,
		&m.ID, &m.TenantKey, &m.Seq, &m.WhatsAppID, &m.To, &m.Type, &m.Text, &m.Priority, &m.Reference, &m.BulkID, &m.RetryOf,
		&media.MimeType, &media.Filename, &media.Size, &media.SHA256, &media.Voice, &media.Seconds,
		&created, &sendAt, &expires,
		&m.RecipientJID, &m.RecipientLID, &m.Status, &m.Phase, &m.Attempts, &next, &m.Uncertain, &m.Deaths, &m.InFlight,
		&failure.Code, &failure.Message, &failure.Retryable,
		&sent, &delivered, &read, &failed, &updated,
		&m.DeliveredCount, &m.ReadCount)
	if err != nil {
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
