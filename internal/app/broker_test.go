package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// What becomes of messages when Redis, a real one, loses or keeps what it should not.

// longLease is for clusters whose workers live: a machine that stands still for the third of a lease would cost a session its connection.
const longLease = "LEASE_TTL=60s"

// broker is a client of the cluster's Redis.
func (c *cluster) broker(t *testing.T) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(c.redis.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// tickets counts asynq's tasks of every lane in the given states.
func tickets(ctx context.Context, client *redis.Client, states ...string) (n int64, err error) {
	for _, state := range states {
		keys, err := client.Keys(ctx, "asynq:{t:*}:"+state).Result()
		if err != nil {
			return 0, err
		}
		for _, key := range keys {
			count := client.ZCard
			if state == "pending" || state == "active" {
				count = client.LLen
			}
			in, err := count(ctx, key).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				return 0, err
			}
			n += in
		}
	}
	return n, nil
}

// awaitHalf waits until half of what was accepted is shown.
func (c *crowd) awaitHalf(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
		waiting, accepted := 0, 0
		for i := range c.size {
			waiting += c.Admin.Waiting(t, c.id(i))
			accepted += len(c.accepted[i])
		}
		return waiting <= accepted/2, fmt.Sprintf("%d of %d wait", waiting, accepted)
	})
}

// wantSentOnce checks that no message cost a second attempt and no phone decrypted anything twice.
func (c *crowd) wantSentOnce(t *testing.T) {
	t.Helper()
	accepted := 0
	for i := range c.size {
		for _, m := range c.accepted[i] {
			if after := c.Admin.Get(t, c.id(i), m.ID); after.Attempts != 1 {
				t.Errorf("message %s took %d attempts", m.ID, after.Attempts)
			}
		}
		accepted += len(c.accepted[i])
	}
	if n := c.decrypted(); n != accepted {
		t.Errorf("%d messages were decrypted %d times", accepted, n)
	}
}

// TestWipedRedisLosesNothing wipes Redis three times in the middle of the backlogs of four tenants.
func TestWipedRedisLosesNothing(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, startCluster(t, longLease), 4)
	broker := c.broker(t)
	for range 3 {
		c.send(t, 12)
		c.awaitHalf(t)
		if err := broker.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitRead(t)
	c.wantSentOnce(t)
}

// TestRedisKilledAndRestarted kills Redis with SIGKILL in the middle of the backlogs of four tenants. The API goes on accepting; the
// sends in hand end and are recorded although asynq cannot be told, so it hands their tickets out once more when Redis is
// back: the rows say that there is nothing to do, and nothing is sent twice.
func TestRedisKilledAndRestarted(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, startCluster(t, longLease), 4)
	broker := c.broker(t)
	c.send(t, 20)
	c.awaitHalf(t)
	c.redis.Kill()
	c.send(t, 5)
	c.redis.Start(t)
	c.awaitRead(t)
	// asynq takes a minute or two to find the tickets of handlers that ended while Redis was away.
	testkit.Eventually(t, 5*time.Minute, func() (bool, string) {
		n, err := tickets(t.Context(), broker, "pending", "active", "scheduled", "retry", "archived")
		return n == 0 && err == nil, fmt.Sprintf("%d tickets are left, %v", n, err)
	})
	c.wantSentOnce(t)
}

// TestTicketsOfFinishedMessagesSendNothing gives every ticket out once more after its message was sent, as asynq does after Redis was away.
func TestTicketsOfFinishedMessagesSendNothing(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, startCluster(t, longLease), 2)
	broker := c.broker(t)
	again := asynq.NewClientFromRedisClient(broker)
	steer := func(verb string) {
		for i := range c.size {
			c.Admin.JSON(t, http.MethodPost, "/api/"+c.id(i)+"/queue/"+verb, nil, http.StatusOK, nil)
		}
	}
	steer("pause")
	c.send(t, 5)
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) { // they follow the answers
		n, err := tickets(t.Context(), broker, "pending")
		return n == int64(5*c.size) && err == nil, fmt.Sprintf("%d tickets wait, %v", n, err)
	})
	// Each ticket is copied while it waits, and added under another name.
	inspector := asynq.NewInspectorFromRedisClient(broker)
	copied := 0
	queues, err := inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	for _, queue := range queues {
		tasks, err := inspector.ListPendingTasks(queue, asynq.PageSize(100))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			at := asynq.ProcessIn(5 * time.Second)
			if _, err := again.Enqueue(asynq.NewTask(task.Type, task.Payload), asynq.Queue(queue), asynq.TaskID(task.ID+"!"), at); err != nil {
				t.Fatal(err)
			}
			copied++
		}
	}
	if copied != 5*c.size {
		t.Fatalf("%d tickets waited", copied)
	}
	steer("resume")
	c.awaitRead(t)
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
		n, err := tickets(t.Context(), broker, "pending", "active", "scheduled", "retry", "archived")
		return n == 0 && err == nil, fmt.Sprintf("%d tickets are left, %v", n, err)
	})
	c.wantSentOnce(t)
}

