package httpapi

import (
	"context"
	"math"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

const (
	maxAhead   = 100_000
	paceWindow = time.Minute // of the pace that an ETA is reckoned with
	maxPace    = 1000        // sends of it that are looked at
)

// place tells where a message that waits for its turn stands; nil for any other.
func (s *Server) place(ctx context.Context, m *gateway.Message) (*spec.QueuePlace, error) {
	if m.Status != gateway.StatusQueued || m.Phase != gateway.PhaseWaiting && m.Phase != gateway.PhaseStaged {
		return nil, nil
	}
	ahead, err := s.store.Ahead(ctx, m, maxAhead)
	if err != nil {
		return nil, wrap(err, "count what is ahead of the message")
	}
	now := s.opts.Clock()
	if m.Phase == gateway.PhaseStaged {
		b, err := s.store.Bulk(ctx, m.TenantKey, m.BulkID)
		if err != nil {
			return nil, wrap(err, "read the bulk of the message")
		}
		if b.Status != gateway.BulkRunning || b.SendAt.After(now) {
			return &spec.QueuePlace{Ahead: ahead}, nil // nobody knows when it will be resumed, nor what the pace will be then
		}
	}
	sent, err := s.store.SentTimes(ctx, m.TenantKey, now.Add(-paceWindow), maxPace)
	if err != nil {
		return nil, wrap(err, "look at the pace")
	}
	return &spec.QueuePlace{Ahead: ahead, EtaSeconds: eta(ahead, sent, now)}, nil
}

// eta is when the message behind ahead others goes out, at the pace of sent, which ascend; nil when there is none.
func eta(ahead int, sent []time.Time, now time.Time) *int {
	if len(sent) == 0 {
		return nil
	}
	window := paceWindow
	if len(sent) == maxPace {
		window = max(now.Sub(sent[0]), time.Millisecond)
	}
	seconds := int(math.Ceil(float64(ahead+1) * window.Seconds() / float64(len(sent))))
	return &seconds
}
