package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/wapro/hub/internal/gateway"
)

func TestRetryComesBackNoEarlierThanAsked(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	const delay = 1200 * time.Millisecond
	times := make(chan time.Time, 2)
	q.Open(key, func(context.Context, gateway.Ticket) gateway.Verdict {
		times <- time.Now()
		if len(times) == 1 {
			return gateway.Verdict{Kind: gateway.VerdictRetry, Delay: delay}
		}
		return gateway.Verdict{}
	})
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	eventually(t, "handled twice", func() bool { return len(times) == 2 })
	// A ticket that comes too early finds a message that is not due and is lost for nothing.
	first := <-times
	if waited := (<-times).Sub(first); waited < delay || waited > delay+time.Minute {
		t.Fatalf("came back after %v instead of %v", waited, delay)
	}
}

// TestATicketThatIsDelayedComesWhenItIsEnqueuedAgain: what its message waited for has come early. It does not come twice.
func TestATicketThatIsDelayedComesWhenItIsEnqueuedAgain(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, client, quick())
	key := tenantKeys(1)[0]
	var n atomic.Int32
	q.Open(key, func(context.Context, gateway.Ticket) gateway.Verdict {
		if n.Add(1) == 1 {
			return gateway.Verdict{Kind: gateway.VerdictRetry, Delay: time.Hour}
		}
		return gateway.Verdict{}
	})
	inspector := asynq.NewInspectorFromRedisClient(client)
	name := fmt.Sprintf("t:%d", key)
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	eventually(t, "delayed", func() bool {
		info, err := inspector.GetQueueInfo(name)
		return err == nil && info.Retry == 1
	})
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	eventually(t, "nothing left", func() bool {
		pending, err := q.Pending(t.Context(), key, gateway.PriorityNormal)
		return err == nil && pending == 0
	})
	if n.Load() != 2 {
		t.Errorf("handled %d times", n.Load())
	}
}

func TestManyRetriesNeverArchiveATicket(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, client, quick())
	key := tenantKeys(1)[0]
	var n atomic.Int32
	q.Open(key, func(context.Context, gateway.Ticket) gateway.Verdict {
		if n.Add(1) < 4 {
			return gateway.Verdict{Kind: gateway.VerdictRetry}
		}
		return gateway.Verdict{}
	})
	enqueue(t, q, ticket(key, gateway.PriorityHigh, 0))
	eventually(t, "handled four times", func() bool { return n.Load() == 4 })
	eventually(t, "nothing left", func() bool {
		pending, err := q.Pending(t.Context(), key, gateway.PriorityHigh)
		return err == nil && pending == 0
	})
}

func TestPanicBecomesARetryAndHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	keys := tenantKeys(2)
	var bad, good record
	var n atomic.Int32
	q.Open(keys[0], func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		if n.Add(1) == 1 {
			panic("a secret text")
		}
		return bad.done(ctx, ticket)
	})
	q.Open(keys[1], good.done)
	enqueue(t, q, ticket(keys[0], gateway.PriorityNormal, 0), ticket(keys[1], gateway.PriorityNormal, 0))
	eventually(t, "both handled", func() bool { return len(bad.ids()) == 1 && len(good.ids()) == 1 })
}

func TestAgainGoesToTheTail(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	var r record
	enqueue(t, q, tickets(key, gateway.PriorityNormal, 3)...)
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		r.done(ctx, ticket)
		if len(r.ids()) == 1 {
			return gateway.Verdict{Kind: gateway.VerdictAgain}
		}
		return gateway.Verdict{}
	})
	eventually(t, "handled", func() bool { return len(r.ids()) == 4 })
	all := messageIDs(tickets(key, gateway.PriorityNormal, 3))
	if want := append(all, all[0]); !slices.Equal(r.ids(), want) {
		t.Fatalf("got %v, want %v", r.ids(), want)
	}
}

