package ratelimit_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue/embedded"
	"github.com/wapro/hub/internal/ratelimit"
)

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// taken is how many of n requests are let through.
func taken(l *ratelimit.Limiter, key int64, perSecond, n int) (ok int) {
	for range n {
		if l.Take(gateway.RateOf{TenantKey: key}, perSecond).OK {
			ok++
		}
	}
	return ok
}

func TestATenantMayMakeTwoSecondsWorthAtOnceAndThenItsRate(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := ratelimit.New(ratelimit.Options{PerSecond: 10, Clock: c.Now})
	first := l.Take(gateway.RateOf{TenantKey: 1}, 0)
	if !first.OK || first.Limit != 20 || first.Remaining != 19 || first.Reset != 100*time.Millisecond {
		t.Errorf("the first answer is %+v", first)
	}
	if n := taken(l, 1, 0, 100); n != 19 {
		t.Errorf("%d more at once", n)
	}
	if over := l.Take(gateway.RateOf{TenantKey: 1}, 0); over.OK || over.Remaining != 0 || over.Wait != 100*time.Millisecond || over.Reset != 2*time.Second {
		t.Errorf("over the limit the answer is %+v", over)
	}
	if n := taken(l, 2, 0, 100); n != 20 {
		t.Errorf("another tenant gets %d", n)
	}
	for range 10 {
		c.pass(100 * time.Millisecond)
		if n := taken(l, 1, 0, 5); n != 1 {
			t.Errorf("%d in a tenth of a second", n)
		}
	}
	c.pass(time.Hour)
	if n := taken(l, 1, 0, 100); n != 20 {
		t.Errorf("%d after an hour", n)
	}
	if n := taken(l, 3, 1000, 5000); n != 2000 {
		t.Errorf("%d with a limit of its own", n)
	}
	if n := taken(l, 3, 2, 100); n != 0 {
		t.Errorf("%d after the limit was lowered", n)
	}
	none := ratelimit.New(ratelimit.Options{})
	if answer := none.Take(gateway.RateOf{TenantKey: 1}, 0); !answer.OK || answer.Limit != 0 {
		t.Errorf("without a limit: %+v", answer)
	}
}

func TestProcessesShareALimit(t *testing.T) {
	t.Parallel()
	client, stop, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c := newClock()
	var both [2]*ratelimit.Limiter
	for i := range both {
		both[i] = ratelimit.New(ratelimit.Options{PerSecond: 100, Redis: client, Clock: c.Now})
		taken(both[i], 1, 0, 1)
		both[i].Share(t.Context())
	}
	share := func() {
		for _, l := range both {
			l.Share(t.Context())
		}
		both[0].Share(t.Context())
	}
	share()
	if n := taken(both[0], 1, 0, 150); n != 150 {
		t.Fatalf("%d of 150", n)
	}
	share()
	if n := taken(both[1], 1, 0, 1000); n < 45 || n > 50 {
		t.Errorf("the other gives out %d of what is left", n)
	}
	share()
	// In the long run they give out the limit together, not each.
	total := 0
	for range 100 {
		c.pass(100 * time.Millisecond)
		for _, l := range both {
			total += taken(l, 1, 0, 10)
		}
		share()
	}
	if total < 950 || total > 1050 {
		t.Errorf("%d in ten seconds at 100 a second", total)
	}

	// A wiped Redis costs nobody anything.
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Minute)
	share()
	if n := taken(both[0], 1, 0, 1000); n != 200 {
		t.Errorf("%d after Redis was wiped", n)
	}
}

// TestWithoutRedisALimitHoldsInEachProcess: it neither refuses nor waits when Redis is away.
func TestWithoutRedisALimitHoldsInEachProcess(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	c := newClock()
	l := ratelimit.New(ratelimit.Options{PerSecond: 10, Redis: client, Clock: c.Now})
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := taken(l, 1, 0, 100); n != 20 {
		t.Errorf("%d", n)
	}
	l.Share(t.Context())
	c.pass(time.Second)
	if n := taken(l, 1, 0, 100); n != 10 {
		t.Errorf("%d a second later", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Stop(ctx); err != nil {
		t.Error(err)
	}
}
