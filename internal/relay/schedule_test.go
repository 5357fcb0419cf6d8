package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/relay"
)

func TestScheduledMessagesAreReleasedInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, relay.Options{Interval: time.Millisecond})
	const n = 700 // more than one batch
	var batch []*gateway.Message
	for i := range n {
		batch = append(batch, &gateway.Message{
			ID: fmt.Sprintf("s%04d", i), TenantKey: w.tenant.Key, To: "4915550000001", Type: gateway.TypeText, Text: "hello",
			Priority: gateway.PriorityNormal, WhatsAppID: fmt.Sprintf("3EB1%04d", i), Status: gateway.StatusScheduled,
			CreatedAt: w.Now(), SendAt: w.Now().Add(time.Hour), ExpiresAt: w.Now().Add(2 * time.Hour),
		})
	}
	must(t, w.store.Accept(t.Context(), batch, nil))
	w.start()
	now := w.accept(gateway.PriorityNormal, 1)
	w.eventually("the ticket of what is not scheduled", func() bool {
		got := w.queue.take()
		return len(got) == 1 && got[0] == now[0]
	})
	w.queue.set(func(q *queue) { q.away = true })
	w.Advance(time.Hour)
	w.eventually("their release, although the queue is away", func() bool { return w.status(batch[n-1].ID) == gateway.StatusQueued })
	w.queue.set(func(q *queue) { q.away = false })
	seen := map[string]bool{}
	w.eventually("tickets up to the window", func() bool {
		for _, id := range w.queue.take() {
			seen[id] = true
		}
		return seen[batch[0].ID] && len(seen) >= 300
	})
}
