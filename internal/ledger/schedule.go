package ledger

import (
	"context"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// Release queues at most limit scheduled messages whose time has come, of all tenants, the longest due first, and returns their
// tickets. Several processes may do so at once: each message is released by one of them.
func (l *Ledger) Release(ctx context.Context, limit int) ([]gateway.Ticket, error) {
	now := l.now()
	tickets, err := l.store.Release(ctx, now, limit, func(m *gateway.Message) []gateway.Event { return m.Release(now) })
	if err != nil {
		return nil, fmt.Errorf("release scheduled messages: %w", err)
	}
	return tickets, nil
}
