package httpapi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/share"
)

// pollTime bounds one look at the awaited statuses.
const pollTime = 2 * time.Second

// reached reports whether a message in status is as far as until, or will not get there by itself.
func reached(status, until gateway.Status) bool {
	switch status {
	case until, gateway.StatusCanceled, gateway.StatusFailed, gateway.StatusExpired, gateway.StatusUnknown:
		return true
	default:
		return until.CanMove(status)
	}
}

// waiters holds the requests that wait for a message. While there are any, one goroutine asks for all their statuses in
// one query per interval; the last one to leave ends it.
type waiters struct {
	statuses func(ctx context.Context, ids []string) (map[string]gateway.Status, error)
	interval time.Duration
	places   *share.Places
	log      *slog.Logger

	mu      sync.Mutex
	waiting map[*waiter]struct{}
	polling bool
	closed  bool
	polls   sync.WaitGroup
}

type waiter struct {
	id    string
	until gateway.Status
	done  chan struct{} // closed when reached
}

func newWaiters(statuses func(context.Context, []string) (map[string]gateway.Status, error), interval time.Duration, limit int, log *slog.Logger) *waiters {
	return &waiters{statuses: statuses, interval: interval, places: share.New(limit, limit/4), log: log, waiting: map[*waiter]struct{}{}}
}

// wait returns when message id reached until, or after d, or when stopping is closed. The error is
// gateway.CodeTooManyWaiters, or the end of ctx.
func (w *waiters) wait(ctx context.Context, stopping <-chan struct{}, holder int64, id string, until gateway.Status, d time.Duration) error {
	leave, err := w.places.Take(holder)
	if err != nil {
		return noPlace(err, gateway.CodeTooManyWaiters, "requests wait")
	}
	defer leave()
	one := &waiter{id: id, until: until, done: make(chan struct{})}
	if !w.enter(ctx, one) {
		return gateway.Errorf(gateway.CodeTooManyWaiters, "nobody waits any more: the hub stops")
	}
	defer w.leave(one)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-one.done:
	case <-timer.C:
	case <-stopping:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (w *waiters) enter(ctx context.Context, one *waiter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.waiting[one] = struct{}{}
	if !w.polling {
		w.polling = true
		ctx = context.WithoutCancel(ctx) // it outlives the request that began it
		w.polls.Go(func() { w.poll(ctx) })
	}
	return true
}

func (w *waiters) leave(one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, one)
}

// close lets nobody wait any more and returns when the polling has ended, within pollTime after the last has left.
func (w *waiters) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.polls.Wait()
}

// poll runs while somebody waits.
func (w *waiters) poll(ctx context.Context) {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	failing := false
	for range tick.C {
		ids, ok := w.ids()
		if !ok {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, pollTime)
		statuses, err := w.statuses(bounded, ids)
		cancel()
		if err != nil {
			if !failing {
				w.log.Warn("awaited messages cannot be looked up; the waits go on", "err", err)
			}
			failing = true
			continue
		}
		failing = false
		w.tell(statuses)
	}
}

// ids lists what is awaited; when that is nothing, polling is over and it returns false.
func (w *waiters) ids() ([]string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.polling = false
		return nil, false
	}
	seen := make(map[string]struct{}, len(w.waiting))
	ids := make([]string, 0, len(w.waiting))
	for one := range w.waiting {
		if _, twice := seen[one.id]; !twice {
			seen[one.id] = struct{}{}
			ids = append(ids, one.id)
		}
	}
	return ids, true
}

func (w *waiters) tell(statuses map[string]gateway.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.waiting {
		if status, known := statuses[one.id]; known && reached(status, one.until) {
			close(one.done)
			delete(w.waiting, one)
		}
	}
}
