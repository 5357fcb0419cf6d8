package app_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wapro/hub/internal/app"
	"github.com/wapro/hub/internal/gateway"
)

// manner is how a call fails.
type manner int

const (
	notDone manner = iota // it failed, and nothing happened
	done                  // it failed for who asked, but happened
	lost                  // it succeeded for who asked, but did not happen: a queue may forget
)

func (m manner) String() string {
	return [...]string{"failed and not done", "failed but done", "lost"}[m]
}

// failure is a failure of some calls of a method: after skip calls that succeed, times ones fail.
type failure struct {
	method      string
	manner      manner
	skip, times int
}

// failures sits between the rooms of every hub of a test and their store and queue.
type failures struct {
	mu    sync.Mutex
	armed []*failure
}

func (f *failures) arm(list ...failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = nil
	for _, one := range list {
		f.armed = append(f.armed, &one)
	}
}

// also adds a failure to those that are armed.
func (f *failures) also(one failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = append(f.armed, &one)
}

// left is how many failures of the method are still to come.
func (f *failures) left(method string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.armed {
		if one.method == method {
			n += one.times
		}
	}
	return n
}

// next tells whether and how the present call of method fails.
func (f *failures) next(method string) (manner, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.armed {
		switch {
		case one.method != method || one.times == 0:
		case one.skip > 0:
			one.skip--
		default:
			one.times--
			return one.manner, true
		}
	}
	return 0, false
}

// errInjected is as the store and the queue say that they are away.
var errInjected = &gateway.Error{Code: gateway.CodeUnavailable, Message: "It does not answer.", Err: errors.New("injected")}

func ask[T any](f *failures, method string, call func() (T, error)) (T, error) {
	var none T
	how, fails := f.next(method)
	switch {
	case !fails:
		return call()
	case how == done:
		_, _ = call() // what comes of it is not told
		return none, errInjected
	case how == lost:
		return none, nil
	}
	return none, errInjected
}

