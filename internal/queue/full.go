package queue

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

// manyTickets of one call make it worth to count what waits in their lane.
const manyTickets = 8

// laneKey is a lane of a tenant.
type laneKey struct {
	tenantKey int64
	lane      gateway.Priority
}

// Wanted returns, in the memory of tickets, those whose lanes are not known to hold Options.FullLane tickets already. The others may be left out
// when somebody fills the lane again as it empties: a ticket says that there is something to do, not what, and a million of them say no more
// than some thousands.
func (q *Queue) Wanted(tickets []gateway.Ticket) []gateway.Ticket {
	q.fullMu.Lock()
	defer q.fullMu.Unlock()
	if len(q.full) == 0 {
		return tickets
	}
	now := time.Now()
	wanted := tickets[:0]
	for _, t := range tickets {
		until, full := q.full[laneKey{t.TenantKey, t.Lane}]
		switch {
		case full && now.Before(until):
			continue
		case full:
			delete(q.full, laneKey{t.TenantKey, t.Lane})
		}
		wanted = append(wanted, t)
	}
	return wanted
}

// countLanes has p count what waits in the lanes that get many of tickets. What it returns notes the answers.
func (q *Queue) countLanes(ctx context.Context, p redis.Pipeliner, tickets []gateway.Ticket) (note func()) {
	many := min(manyTickets, q.opts.FullLane)
	if len(tickets) < many {
		return func() {}
	}
	given := make(map[laneKey]int)
	for _, t := range tickets {
		given[laneKey{t.TenantKey, t.Lane}]++
	}
	counts := make(map[laneKey]*redis.IntCmd)
	for key, n := range given {
		if n >= many {
			counts[key] = p.LLen(ctx, asynqKey(queueName(key.tenantKey, key.lane), "pending"))
		}
	}
	return func() {
		until := time.Now().Add(q.opts.FullFor)
		q.fullMu.Lock()
		defer q.fullMu.Unlock()
		for key, count := range counts {
			if count.Val() >= int64(q.opts.FullLane) {
				q.full[key] = until
			} else {
				delete(q.full, key)
			}
		}
	}
}
