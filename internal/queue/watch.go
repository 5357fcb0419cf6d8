package queue

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

const (
	lookBatch   = 100              // tenants of one round trip
	lookLimit   = 5 * time.Second  // the loops have time: giving up early on a busy Redis would make it busier
	lookAgain   = time.Second      // after Redis did not answer
	leaseSlack  = 31 * time.Second // asynq recovers a dead process's task this long after its lease ran out
	leasePace   = time.Minute      // how often a lease alone may start a server: one whose task is gone stays for ever
	clockSkew   = 10 * time.Second // between hosts, for the set of woken tenants
	wokenKept   = time.Hour        // then an entry of that set is removed
	signalsHeld = 1024             // wake-up signals that wait in this process; more are found by the sweep
)

// backlog is what waits in one lane of a tenant, or in several.
type backlog struct {
	pending  int64     // tickets that can be handled now
	due      time.Time // when the next delayed ticket comes up, zero: none
	leaseDue time.Time // when a dead process's ticket can be had back, zero: none
}

// backlogs is what waits for one tenant, by lane.
type backlogs map[gateway.Priority]backlog

// of is what waits in some lanes together.
func (b backlogs) of(lanes []gateway.Priority) (sum backlog) {
	for _, lane := range lanes {
		part := b[lane]
		sum.pending += part.pending
		sum.due = sooner(sum.due, part.due)
		sum.leaseDue = sooner(sum.leaseDue, part.leaseDue)
	}
	return sum
}

// sooner is the earlier of two times, of which a zero one does not count.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (b backlog) empty(now time.Time) bool {
	return b.pending == 0 && (b.due.IsZero() || b.due.After(now))
}

// wake says that a tenant may have something to do. It is for any goroutine and returns at once.
func (q *Queue) wake(tenantKey int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.tenants[tenantKey]; t != nil && t.handle != nil {
		q.markLocked(t)
	}
}

func (q *Queue) markLocked(t *tenant) {
	t.woken = true
	if t.busy {
		return // looked at again afterwards
	}
	q.dirty[t.key] = struct{}{}
	notify(q.kick)
}

// watch looks at tenants that were woken and starts servers for those with work.
func (q *Queue) watch(ctx context.Context) {
	sweep := time.NewTicker(q.opts.SweepEvery)
	defer sweep.Stop()
	swept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.kick:
			for keys := q.takeDirty(); len(keys) > 0; keys = q.takeDirty() {
				q.settle(ctx, keys)
			}
		case now := <-sweep.C:
			if q.sweep(ctx, swept.Add(-clockSkew)) {
				swept = now
			}
		}
	}
}

// takeDirty takes up to lookBatch tenants and marks them as busy.
func (q *Queue) takeDirty() []int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	var keys []int64
	for key := range q.dirty {
		if len(keys) == lookBatch {
			break
		}
		delete(q.dirty, key)
		t := q.tenants[key]
		if t == nil || t.handle == nil || t.busy {
			continue
		}
		t.busy, t.woken = true, false
		keys = append(keys, key)
	}
	return keys
}