func TestDelayedTicketsWaitWithoutAServerAndComeDue(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	var r record
	q.Open(key, r.done)
	first := ticket(key, gateway.PriorityNormal, 0)
	at := time.Now().Add(1500 * time.Millisecond)
	for range 2 { // the same again does nothing
		if err := q.EnqueueAt(t.Context(), first, at); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, q, first) // beside it, for now
	eventually(t, "handled now", func() bool { return len(r.ids()) == 1 })
	eventually(t, "handled when due", func() bool { return len(r.ids()) == 2 })
	if time.Now().Before(at) {
		t.Fatal("came too early")
	}
	if n, err := q.Pending(t.Context(), key, gateway.PriorityNormal); err != nil || n > 1 {
		t.Fatalf("%d tickets left, %v", n, err)
	}
}

func TestATicketThatWaitsIsNotAddedTwice(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	list := tickets(key, gateway.PriorityBulk, 5)
	for range 3 {
		enqueue(t, q, list...)
	}
	if n, err := q.Pending(t.Context(), key, gateway.PriorityBulk); err != nil || n != 5 {
		t.Fatalf("%d tickets wait, %v", n, err)
	}
	var r record
	q.Open(key, r.done)
	eventually(t, "handled", func() bool { return len(r.ids()) == 5 })
	if !slices.Equal(r.ids(), messageIDs(list)) {
		t.Fatal("order lost")
	}
}

func TestATicketInHandGetsOneSuccessorAtMost(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	one := ticket(key, gateway.PriorityNormal, 0)
	var r record
	inHand, release := make(chan struct{}), make(chan struct{})
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		if len(r.ids()) == 0 {
			close(inHand)
			<-release
		}
		return r.done(ctx, ticket)
	})
	enqueue(t, q, one)
	<-inHand
	for range 3 {
		enqueue(t, q, one)
	}
	close(release)
	eventually(t, "handled twice", func() bool { return len(r.ids()) == 2 })
	eventually(t, "nothing left", func() bool {
		n, err := q.Pending(t.Context(), key, gateway.PriorityNormal)
		return err == nil && n == 0
	})
	if len(r.ids()) != 2 {
		t.Fatalf("handled %d times", len(r.ids()))
	}
}

// What an older version, an operator or asynq itself put aside for good must not keep a message from being looked at.
func TestAnArchivedTicketMakesRoom(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, client, quick())
	key := tenantKeys(1)[0]
	one := ticket(key, gateway.PriorityNormal, 0)
	enqueue(t, q, one)
	if err := asynq.NewInspectorFromRedisClient(client).ArchiveTask("t:"+ticketNumber(key), one.MessageID); err != nil {
		t.Fatal(err)
	}
	enqueue(t, q, one)
	var r record
	q.Open(key, r.done)
	eventually(t, "handled", func() bool { return len(r.ids()) == 1 })
}

func TestDropTenantLeavesNothingToHandle(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, client, quick())
	keys := tenantKeys(2)
	for _, lane := range gateway.Priorities() {
		enqueue(t, q, tickets(keys[0], lane, 10)...)
		if err := q.EnqueueAt(t.Context(), ticket(keys[0], lane, 0), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, q, ticket(keys[1], gateway.PriorityNormal, 0))
	if err := q.DropTenant(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	for _, lane := range gateway.Priorities() {
		if n, err := q.Pending(t.Context(), keys[0], lane); err != nil || n != 0 {
			t.Fatalf("lane %s keeps %d tickets, %v", lane, n, err)
		}
	}
	if n, err := q.Pending(t.Context(), keys[1], gateway.PriorityNormal); err != nil || n != 1 {
		t.Fatalf("the other tenant has %d tickets, %v", n, err)
	}
	// The ids are free again.
	enqueue(t, q, ticket(keys[0], gateway.PriorityNormal, 0))
	if n, err := q.Pending(t.Context(), keys[0], gateway.PriorityNormal); err != nil || n != 1 {
		t.Fatalf("%d tickets after the drop, %v", n, err)
	}
}