func tell(f *failures, method string, call func() error) error {
	_, err := ask(f, method, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// failingDatabase passes on to the store what does not fail. Each method here is a key of onTheWay.
type failingDatabase struct {
	app.Database
	f *failures
}

type (
	change  = func(*gateway.Message) ([]gateway.Event, error)
	confirm = func(*gateway.Message, gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error)
)

func (d failingDatabase) KeysByPrefix(ctx context.Context, prefix [8]byte) ([]gateway.APIKey, error) {
	return ask(d.f, "KeysByPrefix", func() ([]gateway.APIKey, error) { return d.Database.KeysByPrefix(ctx, prefix) })
}

func (d failingDatabase) Tenant(ctx context.Context, id string) (gateway.Tenant, error) {
	return ask(d.f, "Tenant", func() (gateway.Tenant, error) { return d.Database.Tenant(ctx, id) })
}

func (d failingDatabase) ReserveIdempotency(ctx context.Context, r gateway.Idempotency) (*gateway.IdempotencyAnswer, error) {
	return ask(d.f, "ReserveIdempotency", func() (*gateway.IdempotencyAnswer, error) { return d.Database.ReserveIdempotency(ctx, r) })
}

func (d failingDatabase) CompleteIdempotency(ctx context.Context, tenantKey int64, scope, key string, a gateway.IdempotencyAnswer) error {
	return tell(d.f, "CompleteIdempotency", func() error { return d.Database.CompleteIdempotency(ctx, tenantKey, scope, key, a) })
}

func (d failingDatabase) ReleaseIdempotency(ctx context.Context, tenantKey int64, scope, key string) error {
	return tell(d.f, "ReleaseIdempotency", func() error { return d.Database.ReleaseIdempotency(ctx, tenantKey, scope, key) })
}

func (d failingDatabase) Message(ctx context.Context, tenantKey int64, id string) (gateway.Message, error) {
	return ask(d.f, "Message", func() (gateway.Message, error) { return d.Database.Message(ctx, tenantKey, id) })
}

func (d failingDatabase) Accept(ctx context.Context, messages []*gateway.Message, idem *gateway.IdempotencyCompletion) error {
	return tell(d.f, "Accept", func() error { return d.Database.Accept(ctx, messages, idem) })
}

func (d failingDatabase) Claim(ctx context.Context, fence gateway.Fence, ticket gateway.Ticket, apply change) (*gateway.Message, error) {
	return ask(d.f, "Claim", func() (*gateway.Message, error) { return d.Database.Claim(ctx, fence, ticket, apply) })
}

func (d failingDatabase) Update(ctx context.Context, tenantKey int64, id string, fence *gateway.Fence, apply change) (gateway.Message, error) {
	return ask(d.f, "Update", func() (gateway.Message, error) { return d.Database.Update(ctx, tenantKey, id, fence, apply) })
}

func (d failingDatabase) Receive(ctx context.Context, tenantKey int64, r gateway.Receipt, apply confirm) error {
	return tell(d.f, "Receive", func() error { return d.Database.Receive(ctx, tenantKey, r, apply) })
}

func (d failingDatabase) Release(ctx context.Context, now time.Time, limit int, apply func(*gateway.Message) []gateway.Event) ([]gateway.Ticket, error) {
	return ask(d.f, "Release", func() ([]gateway.Ticket, error) { return d.Database.Release(ctx, now, limit, apply) })
}

func (d failingDatabase) TenantsWithWork(ctx context.Context, owner string) ([]gateway.Fence, error) {
	return ask(d.f, "TenantsWithWork", func() ([]gateway.Fence, error) { return d.Database.TenantsWithWork(ctx, owner) })
}

func (d failingDatabase) Unfinished(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) ([]gateway.Ticket, error) {
	return ask(d.f, "Unfinished", func() ([]gateway.Ticket, error) { return d.Database.Unfinished(ctx, tenantKey, lane, limit) })
}

func (d failingDatabase) Postponed(ctx context.Context, tenantKey int64, lane gateway.Priority, limit int) (int, error) {
	return ask(d.f, "Postponed", func() (int, error) { return d.Database.Postponed(ctx, tenantKey, lane, limit) })
}

func (d failingDatabase) Expirable(ctx context.Context, now time.Time, limit int) ([]gateway.Message, error) {
	return ask(d.f, "Expirable", func() ([]gateway.Message, error) { return d.Database.Expirable(ctx, now, limit) })
}

func (d failingDatabase) InFlightElsewhere(ctx context.Context, fence gateway.Fence, instance string, limit int) ([]gateway.Message, error) {
	return ask(d.f, "InFlightElsewhere", func() ([]gateway.Message, error) {
		return d.Database.InFlightElsewhere(ctx, fence, instance, limit)
	})
}

func (d failingDatabase) Session(ctx context.Context, tenantKey int64) (gateway.Session, error) {
	return ask(d.f, "Session", func() (gateway.Session, error) { return d.Database.Session(ctx, tenantKey) })
}

func (d failingDatabase) AcquireSessions(ctx context.Context, owner string, ttl time.Duration, limit int) ([]gateway.Session, error) {
	return ask(d.f, "AcquireSessions", func() ([]gateway.Session, error) { return d.Database.AcquireSessions(ctx, owner, ttl, limit) })
}

func (d failingDatabase) RenewSessions(ctx context.Context, owner string, ttl time.Duration) ([]gateway.Fence, error) {
	return ask(d.f, "RenewSessions", func() ([]gateway.Fence, error) { return d.Database.RenewSessions(ctx, owner, ttl) })
}

func (d failingDatabase) SeeWorker(ctx context.Context, w gateway.Worker, ttl time.Duration) error {
	return tell(d.f, "SeeWorker", func() error { return d.Database.SeeWorker(ctx, w, ttl) })
}

func (d failingDatabase) CheckFence(ctx context.Context, fence gateway.Fence) error {
	return tell(d.f, "CheckFence", func() error { return d.Database.CheckFence(ctx, fence) })
}

func (d failingDatabase) Pacing(ctx context.Context, tenantKey int64) (gateway.PacingChoice, error) {
	return ask(d.f, "Pacing", func() (gateway.PacingChoice, error) { return d.Database.Pacing(ctx, tenantKey) })
}

func (d failingDatabase) UpdateSession(ctx context.Context, fence gateway.Fence, apply func(*gateway.Session)) (gateway.Session, error) {
	return ask(d.f, "UpdateSession", func() (gateway.Session, error) { return d.Database.UpdateSession(ctx, fence, apply) })
}

// failingTickets passes on to the queue what does not fail.
type failingTickets struct {
	app.Tickets
	f *failures
}

func (q failingTickets) Enqueue(ctx context.Context, tickets ...gateway.Ticket) error {
	return tell(q.f, "Enqueue", func() error { return q.Tickets.Enqueue(ctx, tickets...) })
}

func (q failingTickets) EnqueueAt(ctx context.Context, ticket gateway.Ticket, at time.Time) error {
	return tell(q.f, "EnqueueAt", func() error { return q.Tickets.EnqueueAt(ctx, ticket, at) })
}

func (q failingTickets) Pending(ctx context.Context, tenantKey int64, lane gateway.Priority) (int, error) {
	return ask(q.f, "Pending", func() (int, error) { return q.Tickets.Pending(ctx, tenantKey, lane) })
}
