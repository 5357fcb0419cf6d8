// Package ratelimit holds one bucket of tokens per tenant, and one per key that has a limit of its own. A request takes a token from memory and never waits for anything; ten times
// a second the processes of a hub tell one another through Redis what they gave out, and take that from their own buckets. So a limit
// holds for all of them together but for what is given out in a tenth of a second, and for a full bucket that a process which the tenant has
// not talked to lately begins with. Without Redis, or while it is away, each process holds the limit for itself: nobody is refused for that.
package ratelimit

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

const (
	burst     = 2 // seconds' worth of tokens that a bucket holds
	shareTick = 100 * time.Millisecond
	shareTime = time.Second // one exchange with Redis takes at most
	idle      = time.Minute // a bucket that nobody asks for is forgotten, here and in Redis
)

// Options configure a Limiter; the zero value of each means its default.
type Options struct {
	PerSecond int                   // of tenants without a limit of their own; 0: they have none
	Redis     redis.UniversalClient // shared by the processes of the hub; nil: this process is alone
	Clock     func() time.Time      // time.Now
	Log       *slog.Logger          // nothing is logged
}

// Limiter is the buckets. Take may be called from any goroutine.
type Limiter struct {
	opts Options
	loop loop.Loop

	mu      sync.Mutex
	buckets map[gateway.RateOf]*bucket
	away    bool // Redis did not answer the last time
}

type bucket struct {
	size   float64
	rate   float64 // tokens a second
	tokens float64 // below 0: other processes gave out more than there was
	at     time.Time

	given int64 // since the last exchange
	total int64 // of all processes, at the last exchange; -1: there was none
}

// New makes a Limiter, which shares nothing before Start.
func New(o Options) *Limiter {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Limiter{opts: o, buckets: map[gateway.RateOf]*bucket{}}
}

// Take takes a token of a tenant or key, which may have perSecond in the long run and twice as many at once; 0: a tenant as Options say, a
// key as many as its tenant.
func (l *Limiter) Take(of gateway.RateOf, perSecond int) gateway.RateAnswer {
	if perSecond == 0 && of.KeyID == "" {
		perSecond = l.opts.PerSecond
	}
	if perSecond <= 0 {
		return gateway.RateAnswer{OK: true}
	}
	now, rate := l.opts.Clock(), float64(perSecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[of]
	if b == nil {
		b = &bucket{tokens: burst * rate, at: now, total: -1}
		l.buckets[of] = b
	}
	b.rate, b.size = rate, burst*rate // the operator may have changed it
	b.fill(now)
	answer := gateway.RateAnswer{OK: b.tokens >= 1, Limit: int(b.size)}
	if answer.OK {
		b.tokens--
		b.given++
	} else {
		answer.Wait = seconds((1 - b.tokens) / rate)
	}
	answer.Remaining = max(0, int(b.tokens))
	answer.Reset = seconds((b.size - b.tokens) / rate)
	return answer
}

func (b *bucket) fill(now time.Time) {
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens += passed.Seconds() * b.rate
		b.at = now
	}
	b.tokens = min(b.size, b.tokens)
}

func seconds(s float64) time.Duration { return time.Duration(math.Ceil(s * float64(time.Second))) }

// Start shares what is given out until Stop.
func (l *Limiter) Start(ctx context.Context) error {
	return l.loop.Start(ctx, "the rate limits", func(ctx context.Context) {
		tick := time.NewTicker(shareTick)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.Share(ctx)
			}
		}
	})
}

// Stop ends the sharing. It may be called more than once, and without Start.
func (l *Limiter) Stop(ctx context.Context) error {
	if err := l.loop.Stop(ctx); err != nil {
		return fmt.Errorf("stop the rate limits: %w", err)
	}
	return nil
}

// Share tells the others what was given out here, takes what they gave out, and forgets what is idle. When Redis is away it is tried again
// the next time.
func (l *Limiter) Share(ctx context.Context) {
	given := l.given()
	if len(given) == 0 || l.opts.Redis == nil {
		return
	}
	asked, cancel := context.WithTimeout(ctx, shareTime)
	defer cancel()
	pipe := l.opts.Redis.Pipeline()
	totals := make(map[gateway.RateOf]*redis.IntCmd, len(given))
	for key, n := range given {
		name := "rate:{" + strconv.FormatInt(key.TenantKey, 10) + "}" + key.KeyID
		totals[key] = pipe.IncrBy(asked, name, n)
		pipe.Expire(asked, name, idle)
	}
	_, err := pipe.Exec(asked)
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, n := range given {
		b := l.buckets[key]
		switch {
		case b == nil:
		case err != nil:
			b.given += n
		default:
			b.learn(n, totals[key].Val())
		}
	}
	if err != nil && !l.away && ctx.Err() == nil {
		l.opts.Log.WarnContext(ctx, "Redis does not answer: each process holds the rate limits for itself", "error", err)
	}
	l.away = err != nil
}

// given is what was given out of each bucket since it was last asked; of those that were used lately, that is: also nothing.
func (l *Limiter) given() map[gateway.RateOf]int64 {
	now := l.opts.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	given := map[gateway.RateOf]int64{}
	for key, b := range l.buckets {
		unused := now.Sub(b.at)
		switch {
		case unused > idle && (b.given == 0 || l.opts.Redis == nil || unused > 10*idle):
			delete(l.buckets, key)
		case b.given > 0 || unused < time.Second:
			given[key], b.given = b.given, 0
		}
	}
	return given
}

// learn takes from the bucket what others gave out since the last time: the total without what was known and what is this process' own.
func (b *bucket) learn(own, total int64) {
	if others := total - b.total - own; b.total >= 0 && others > 0 { // less than before: Redis was wiped
		b.tokens = max(-b.size, b.tokens-float64(others))
	}
	b.total = total
}