// settle looks at tenants and decides for each: consume, wait for a time, or nothing.
func (q *Queue) settle(ctx context.Context, keys []int64) {
	found, err := q.look(ctx, keys)
	if err != nil && ctx.Err() == nil {
		q.log.Warn("could not look for work, trying again", "tenants", len(keys), "error", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, key := range keys {
		t := q.tenants[key]
		t.busy = false
		switch {
		case t.handle == nil || q.stopped:
			q.forgetLocked(t)
			continue
		case err != nil:
			q.wakeAfterLocked(t, lookAgain)
		default:
			q.decideLocked(t, found[i], time.Now())
		}
		if t.woken && !t.busy {
			q.markLocked(t)
		}
	}
}

func (q *Queue) decideLocked(t *tenant, found backlogs, now time.Time) {
	if now.Before(t.notBefore) {
		q.wakeAfterLocked(t, t.notBefore.Sub(now))
		return
	}
	lanes, rested := t.rests.awake(now)
	b := found.of(lanes)
	next := b.due
	if !b.leaseDue.IsZero() {
		at := b.leaseDue
		if paced := t.lastRun.Add(leasePace); !t.lastRun.IsZero() && paced.After(at) {
			at = paced
		}
		next = sooner(next, at)
	}
	switch next = sooner(next, rested); {
	case b.pending > 0, !next.IsZero() && !next.After(now):
		q.consumeLocked(t, lanes, rested)
	case !next.IsZero():
		q.wakeAfterLocked(t, next.Sub(now))
	}
}

func (q *Queue) wakeAfterLocked(t *tenant, d time.Duration) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(d, func() { q.wake(t.key) })
}

// consumeLocked starts a server for some lanes of the tenant, the others rest until a time. When it has ended the tenant is looked at
// once more.
func (q *Queue) consumeLocked(t *tenant, lanes []gateway.Priority, until time.Time) {
	closing, ended := make(chan struct{}), make(chan struct{})
	t.busy, t.closing, t.ended = true, closing, ended
	q.running++
	c := newConsumer(q.life, t.key, t.handle, q.opts, q.running, lanes, until, q.putToTail)
	empty := func(ctx context.Context) bool {
		found, err := q.look(ctx, []int64{t.key})
		return err == nil && found[0].of(lanes).empty(time.Now())
	}
	q.runs.Go(func() {
		end := c.run(q.server, empty, closing)

		q.mu.Lock()
		defer q.mu.Unlock()
		q.running--
		t.busy, t.ended, t.lastRun = false, nil, time.Now()
		if t.closing == closing {
			t.closing = nil
			if end.gaveBack {
				t.notBefore = time.Now().Add(q.opts.GiveBackPause)
			}
			if end.rest.For > 0 {
				t.rests.add(end.rest.From, end.rest.For, time.Now())
			}
		}
		close(ended)
		if t.handle == nil {
			q.forgetLocked(t)
			return
		}
		q.markLocked(t)
	})
}

// putToTail adds a ticket once more, under a fresh id because its own is still in use.
func (q *Queue) putToTail(ctx context.Context, ticket gateway.Ticket) error {
	id := ticket.MessageID + "~" + uuid.NewString()
	return bounded(ctx, q.opts.EnqueueTimeout, "put a ticket to the tail", func(ctx context.Context) error {
		_, err := q.push(ctx, time.Time{}, []gateway.Ticket{ticket}, []string{id})
		return err
	})
}

// look asks Redis what waits for the tenants, in one round trip.
func (q *Queue) look(ctx context.Context, keys []int64) ([]backlogs, error) {
	type answers struct {
		pending *redis.IntCmd
		delayed [2]*redis.ZSliceCmd
		lease   *redis.ZSliceCmd
	}
	lanes := gateway.Priorities()
	var asked []answers
	err := bounded(ctx, lookLimit, "look for work", func(ctx context.Context) error {
		_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				for _, lane := range lanes {
					name := queueName(key, lane)
					asked = append(asked, answers{
						pending: p.LLen(ctx, asynqKey(name, "pending")),
						delayed: [2]*redis.ZSliceCmd{
							p.ZRangeWithScores(ctx, asynqKey(name, "scheduled"), 0, 0),
							p.ZRangeWithScores(ctx, asynqKey(name, "retry"), 0, 0),
						},
						lease: p.ZRangeWithScores(ctx, asynqKey(name, "lease"), 0, 0),
					})
				}
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	found := make([]backlogs, len(keys))
	for i, a := range asked {
		b := backlog{pending: a.pending.Val(), leaseDue: earlier(time.Time{}, a.lease.Val(), leaseSlack)}
		for _, set := range a.delayed {
			b.due = earlier(b.due, set.Val(), 0)
		}
		if i%len(lanes) == 0 {
			found[i/len(lanes)] = make(backlogs, len(lanes))
		}
		found[i/len(lanes)][lanes[i%len(lanes)]] = b
	}
	return found, nil
}

// earlier is the earlier of at, when it is set, and the time of first's score plus d, when there is one.
func earlier(at time.Time, first []redis.Z, d time.Duration) time.Time {
	if len(first) == 0 {
		return at
	}
	return sooner(at, time.Unix(int64(first[0].Score), 0).Add(d))
}

// sweep wakes the tenants that got tickets since a time, in case their signals were lost. It reports whether Redis
// answered.
func (q *Queue) sweep(ctx context.Context, since time.Time) bool {
	var woken *redis.StringSliceCmd
	err := bounded(ctx, lookLimit, "sweep for work", func(ctx context.Context) error {
		_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			score := func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
			woken = p.ZRangeByScore(ctx, wokenSet, &redis.ZRangeBy{Min: score(since), Max: "+inf"})
			p.ZRemRangeByScore(ctx, wokenSet, "-inf", score(time.Now().Add(-wokenKept)))
			return nil
		})
		return err
	})
	if err != nil {
		return false
	}
	q.wakeAll(woken.Val())
	return true
}

// listen wakes tenants on signals from other processes. It reconnects by itself; signals lost meanwhile are found by
// the sweep.
func (q *Queue) listen(ctx context.Context) {
	subscription := q.redis.Subscribe(ctx, wakeChannel)
	defer subscription.Close() //nolint:errcheck // the loop is over
	signals := subscription.Channel(redis.WithChannelSize(signalsHeld))
	for {
		select {
		case <-ctx.Done():
			return
		case signal, ok := <-signals:
			if !ok {
				return
			}
			q.wakeAll(strings.Split(signal.Payload, ","))
		}
	}
}

func (q *Queue) wakeAll(keys []string) {
	for _, k := range keys {
		if key, err := strconv.ParseInt(k, 10, 64); err == nil {
			q.wake(key)
		}
	}
}
