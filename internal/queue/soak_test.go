package queue_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

// Sessions come and go while work is done: every ticket is used up exactly once, in the order of its lane.
func TestFlappingSessionsLoseRepeatAndReorderNothing(t *testing.T) {
	t.Parallel()
	const (
		tenants  = 50
		perLane  = 20
		minFlaps = 200
	)
	lanes := []gateway.Priority{gateway.PriorityNormal, gateway.PriorityBulk}
	q := start(t, newRedis(t), quick())
	keys := tenantKeys(tenants)

	var total, flaps atomic.Int64
	lanesDone := make(map[int64]map[gateway.Priority]*record)
	handlers := make(map[int64]func(context.Context, gateway.Ticket) gateway.Verdict)
	for _, key := range keys {
		done := map[gateway.Priority]*record{lanes[0]: {}, lanes[1]: {}}
		lanesDone[key] = done
		var running atomic.Int32
		handlers[key] = func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
			if running.Add(1) > 1 {
				t.Error("two handlers of one tenant at a time")
			}
			defer running.Add(-1)
			if rand.IntN(20) == 0 {
				return gateway.Verdict{Kind: gateway.VerdictGiveBack}
			}
			total.Add(1)
			return done[ticket.Lane].done(ctx, ticket)
		}
		for _, lane := range lanes {
			enqueue(t, q, tickets(key, lane, perLane)...)
		}
	}

	var flapping sync.WaitGroup
	stop := make(chan struct{})
	for _, key := range keys {
		q.Open(key, handlers[key])
	}
	for range 6 {
		flapping.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(rand.N(60 * time.Millisecond)):
				}
				key := keys[rand.IntN(len(keys))]
				q.Close(key)
				q.Open(key, handlers[key])
				flaps.Add(1)
			}
		})
	}
	want := int64(tenants * perLane * len(lanes))
	deadline := time.After(5 * time.Minute)
	for total.Load() < want || flaps.Load() < minFlaps {
		select {
		case <-deadline:
			t.Fatalf("%d of %d tickets after %d flaps", total.Load(), want, flaps.Load())
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(stop)
	flapping.Wait()
	t.Logf("%d tickets, %d flaps", total.Load(), flaps.Load())

	for _, key := range keys {
		for _, lane := range lanes {
			if got := lanesDone[key][lane].ids(); !slices.Equal(got, messageIDs(tickets(key, lane, perLane))) {
				t.Errorf("tenant %d lane %s: %v", key, lane, got)
			}
			eventually(t, "nothing left", func() bool {
				n, err := q.Pending(t.Context(), key, lane)
				return err == nil && n == 0
			})
		}
	}
}

// commandCounter counts what a client sends, each command of a pipeline too.
type commandCounter struct{ n atomic.Int64 }

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

func TestIdleTenantsCostNothing(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	var counter commandCounter
	client.AddHook(&counter)
	opts := quick()
	opts.SweepEvery = 0 // the default: this is about its cost
	q := start(t, client, opts)
	keys := tenantKeys(500)
	var r record
	for _, key := range keys {
		q.Open(key, r.done)
	}
	const worked = 20
	for _, key := range keys[:worked] {
		enqueue(t, q, ticket(key, gateway.PriorityNormal, 0))
	}
	eventually(t, "some had work", func() bool { return len(r.ids()) == worked })

	// Servers stop when their work is done; then nothing is asked but for lost signals, every 5 s.
	const window = 2 * time.Second
	eventually(t, "fewer than 5 commands a second", func() bool {
		before := counter.n.Load()
		<-time.After(window)
		return float64(counter.n.Load()-before) < 5*window.Seconds()
	})
	// And they are still awake to work.
	enqueue(t, q, ticket(keys[42], gateway.PriorityNormal, 1))
	eventually(t, "new work", func() bool { return len(r.ids()) == worked+1 })
}

func TestWorkGoesOnAfterRedisWasAway(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test is over
	q := start(t, client, quick())
	keys := tenantKeys(2)
	busy, idle := keys[0], keys[1]

	var r record
	inHand, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	q.Open(busy, func(ctx context.Context, ticket gateway.Ticket) gateway.Verdict {
		once.Do(func() { close(inHand); <-release })
		return r.done(ctx, ticket)
	})
	var s record
	q.Open(idle, s.done)
	enqueue(t, q, tickets(busy, gateway.PriorityNormal, 5)...)
	<-inHand

	server.Close()
	if err := q.Enqueue(t.Context(), ticket(idle, gateway.PriorityNormal, 0)); err == nil {
		t.Fatal("enqueued into nothing")
	}
	close(release) // a handler finishes while Redis is away
	eventually(t, "finished", func() bool { return len(r.ids()) == 1 })
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the rest of the busy tenant", func() bool {
		got := r.ids()
		for _, want := range messageIDs(tickets(busy, gateway.PriorityNormal, 5)) {
			if !slices.Contains(got, want) {
				return false
			}
		}
		return true
	})
	eventually(t, "new work for the idle tenant", func() bool {
		return q.Enqueue(t.Context(), ticket(idle, gateway.PriorityNormal, 0)) == nil && len(s.ids()) > 0
	})
}

// Parts of asynq's key layout are read directly; a version that changes it must fail here.
func TestQueueNamesAndCountsAreAsynqs(t *testing.T) {
	t.Parallel()
	client := newRedis(t)
	q := start(t, client, quick())
	key := tenantKeys(1)[0]
	enqueue(t, q, tickets(key, gateway.PriorityHigh, 3)...)
	enqueue(t, q, tickets(key, gateway.PriorityNormal, 2)...)
	if err := q.EnqueueAt(t.Context(), ticket(key, gateway.PriorityBulk, 0), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(client)
	names, err := inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	number := ticketNumber(key)
	names = slices.DeleteFunc(names, func(name string) bool {
		return name != "t:"+number && !strings.HasPrefix(name, "t:"+number+":")
	})
	slices.Sort(names)
	if want := []string{"t:" + number, "t:" + number + ":bulk", "t:" + number + ":high"}; !slices.Equal(names, want) {
		t.Fatalf("asynq knows %v, want %v", names, want)
	}
	for lane, name := range map[gateway.Priority]string{
		gateway.PriorityHigh: names[2], gateway.PriorityNormal: names[0], gateway.PriorityBulk: names[1],
	} {
		info, err := inspector.GetQueueInfo(name)
		if err != nil {
			t.Fatal(err)
		}
		n, err := q.Pending(t.Context(), key, lane)
		if err != nil || n != info.Size || n == 0 {
			t.Errorf("lane %s: %d tickets here, %d for asynq, %v", lane, n, info.Size, err)
		}
	}
}
