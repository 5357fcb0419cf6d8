package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
	"github.com/wapro/hub/internal/queue/embedded"
	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// latency measures how soon one message is looked at when nothing else happens: from Enqueue to the handler, and from the request of
// POST /message to the first byte of the message at the simulator.
//
// The queue is measured in this process, with a Redis (embedded: the broker in memory) between one Queue that enqueues and one that handles,
// as in an API and a worker. The baseline is an asynq server with its own settings and one queue. It looks once a second when its queue was
// empty, and is never stopped; ours is stopped between any two samples.
func latency(b *bench) {
	queueLatency(b)
	wireLatency(b)
}

// handledWithin bounds one sample.
const handledWithin = time.Minute

func queueLatency(b *bench) {
	api, worker, bareClient := brokers(b)
	enqueuer, consumer := queue.New(api, queue.Options{}), queue.New(worker, queue.Options{})
	if err := consumer.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), handledWithin)
		defer cancel()
		if err := consumer.Stop(ctx); err != nil {
			b.Error(err)
		}
	})
	handled := make(chan time.Time, 1)
	const tenantKey = 1
	consumer.Open(tenantKey, func(context.Context, gateway.Ticket) gateway.Verdict {
		handled <- time.Now()
		return gateway.Verdict{Kind: gateway.VerdictDone}
	})

	server := asynq.NewServerFromRedisClient(bareClient, asynq.Config{Concurrency: 1, LogLevel: asynq.FatalLevel})
	bareHandled := make(chan time.Time, 1)
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		bareHandled <- time.Now()
		return nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Shutdown)
	bareEnqueuer := asynq.NewClientFromRedisClient(bareClient)

	var ours, theirs []float64
	for range b.samples {
		idleAWhile(b)
		begun := time.Now()
		ticket := gateway.Ticket{TenantKey: tenantKey, MessageID: uuid.NewString(), Lane: gateway.PriorityNormal}
		if err := enqueuer.Enqueue(b.Context(), ticket); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, milliseconds(await(b, handled).Sub(begun)))

		idleAWhile(b)
		begun = time.Now()
		if _, err := bareEnqueuer.EnqueueContext(b.Context(), asynq.NewTask("message", []byte(ticket.MessageID))); err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, milliseconds(await(b, bareHandled).Sub(begun)))
	}
	b.latencies("enqueue to handler, idle", "asynq server", ours, theirs)
}

// brokers returns the Redis clients of an API, of a worker and of the baseline. The embedded hub has one for both.
func brokers(b *bench) (api, worker, baseline redis.UniversalClient) {
	b.Helper()
	connect := func(url string) redis.UniversalClient {
		options, err := redis.ParseURL(url)
		if err != nil {
			b.Fatal(err)
		}
		client := redis.NewClient(options)
		b.Cleanup(func() { client.Close() }) //nolint:errcheck // its work is done
		return client
	}
	if b.shape.postgres {
		url := services.Redis(b)
		return connect(url), connect(url), connect(url)
	}
	one, stop, err := embedded.Start()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stop)
	return one, one, one
}

// idleAWhile waits until queues are at rest, and for a random while more, so that samples fall anywhere between two looks of who polls.
func idleAWhile(b *bench) {
	b.Helper()
	pause(b, 400*time.Millisecond+rand.N(300*time.Millisecond))
}

func await(b *bench, handled <-chan time.Time) time.Time {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), handledWithin)
	defer cancel()
	select {
	case at := <-handled:
		return at
	case <-ctx.Done():
		b.Fatal(errors.New("a ticket was not handled in time"))
		return time.Time{}
	}
}

// wireLatency sends one message at a time to a known contact, through the hub and through a bare loop in turn, each through a wire that sees
// when it begins to arrive at the simulator. The baseline is whatsmeow alone: SendMessage to first byte.
func wireLatency(b *bench) {
	sim := testkit.StartSimulator(b)
	settings := bareOn(b, sim)
	ours, theirs := startWire(b, settings.Server), startWire(b, settings.Server)
	settings.Server, settings.Numbers = theirs.addr(), bareNumbers(1)
	h := startHubAt(b, sim, ours.addr())
	s := &sending{b: b, hub: h, tenants: h.pair(sim, 1), loop: startBare(b, sim, settings)}
	const to = "491711234567"
	s.throughHub([][]string{{to, to}})
	s.loop.send(b, [][]string{{to, to}})

	var fromHub, fromBare []float64
	for range b.samples {
		idleAWhile(b)
		ours.forget()
		begun := time.Now()
		id := h.admin.Send(b, s.tenants[0], to, text).ID
		fromHub = append(fromHub, milliseconds(arrival(b, ours).Sub(begun)))
		s.await([]string{id}, "read") // the last that happens to a message

		idleAWhile(b)
		theirs.forget()
		begun = time.Now()
		s.loop.send(b, [][]string{{to}})
		fromBare = append(fromBare, milliseconds(arrival(b, theirs).Sub(begun)))
	}
	b.latencies("accept to first byte at the simulator, idle", "bare whatsmeow", fromHub, fromBare)
}

func arrival(b *bench, w *wire) time.Time {
	b.Helper()
	at, err := w.next(b.Context())
	if err != nil {
		b.Fatalf("a message did not arrive: %v", err)
	}
	return at
}

func (b *bench) latencies(what, baseline string, ours, theirs []float64) {
	for _, p := range []float64{50, 99} {
		b.table.add(row{
			what: fmt.Sprintf("%s, p%.0f of %d", what, p, len(ours)), shape: b.shape.name, unit: " ms", baseline: baseline,
			pairs: []pair{{percentile(ours, p), percentile(theirs, p)}},
		})
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
