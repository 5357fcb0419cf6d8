package queue_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// TestAHighTicketOvertakesAPacedLane: while the normal lane rests, what it holds keeps its place, and a high ticket is handled at once.
func TestAHighTicketOvertakesAPacedLane(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	normal, bulk := tickets(key, gateway.PriorityNormal, 3), tickets(key, gateway.PriorityBulk, 2)
	enqueue(t, q, slices.Concat(bulk, normal)...)
	var r record
	rested, high := make(chan struct{}), ticket(key, gateway.PriorityHigh, 0)
	var once sync.Once
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		if ticket.Lane != gateway.PriorityHigh && !slices.Contains(r.ids(), high.MessageID) {
			once.Do(func() { close(rested) })
			return gateway.Verdict{Kind: gateway.VerdictGiveBack, Rest: gateway.Rest{From: gateway.PriorityNormal, For: time.Hour}}
		}
		return r.done(ctx, ticket)
	})
	<-rested
	enqueue(t, q, high)
	eventually(t, "the high ticket", func() bool { return slices.Equal(r.ids(), []string{high.MessageID}) })
	// Opening it again, as a change of its settings does, ends the rest.
	q.Open(key, r.done)
	want := messageIDs(slices.Concat([]gateway.Ticket{high}, normal, bulk))
	eventually(t, "the others", func() bool { return len(r.ids()) == len(want) })
	if !slices.Equal(r.ids(), want) {
		t.Fatalf("got  %v\nwant %v", r.ids(), want)
	}
}

// TestARestEndsByItself and leaves every ticket where it was.
func TestARestEndsByItself(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	const pause = 100 * time.Millisecond
	want := tickets(key, gateway.PriorityNormal, 5)
	enqueue(t, q, want...)
	var (
		r     record
		mu    sync.Mutex
		times []time.Time
	)
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		mu.Lock()
		defer mu.Unlock()
		rest := gateway.Rest{From: gateway.PriorityHigh, For: pause}
		if n := len(times); n > 0 && time.Since(times[n-1]) < pause {
			// The server had begun with the next ticket before the rest that the last one asked for.
			return gateway.Verdict{Kind: gateway.VerdictGiveBack, Rest: rest}
		}
		times = append(times, time.Now())
		verdict := r.done(ctx, ticket)
		verdict.Rest = rest
		return verdict
	})
	eventually(t, "all of them", func() bool { return len(r.ids()) == len(want) })
	if !slices.Equal(r.ids(), messageIDs(want)) {
		t.Errorf("got %v", r.ids())
	}
}

// TestARestingLaneDoesNotKeepAServerUp: what waits for the end of a rest costs nothing until then.
func TestARestingLaneDoesNotKeepAServerUp(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	keys := tenantKeys(2)
	for _, key := range keys {
		enqueue(t, q, tickets(key, gateway.PriorityNormal, 2)...)
	}
	var mu sync.Mutex
	handled := map[int64]int{}
	for _, key := range keys {
		q.Open(key, func(context.Context, gateway.Ticket) gateway.Verdict {
			mu.Lock()
			defer mu.Unlock()
			handled[key]++
			return gateway.Verdict{Kind: gateway.VerdictGiveBack, Rest: gateway.Rest{From: gateway.PriorityNormal, For: time.Hour}}
		})
	}
	eventually(t, "both to rest", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return handled[keys[0]] > 0 && handled[keys[1]] > 0
	})
	for _, key := range keys {
		q.Close(key) // waits for a server that runs
	}
	mu.Lock()
	defer mu.Unlock()
	for key, n := range handled {
		if n > 2 { // the second ticket may have been begun before the server stopped
			t.Errorf("tenant %d was handled %d times during its rest", key, n)
		}
	}
	for _, key := range keys {
		if n, err := q.Pending(t.Context(), key, gateway.PriorityNormal); err != nil || n != 2 {
			t.Errorf("%d tickets are left, %v", n, err)
		}
	}
}
