package queue_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
	"github.com/wapro/hub/internal/queue/embedded"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/testkit/services"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// nextTenant gives each test tenants of its own.
var nextTenant atomic.Int64

func tenantKeys(n int64) []int64 {
	last := nextTenant.Add(n)
	keys := make([]int64, n)
	for i := range keys {
		keys[i] = last - n + int64(i) + 1
	}
	return keys
}

// realRedis, in the environment, gives every test a Redis of its own instead of the embedded broker.
const realRedis = "WAPRO_HUB_TEST_REAL_REDIS"

func newRedis(t *testing.T) redis.UniversalClient {
	t.Helper()
	if os.Getenv(realRedis) == "" {
		client, stop, err := embedded.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return client
	}
	options, err := redis.ParseURL(services.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test is over
	return client
}

// Both brokers keep the same promises: every test of this package is run once more, with Redis.
func TestAllTheSameOnARealRedis(t *testing.T) {
	t.Parallel()
	services.RedisTool(t)
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=15m", "-test.skip=^"+t.Name()+"$", fmt.Sprintf("-test.short=%t", testing.Short()))
	again.Env = append(os.Environ(), realRedis+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// quick are paces for tests.
func quick() queue.Options {
	return queue.Options{
		EnqueueTimeout: 10 * time.Second, // hundreds of servers share this broker and two cores
		Grace:          10 * time.Second, AbortGrace: time.Second, IdleAfter: 50 * time.Millisecond,
		DelayedCheck: 100 * time.Millisecond, GiveBackPause: 50 * time.Millisecond, PanicDelay: 10 * time.Millisecond,
		SweepEvery: 200 * time.Millisecond,
	}
}

func start(t *testing.T, client redis.UniversalClient, opts queue.Options) *queue.Queue {
	t.Helper()
	q := queue.New(client, opts)
	if err := q.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return q
}

func ticket(tenant int64, lane gateway.Priority, n int) gateway.Ticket {
	return gateway.Ticket{TenantKey: tenant, MessageID: fmt.Sprintf("m%d-%s-%04d", tenant, lane, n), Lane: lane}
}

func tickets(tenant int64, lane gateway.Priority, n int) []gateway.Ticket {
	list := make([]gateway.Ticket, n)
	for i := range list {
		list[i] = ticket(tenant, lane, i)
	}
	return list
}

func enqueue(t *testing.T, q *queue.Queue, list ...gateway.Ticket) {
	t.Helper()
	if err := q.Enqueue(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
}

// record notes the message ids that were handled, in order.
type record struct {
	mu      sync.Mutex
	handled []string
}

func (r *record) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handled = append(r.handled, id)
}

func (r *record) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.handled...)
}

func (r *record) done(_ context.Context, t gateway.Ticket) gateway.Verdict {
	r.add(t.MessageID)
	return gateway.Verdict{}
}

// eventually polls a condition for at most two minutes: the machine may be shared.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func ticketNumber(key int64) string { return strconv.FormatInt(key, 10) }

func messageIDs(list []gateway.Ticket) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.MessageID
	}
	return out
}
