package ledger

import (
	"context"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// CancelBulk ends up to limit messages of a canceled bulk that nobody has claimed, in one transaction, and returns how many it
// ended. 0 when none is left, or when the bulk is not canceled.
func (l *Ledger) CancelBulk(ctx context.Context, tenantKey int64, bulkID string, limit int) (int, error) {
	n, err := l.store.CancelQueued(ctx, tenantKey, bulkID, limit, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Cancel(l.now())
	})
	if err != nil {
		return 0, fmt.Errorf("cancel messages of bulk %s: %w", bulkID, err)
	}
	return n, nil
}
