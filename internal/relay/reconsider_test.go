package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/relay"
)

// TestWhatIsHeldComesBackWhenItsReasonHasChanged, however much it is, and although the queue was away.
func TestWhatIsHeldComesBackWhenItsReasonHasChanged(t *testing.T) {
	t.Parallel()
	const many = 1100 // more than one sweep takes
	w := newWorld(t, relay.Options{Interval: 20 * time.Millisecond})
	w.accept(gateway.PriorityBulk, many)
	_, err := w.store.Writer().ExecContext(t.Context(), `UPDATE messages SET status = 'sending', phase = 'held', next_attempt_at = ?`, w.Now().Add(time.Hour).UnixMicro())
	must(t, err)
	w.queue.set(func(q *queue) { q.away = true })
	must(t, w.Start(t.Context()))
	t.Cleanup(func() { must(t, w.Stop(context.WithoutCancel(t.Context()))) })
	w.Reconsider(w.fence)
	held := func() (n int) {
		t.Helper()
		must(t, w.store.Writer().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM messages WHERE next_attempt_at > ?`, w.Now().UnixMicro()).Scan(&n))
		return n
	}
	w.eventually("the first step", func() bool { return held() < many })
	w.queue.set(func(q *queue) { q.away = false })
	w.eventually("everything is due", func() bool { return held() == 0 })
	seen := map[string]bool{}
	w.eventually("tickets for all", func() bool {
		for _, id := range w.queue.take() {
			seen[id] = true
		}
		return len(seen) == many
	})
}
