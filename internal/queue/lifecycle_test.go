package queue_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
)

func TestGiveBackKeepsTheOrder(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	want := tickets(key, gateway.PriorityNormal, 20)
	enqueue(t, q, want...)
	var r record
	var n atomic.Int32
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		if n.Add(1)%3 == 0 {
			return gateway.Verdict{Kind: gateway.VerdictGiveBack}
		}
		return r.done(ctx, ticket)
	})
	eventually(t, "all handled", func() bool { return len(r.ids()) == len(want) })
	if !slices.Equal(r.ids(), messageIDs(want)) {
		t.Fatalf("out of order: %v", r.ids())
	}
}

func TestCloseWaitsForTheHandlerInHandAndLosesNothing(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	want := tickets(key, gateway.PriorityNormal, 3)
	enqueue(t, q, want...)
	var r record
	inHand, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	q.Open(key, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		once.Do(func() { close(inHand); <-release })
		return r.done(ctx, ticket)
	})
	<-inHand
	closed := make(chan struct{})
	go func() { defer close(closed); q.Close(key) }()
	select {
	case <-closed:
		t.Fatal("Close did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	<-closed
	if got := r.ids(); len(got) != 1 {
		t.Fatalf("handled %v before Close returned", got)
	}
	q.Open(key, r.done)
	eventually(t, "the rest", func() bool { return len(r.ids()) == 3 })
	if !slices.Equal(r.ids(), messageIDs(want)) {
		t.Fatalf("got %v", r.ids())
	}
}

func TestCloseCancelsAHandlerThatTakesTooLong(t *testing.T) {
	t.Parallel()
	opts := quick()
	opts.Grace = 50 * time.Millisecond
	q := start(t, newRedis(t), opts)
	key := tenantKeys(1)[0]
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	inHand := make(chan struct{})
	q.Open(key, func(ctx context.Context, _ gateway.Ticket) gateway.Verdict {
		close(inHand)
		<-ctx.Done()
		return gateway.Verdict{Kind: gateway.VerdictGiveBack}
	})
	<-inHand
	q.Close(key)
	if n, err := q.Pending(t.Context(), key, gateway.PriorityNormal); err != nil || n != 1 {
		t.Fatalf("%d tickets wait, %v", n, err)
	}
	var r record
	q.Open(key, r.done)
	eventually(t, "handled", func() bool { return len(r.ids()) == 1 })
}

func TestNothingIsConsumedBeforeOpenAndAfterClose(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	keys := tenantKeys(2)
	var shut, open record
	q.Open(keys[0], shut.done)
	q.Close(keys[0])
	q.Close(keys[0])
	q.Open(keys[1], open.done)
	enqueue(t, q, ticket(keys[0], gateway.PriorityNormal, 0), ticket(keys[1], gateway.PriorityNormal, 0))
	eventually(t, "the open one", func() bool { return len(open.ids()) == 1 })
	if n, err := q.Pending(t.Context(), keys[0], gateway.PriorityNormal); err != nil || n != 1 || len(shut.ids()) != 0 {
		t.Fatalf("%d tickets wait, %d handled, %v", n, len(shut.ids()), err)
	}
}

func TestReopeningReplacesTheHandler(t *testing.T) {
	t.Parallel()
	q := start(t, newRedis(t), quick())
	key := tenantKeys(1)[0]
	var before, after record
	q.Open(key, before.done)
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	eventually(t, "the first", func() bool { return len(before.ids()) == 1 })
	q.Open(key, after.done)
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 1))
	eventually(t, "the second", func() bool { return len(after.ids())+len(before.ids()) == 2 })
	if len(after.ids()) != 1 {
		t.Fatal("the old handler got a ticket after Open returned")
	}
}

