package dispatch

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// record writes an outcome and repeats that until it succeeds. When ctx ends it tries once more and then returns
// the error: the ticket is held all the while, so that nothing overtakes.
func (d *Dispatcher) record(ctx context.Context, fence gateway.Fence, id string, o gateway.Outcome) (gateway.Message, error) {
	for {
		ended := ctx.Err() != nil
		limit := recordLimit
		if ended {
			limit = lastRecord
		}
		// What happened has happened: the end of ctx must not keep it from being written.
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		m, err := d.Ledger.Record(once, fence, id, o)
		cancel()
		if err == nil || ended || errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
			return m, err
		}
		d.Log.Error("could not record an outcome, trying again", "messageId", id, "outcome", string(o.Kind), "error", err)
		pause := time.NewTimer(d.Options.StorePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// keep remembers an outcome that could not be recorded, because its row stays in the hands of this process until it is.
func (d *Dispatcher) keep(tenantKey int64, id string, o gateway.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unrecorded[tenantKey] == nil {
		d.unrecorded[tenantKey] = make(map[string]gateway.Outcome)
	}
	d.unrecorded[tenantKey][id] = o
}

// recordLeft records what is left from earlier handlers of the tenant. There is one at most for each time that a
// tenant was closed while the database was away.
func (d *Dispatcher) recordLeft(ctx context.Context, fence gateway.Fence) error {
	d.mu.Lock()
	left := maps.Clone(d.unrecorded[fence.TenantKey])
	d.mu.Unlock()
	for id, o := range left {
		if _, err := d.record(ctx, fence, id, o); err != nil && !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
			return err
		}
		d.mu.Lock()
		if delete(d.unrecorded[fence.TenantKey], id); len(d.unrecorded[fence.TenantKey]) == 0 {
			delete(d.unrecorded, fence.TenantKey)
		}
		d.mu.Unlock()
	}
	return nil
}
