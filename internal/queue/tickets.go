package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

// enqueueBatch bounds the tickets of one script: Redis does nothing else while it runs.
const enqueueBatch = 500

// soon is when a delayed ticket comes up by itself early enough: due times are whole seconds.
const soon = 2 * time.Second

// taskTimeout is far beyond any handling: the handler's deadlines are its own, see consumer.
const taskTimeout = 24 * time.Hour

// Enqueue adds tickets to the tails of their lanes, in the given order, and wakes whoever has their tenants open. A
// ticket that waits already is left where it is, unless its time is still to come: then it is due now. When it fails some of the tickets may have been added. It returns
// after Options.EnqueueTimeout at the latest.
func (q *Queue) Enqueue(ctx context.Context, tickets ...gateway.Ticket) error {
	return q.add(ctx, time.Time{}, tickets)
}

// EnqueueAt adds a ticket that comes up at the given time, rounded up to a full second, beside any other ticket of the
// same message. Adding the same again does nothing. A time that has passed means now.
func (q *Queue) EnqueueAt(ctx context.Context, ticket gateway.Ticket, at time.Time) error {
	return q.add(ctx, ceilSecond(at), []gateway.Ticket{ticket})
}

func (q *Queue) add(ctx context.Context, at time.Time, tickets []gateway.Ticket) error {
	for len(tickets) > 0 {
		batch := tickets[:min(len(tickets), enqueueBatch)]
		tickets = tickets[len(batch):]
		err := bounded(ctx, q.opts.EnqueueTimeout, "enqueue", func(ctx context.Context) error { return q.addBatch(ctx, at, batch) })
		if err != nil {
			return err
		}
		seen := make(map[int64]bool)
		for _, ticket := range batch {
			if !seen[ticket.TenantKey] {
				seen[ticket.TenantKey] = true
				q.wake(ticket.TenantKey)
			}
		}
	}
	return nil
}

func (q *Queue) addBatch(ctx context.Context, at time.Time, tickets []gateway.Ticket) error {
	ids := make([]string, len(tickets))
	for i, t := range tickets {
		ids[i] = t.MessageID
		if !at.IsZero() {
			ids[i] += "@" + strconv.FormatInt(at.Unix(), 10)
		}
	}
	conflicts, err := q.push(ctx, at, tickets, ids)
	if err != nil || len(conflicts) == 0 {
		return err
	}
	return q.resolve(ctx, at, tickets, ids, conflicts)
}

// push adds tickets under the given task ids in one round trip and returns the indexes of those whose id was taken.
func (q *Queue) push(ctx context.Context, at time.Time, tickets []gateway.Ticket, ids []string) (taken []int, err error) {
	rec := &recorder{}
	client := asynq.NewClientFromRedisClient(rec)
	forms := map[form]pattern{}
	for i, ticket := range tickets {
		f, ok := formOf(ticket, ids[i])
		if known, seen := forms[f]; ok && seen {
			rec.evals = append(rec.evals, known.fill(ticket.MessageID))
			continue
		}
		if err := record(ctx, client, at, ticket, ids[i]); err != nil {
			return nil, err
		}
		if ok {
			forms[f] = pattern{ticket.MessageID, rec.evals[len(rec.evals)-1]}
		}
	}
	added, err := q.run(ctx, tickets, rec)
	if err != nil {
		return nil, err
	}
	if len(added) != len(tickets) {
		return nil, fmt.Errorf("redis answered for %d of %d tickets", len(added), len(tickets))
	}
	for i, n := range added {
		if n == 0 {
			taken = append(taken, i)
		}
	}
	return taken, nil
}

// record lets asynq say how it would add a ticket.
func record(ctx context.Context, client *asynq.Client, at time.Time, ticket gateway.Ticket, id string) error {
	payload, err := json.Marshal(ticket)
	if err != nil {
		return fmt.Errorf("encode ticket: %w", err)
	}
	opts := []asynq.Option{
		asynq.Queue(queueName(ticket.TenantKey, ticket.Lane)), asynq.TaskID(id),
		asynq.MaxRetry(math.MaxInt32), asynq.Timeout(taskTimeout), asynq.Retention(0),
	}
	if !at.IsZero() {
		opts = append(opts, asynq.ProcessAt(at))
	}
	if _, err := client.EnqueueContext(ctx, asynq.NewTask(taskType, payload), opts...); err != nil {
		return fmt.Errorf("prepare ticket: %w", err)
	}
	return nil
}

// run carries out what was recorded, and wakes whom it concerns, in one round trip. It returns, for each ticket, whether it was
// added (1) or its id taken (0).
func (q *Queue) run(ctx context.Context, tickets []gateway.Ticket, rec *recorder) ([]int64, error) {
	script, keys, args, err := rec.batch()
	if err != nil {
		return nil, err
	}
	attempt := func(eval func(redis.Scripter) *redis.Cmd) (*redis.Cmd, error) {
		var added *redis.Cmd
		note := func() {}
		_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.SAdd(ctx, "asynq:queues", rec.queues...)
			added = eval(p)
			note = q.countLanes(ctx, p, tickets)
			// After the tickets, so that whoever is woken finds them.
			woken, names := wokenBy(tickets)
			p.ZAdd(ctx, wokenSet, woken...)
			p.Publish(ctx, wakeChannel, names)
			return nil
		})
		if err == nil {
			note()
		}
		return added, err
	}
	added, err := attempt(func(p redis.Scripter) *redis.Cmd { return script.EvalSha(ctx, p, keys, args...) })
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // Redis is new, or has forgotten its scripts
		added, err = attempt(func(p redis.Scripter) *redis.Cmd { return script.Eval(ctx, p, keys, args...) })
	}
	if err != nil {
		return nil, err
	}
	return added.Int64Slice()
}

