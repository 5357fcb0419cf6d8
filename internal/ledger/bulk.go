package ledger

import (
	"context"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// CancelBulk ends up to limit messages of a canceled bulk that no worker has in hand, in one transaction, and returns how many it
// ended: first those that nobody has claimed, then those that are held, back off or wait for the session. 0 when none is left that is not
// being changed at this moment, or when the bulk is not canceled.
func (l *Ledger) CancelBulk(ctx context.Context, tenantKey int64, bulkID string, limit int) (int, error) {
	n, err := l.store.CancelQueued(ctx, tenantKey, bulkID, limit, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Cancel(l.now())
	})
	if err != nil {
		return 0, fmt.Errorf("cancel messages of bulk %s: %w", bulkID, err)
	}
	if n > 0 {
		return n, nil
	}
	begun, err := l.store.CancelBegun(ctx, tenantKey, bulkID, min(limit, purgeStep), func(m *gateway.Message) ([]gateway.Event, error) {
		return m.CancelWithBulk(l.now()), nil
	})
	if err != nil {
		return 0, fmt.Errorf("cancel what was begun of bulk %s: %w", bulkID, err)
	}
	return len(begun), nil
}