// TestMessageInTheHandOfAKilledWorkerIsTriedAgainAtOnce: asynq would give the ticket of a worker that was killed back after 60 to 100 s.
// The new owner of the session finds the message in SQL, as soon as the lease has ended.
func TestMessageInTheHandOfAKilledWorkerIsTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	const (
		lease = 5 * time.Second
		bound = 50 * time.Second // from the kill; asynq's own way takes 60 s at least
	)
	c := newCrowd(t, startCluster(t, "LEASE_TTL="+lease.String()), 6)
	c.awaitWorkers(t, c.pid("worker-1"), c.pid("worker-2"))
	db, err := store.Open(t.Context(), c.database, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	dying := map[int]bool{} // tenants whose sessions the worker holds that is killed
	for i := range c.size {
		var pid int
		err := db.Writer().QueryRowContext(t.Context(), `SELECT w.pid FROM workers w JOIN sessions s ON s.owner = w.id
			JOIN tenants t ON t.tenant_key = s.tenant_key WHERE t.id = $1`, c.id(i)).Scan(&pid)
		if err != nil {
			t.Fatal(err)
		}
		if pid == c.pid("worker-1") {
			dying[i] = true // nothing is sent before the kill: the worker waits for an answer that does not come
			c.Script(wasim.Fault{Kind: wasim.IQSilent, Match: "usync", Account: c.number(i), Times: -1})
		}
	}
	c.send(t, 1)
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
		var n int
		err := db.Writer().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM messages m JOIN workers w ON w.id = m.in_flight WHERE w.pid = $1`,
			c.pid("worker-1")).Scan(&n)
		return n == len(dying) && n > 0, fmt.Sprintf("%d messages are in the worker's hand, want %d, %v", n, len(dying), err)
	})
	c.processes["worker-1"].Kill()
	killed := time.Now()
	c.ClearFaults()
	deaths := 0
	for i := range c.size {
		after := c.Admin.AwaitStatus(t, c.id(i), c.accepted[i][0].ID, "read")
		events := c.timeline(t, i, after.ID)
		for n, e := range events {
			if !strings.Contains(e.Detail, "ended before it recorded") {
				continue
			}
			deaths++
			if n+1 == len(events) || events[n+1].At.Sub(killed) > bound {
				t.Errorf("%s: the next attempt came too late after the kill at %s: %+v", c.id(i), killed, events)
			}
		}
	}
	if deaths != len(dying) {
		t.Errorf("%d messages were taken over, the dead worker had %d", deaths, len(dying))
	}
	if n := c.decrypted(); n != c.size {
		t.Errorf("%d messages were decrypted %d times", c.size, n)
	}
}

// event is a row of a message's history.
type event struct {
	Status, Detail string
	At             time.Time
}

func (c *crowd) timeline(t *testing.T, i int, id string) []event {
	t.Helper()
	var answer struct{ Data []event }
	c.Admin.JSON(t, http.MethodGet, "/api/"+c.id(i)+"/messages/"+id+"/events", nil, http.StatusOK, &answer)
	return answer.Data
}

// TestArchivedTicketDoesNotBlockItsMessage puts the tickets of waiting messages into asynq's archive, from where asynq never takes one: with
// its id taken, the message must go out all the same.
func TestArchivedTicketDoesNotBlockItsMessage(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	broker := c.broker(t)
	c.Admin.JSON(t, http.MethodPost, "/admin/tenants", map[string]string{"id": "algo"}, http.StatusCreated, nil)
	var ids []string
	for n := range 3 {
		ids = append(ids, c.Admin.Send(t, "algo", recipient, fmt.Sprintf("archived %d", n)).ID)
	}
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) { // tickets follow the answer
		n, err := tickets(t.Context(), broker, "pending")
		return n == int64(len(ids)) && err == nil, fmt.Sprintf("%d tickets wait, %v", n, err)
	})
	inspector := asynq.NewInspectorFromRedisClient(broker)
	queues, err := inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	archived := 0
	for _, queue := range queues {
		n, err := inspector.ArchiveAllPendingTasks(queue)
		if err != nil {
			t.Fatal(err)
		}
		archived += n
	}
	if archived != len(ids) {
		t.Fatalf("%d tickets were archived, want %d", archived, len(ids))
	}
	c.Scan(c.Admin.PairingCode(t, "algo"), testkit.OwnNumber)
	for _, id := range ids {
		c.Admin.AwaitStatus(t, "algo", id, "read")
	}
	for n, s := range c.Shown(recipient) {
		if want := fmt.Sprintf("archived %d", n); s.Text != want || len(s.Decrypted) != 1 {
			t.Errorf("message %d is %q, decrypted %d times; want %q", n, s.Text, len(s.Decrypted), want)
		}
	}
}