func TestAnotherProcessIsWokenAtOnce(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	opts := quick()
	opts.SweepEvery = time.Hour
	worker := start(t, client, opts)
	key := tenantKeys(1)[0]
	var r record
	worker.Open(key, r.done)
	api := queue.New(client, opts) // never started
	n := 0
	for range 3 {
		// Once its server has stopped only a signal starts it.
		eventually(t, "server stopped", func() bool { return !served(t, client, key) })
		before := len(r.ids())
		eventually(t, "handled", func() bool {
			if err := api.Enqueue(t.Context(), ticket(key, gateway.PriorityNormal, n)); err != nil { // until the worker listens
				t.Fatal(err)
			}
			n++
			return len(r.ids()) > before
		})
		eventually(t, "all handled", func() bool { return len(r.ids()) == n })
	}
}

func TestALostSignalIsFoundByTheSweep(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, deaf{client}, quick())
	key := tenantKeys(1)[0]
	var r record
	q.Open(key, r.done)
	api := queue.New(client, queue.Options{})
	for i := range 3 {
		if err := api.Enqueue(t.Context(), ticket(key, gateway.PriorityNormal, i)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "handled", func() bool { return len(r.ids()) == i+1 })
	}
}

// served reports whether a server of the tenant runs, by what asynq's servers tell of themselves.
func served(t *testing.T, client redis.UniversalClient, key int64) bool {
	t.Helper()
	servers, err := asynq.NewInspectorFromRedisClient(client).Servers()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool {
		_, ok := s.Queues["t:"+ticketNumber(key)]
		return ok
	})
}

func TestAServerStopsWhenItsWorkIsDoneAndNotBefore(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, client, quick())
	key := tenantKeys(1)[0]
	inHand, release := make(chan struct{}), make(chan struct{})
	q.Open(key, func(context.Context, gateway.Ticket) gateway.Verdict {
		close(inHand)
		<-release
		return gateway.Verdict{}
	})
	if served(t, client, key) {
		t.Fatal("a server runs without work")
	}
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	<-inHand
	eventually(t, "a server runs", func() bool { return served(t, client, key) })
	close(release)
	eventually(t, "no server runs", func() bool { return !served(t, client, key) })
}

// deaf is a client whose subscriptions hear nothing.
type deaf struct{ redis.UniversalClient }

func (d deaf) Subscribe(ctx context.Context, _ ...string) *redis.PubSub {
	return d.UniversalClient.Subscribe(ctx, "hub:nobody-speaks-here")
}

func TestStopIsBoundedAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	q := queue.New(newRedis(t), quick())
	if err := q.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Start(t.Context()); err == nil {
		t.Fatal("a second Start must be refused")
	}
	key := tenantKeys(1)[0]
	inHand, release := make(chan struct{}), make(chan struct{})
	q.Open(key, func(context.Context, gateway.Ticket) gateway.Verdict {
		close(inHand)
		<-release
		return gateway.Verdict{}
	})
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	<-inHand
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := q.Stop(short); err == nil {
		t.Fatal("Stop returned without the handler in hand")
	}
	close(release)
	for range 2 {
		if err := q.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var r record
	q.Open(key, r.done) // does nothing any more
	enqueue(t, q, ticket(key, gateway.PriorityNormal, 1))
	if n, err := q.Pending(t.Context(), key, gateway.PriorityNormal); err != nil || n != 1 {
		t.Fatalf("%d tickets wait, %v", n, err)
	}
}

func TestEnqueueFailsQuicklyWithoutRedis(t *testing.T) {
	t.Parallel()
	// A listener that never answers is worse than none.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test is over
	client := redis.NewClient(&redis.Options{Addr: silent.Addr().String(), ReadTimeout: time.Minute, MaxRetries: -1})
	defer client.Close() //nolint:errcheck // the test is over
	opts := quick()
	opts.EnqueueTimeout = 200 * time.Millisecond
	q := queue.New(client, opts)
	begun := time.Now()
	if err := q.Enqueue(t.Context(), ticket(1, gateway.PriorityNormal, 0)); err == nil {
		t.Fatal("no error")
	}
	if took := time.Since(begun); took > 30*time.Second { // the client itself would wait for a minute
		t.Fatalf("took %v", took)
	}
	if err := q.Ping(t.Context()); err == nil {
		t.Fatal("a silent Redis is not there")
	}
}