// resolve deals with tickets whose task id is taken. A task that waits is as good as ours. One that is being handled
// may look at the message too early, or belong to a process that died, whose task asynq gives back only after a
// minute: a second ticket is put beside it, one at most. What asynq put aside for good makes room.
func (q *Queue) resolve(ctx context.Context, at time.Time, tickets []gateway.Ticket, ids []string, taken []int) error {
	inspector := asynq.NewInspectorFromRedisClient(q.redis)
	var again []gateway.Ticket
	var againIDs []string
	for _, i := range taken {
		queue := queueName(tickets[i].TenantKey, tickets[i].Lane)
		info, err := inspector.GetTaskInfo(queue, ids[i])
		switch {
		case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
			again, againIDs = append(again, tickets[i]), append(againIDs, ids[i])
		case err != nil:
			return fmt.Errorf("look at task in the way: %w", err)
		case info.State == asynq.TaskStateActive:
			again, againIDs = append(again, tickets[i]), append(againIDs, ids[i]+"+")
		case at.IsZero() && (info.State == asynq.TaskStateRetry || info.State == asynq.TaskStateScheduled) && info.NextProcessAt.After(time.Now().Add(soon)):
			if err := inspector.RunTask(queue, ids[i]); err != nil { // it is gone, or not delayed any more
				again, againIDs = append(again, tickets[i]), append(againIDs, ids[i]+"+")
			}
		case info.State == asynq.TaskStateArchived, info.State == asynq.TaskStateCompleted:
			if err := inspector.DeleteTask(queue, ids[i]); err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
				return fmt.Errorf("delete task in the way: %w", err)
			}
			again, againIDs = append(again, tickets[i]), append(againIDs, ids[i])
		}
	}
	if len(again) == 0 {
		return nil
	}
	_, err := q.push(ctx, at, again, againIDs)
	return err
}

// wokenBy lists the tenants of tickets, for the set and for the signal.
func wokenBy(tickets []gateway.Ticket) (set []redis.Z, signal string) {
	now := float64(time.Now().UnixMilli())
	seen := make(map[int64]bool)
	var keys []string
	for _, t := range tickets {
		if seen[t.TenantKey] {
			continue
		}
		seen[t.TenantKey] = true
		key := strconv.FormatInt(t.TenantKey, 10)
		keys = append(keys, key)
		set = append(set, redis.Z{Score: now, Member: key})
	}
	return set, strings.Join(keys, ",")
}

// Pending counts the tickets of a lane in every state.
func (q *Queue) Pending(ctx context.Context, tenantKey int64, lane gateway.Priority) (int, error) {
	name := queueName(tenantKey, lane)
	var counts []*redis.IntCmd
	err := bounded(ctx, q.opts.EnqueueTimeout, "count tickets", func(ctx context.Context) error {
		_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			counts = []*redis.IntCmd{
				p.LLen(ctx, asynqKey(name, "pending")), p.LLen(ctx, asynqKey(name, "active")),
				p.ZCard(ctx, asynqKey(name, "scheduled")), p.ZCard(ctx, asynqKey(name, "retry")),
			}
			return nil
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	total := 0
	for _, c := range counts {
		total += int(c.Val())
	}
	return total, nil
}

// DropTenant removes every ticket of a tenant, a few hundred at a time so that Redis keeps answering others. Close it
// first. Statistics that asynq keeps by day run out by themselves.
func (q *Queue) DropTenant(ctx context.Context, tenantKey int64) error {
	for _, lane := range gateway.Priorities() {
		if err := q.dropQueue(ctx, queueName(tenantKey, lane)); err != nil {
			return fmt.Errorf("drop the queues of tenant %d: %w", tenantKey, err)
		}
	}
	return nil
}

func (q *Queue) dropQueue(ctx context.Context, name string) error {
	for _, part := range []string{"pending", "active", "scheduled", "retry", "archived", "completed"} {
		key := asynqKey(name, part)
		for {
			var ids []string
			var err error
			if part == "pending" || part == "active" {
				ids, err = q.redis.LPopCount(ctx, key, enqueueBatch).Result()
			} else {
				var popped []redis.Z
				popped, err = q.redis.ZPopMin(ctx, key, enqueueBatch).Result()
				for _, z := range popped {
					ids = append(ids, fmt.Sprint(z.Member))
				}
			}
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			if len(ids) == 0 {
				break
			}
			for i, id := range ids {
				ids[i] = asynqKey(name, "t:"+id)
			}
			if err := q.redis.Unlink(ctx, ids...).Err(); err != nil {
				return err
			}
		}
	}
	err := q.redis.Unlink(ctx, asynqKey(name, "lease"), asynqKey(name, "processed"), asynqKey(name, "failed")).Err()
	if err != nil {
		return err
	}
	return q.redis.SRem(ctx, "asynq:queues", name).Err()
}

// ceilSecond rounds up, because asynq cuts due times off to the second and a ticket must not come too early: the message
// would not be due yet and the ticket be used up for nothing.
func ceilSecond(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t
	}
	return t.Truncate(time.Second).Add(time.Second)
}
