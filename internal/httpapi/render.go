package httpapi

import (
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// message renders a message as the API shows it: every field that all messages have, null when empty.
func message(m *gateway.Message) spec.Message {
	out := spec.Message{
		Id: m.ID, TenantId: m.TenantID, To: m.To, RecipientJid: orNull(m.RecipientJID), Type: spec.MessageType(m.Type),
		Message: orNull(m.Text), Status: spec.Status(m.Status), Phase: phase(m.Phase),
		Priority: spec.Priority(m.Priority), Reference: orNull(m.Reference), WhatsappId: m.WhatsAppID,
		Attempts: m.Attempts, NextAttemptAt: timeOrNull(m.NextAttemptAt), Error: failure(m.Error),
		BulkId: orNull(m.BulkID), RetryOf: orNull(m.RetryOf), CreatedAt: m.CreatedAt.UTC(), SendAt: timeOrNull(m.SendAt),
		ExpiresAt: timeOrNull(m.ExpiresAt), SentAt: timeOrNull(m.SentAt), DeliveredAt: timeOrNull(m.DeliveredAt),
		ReadAt: timeOrNull(m.ReadAt), FailedAt: timeOrNull(m.FailedAt), UpdatedAt: m.UpdatedAt.UTC(),
	}
	if m.Media != nil {
		out.Media = &spec.Media{
			Mimetype: m.Media.MimeType, Filename: orNull(m.Media.Filename), Size: m.Media.Size, Sha256: m.Media.SHA256,
		}
	}
	showContent(&out, m)
	return out
}

// phase hides how the messages of a bulk wait for their turn.
func phase(p gateway.Phase) *string {
	if p == gateway.PhaseStaged {
		p = gateway.PhaseWaiting
	}
	return orNull(string(p))
}

func failure(f *gateway.Failure) *spec.Failure {
	if f == nil {
		return nil
	}
	return &spec.Failure{Code: string(f.Code), Message: f.Message, Retryable: f.Retryable}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// value is what p points at, the zero value for nil.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
