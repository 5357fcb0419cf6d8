package intake

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	enqueueLimit = time.Second     // the longest that one call to the queue may take
	enqueuePause = 5 * time.Second // then nobody tries for a while: the relay finds the messages in SQL
	enqueueBatch = 500             // tickets of one call
	// From one call to the next. A call costs the API, Redis and each worker more than ten tickets in it do; the first ticket after
	// a rest does not wait.
	enqueuePace = 5 * time.Millisecond
	maxTickets  = 10_000 // that wait for the call before theirs; more are left to the relay
)

// tickets are on their way to the queue. They go in the order of their acceptance, all that wait in one call, made by a
// goroutine that lives as long as there are any: an answer does not wait for it (docs/decisions/0009-tickets-follow-the-answer.md).
type tickets struct {
	mu      sync.Mutex
	waiting []numbered
	idle    chan struct{} // closed when the goroutine ends; nil: there is none
	quiet   time.Time     // the queue did not answer: nobody tries until then
	called  time.Time     // the last time; of the one goroutine
}

// numbered is a ticket with the number of its message, by which a lane is in order.
type numbered struct {
	gateway.Ticket
	seq int64
}

// enqueue sends the ticket of a committed message on its way. It returns at once.
func (in *Intake) enqueue(ctx context.Context, m *gateway.Message) {
	t := &in.tickets
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= maxTickets || in.now().Before(t.quiet) {
		return
	}
	t.waiting = append(t.waiting, numbered{gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}, m.Seq})
	if t.idle == nil {
		t.idle = make(chan struct{})
		// That the sender has gone away changes nothing: the message is committed.
		go in.deliver(context.WithoutCancel(ctx), t.idle)
	}
}

// Flush waits until the tickets of everything accepted so far are with the queue or given up, at most until ctx ends.
func (in *Intake) Flush(ctx context.Context) error {
	in.tickets.mu.Lock()
	idle := in.tickets.idle
	in.tickets.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the queue to take the last tickets: %w", ctx.Err())
	}
}

// deliver hands tickets over until none wait, and closes idle.
func (in *Intake) deliver(ctx context.Context, idle chan struct{}) {
	defer close(idle)
	var batch []gateway.Ticket
	for {
		if wait := enqueuePace - time.Since(in.tickets.called); wait > 0 {
			<-time.After(wait)
		}
		if batch = in.nextTickets(batch); len(batch) == 0 {
			return
		}
		in.tickets.called = time.Now()
		if err := in.hand(ctx, batch); err != nil {
			in.giveUp(len(batch), err)
		}
	}
}

// hand gives a batch to the queue. A panic there is contained: it would end the API for messages that are committed already.
func (in *Intake) hand(ctx context.Context, batch []gateway.Ticket) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the queue panicked: %s", gateway.PanicCause(p))
			in.Log.Error("panic in the queue", "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, enqueueLimit)
	defer cancel()
	return in.Queue.Enqueue(ctx, batch...)
}

// nextTickets takes what waits, enqueueBatch at most, into the memory of the batch before. When nothing waits the goroutine is over. Accepts that
// were answered at the same time may have come here in any order: a ticket ahead of its turn would lead to another message first, and be put
// back for its own.
func (in *Intake) nextTickets(batch []gateway.Ticket) []gateway.Ticket {
	t := &in.tickets
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.waiting), enqueueBatch)
	slices.SortStableFunc(t.waiting[:n], func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.TenantKey, b.TenantKey), cmp.Compare(a.seq, b.seq))
	})
	batch = batch[:0]
	for _, w := range t.waiting[:n] {
		batch = append(batch, w.Ticket)
	}
	t.waiting = t.waiting[:copy(t.waiting, t.waiting[n:])]
	if n == 0 {
		t.idle = nil
	}
	return batch
}

// giveUp leaves a failed batch, what waits behind it, and what comes soon to the relay.
func (in *Intake) giveUp(failed int, err error) {
	t := &in.tickets
	t.mu.Lock()
	failed += len(t.waiting)
	t.waiting = nil
	t.quiet = in.now().Add(enqueuePause)
	t.mu.Unlock()
	in.Log.Warn("could not enqueue; the relay will", "messages", failed, "error", err)
}
