package queue_test

import (
	"context"
	"slices"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
)

func TestTicketsAreHandledInOrder(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	want := tickets(key, gateway.PriorityNormal, 510) // more than one pipeline
	enqueue(t, q, want...)

	var r record
	q.Open(key, r.done)
	eventually(t, "all handled", func() bool { return len(r.ids()) >= len(want) })
	if got := r.ids(); !slices.Equal(got, messageIDs(want)) {
		t.Fatalf("handled out of order or twice: %d of %d", len(got), len(want))
	}
}

func TestHigherLaneOvertakesWithinOneSend(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	enqueue(t, q, tickets(key, gateway.PriorityBulk, 3)...)
	enqueue(t, q, tickets(key, gateway.PriorityNormal, 2)...)

	var r record
	first, release := make(chan struct{}), make(chan struct{})
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		if len(r.ids()) == 0 {
			close(first)
			<-release
		}
		return r.done(ctx, ticket)
	})
	<-first
	enqueue(t, q, ticket(key, gateway.PriorityHigh, 0))
	close(release)

	eventually(t, "all handled", func() bool { return len(r.ids()) == 6 })
	want := []string{
		ticket(key, gateway.PriorityNormal, 0).MessageID, ticket(key, gateway.PriorityHigh, 0).MessageID,
		ticket(key, gateway.PriorityNormal, 1).MessageID, ticket(key, gateway.PriorityBulk, 0).MessageID,
		ticket(key, gateway.PriorityBulk, 1).MessageID, ticket(key, gateway.PriorityBulk, 2).MessageID,
	}
	if got := r.ids(); !slices.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

// Redis keeps the script of an enqueue in memory only: a new one, or one that was told to forget, is given it again.
func TestTicketsArriveWhenRedisHasForgottenTheScript(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := queue.New(client, quick())
	tenant := tenantKeys(1)[0]
	list := tickets(tenant, gateway.PriorityNormal, 6)
	for n := 0; n < len(list); n += 2 {
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		enqueue(t, q, list[n], list[n+1])
	}
	if n, err := q.Pending(t.Context(), tenant, gateway.PriorityNormal); err != nil || n != len(list) {
		t.Fatalf("%d tickets of %d arrived, %v", n, len(list), err)
	}
}
