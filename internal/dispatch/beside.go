package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

// This file records that a message was sent while the next one of its tenant is on its way: the disk is waited for beside a send instead of between
// two. The message stays in the hand of this process until then, and on the floor. One outcome of a tenant at most is behind.

// mayFollow reports whether the tenant's next message may be handled before the outcome of m is recorded: not when what it may depend on is
// looked up among what was recorded, nor when the handler is to end.
func (d *Dispatcher) mayFollow(ctx context.Context, m *gateway.Message, o gateway.Outcome) bool {
	if ctx.Err() != nil || o.Kind != gateway.OutcomeSent || o.Sent.FirstContact {
		return false
	}
	p := d.pacer(m.TenantKey)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pacing.PerRecipientPerDay <= 0 && p.pacing.FirstContactsPerDay <= 0
}

// settleBeside has the outcome of m recorded, once that of the tenant's message before it is. It is repeated until it succeeds, for no ticket leads to
// it any more: unrecorded the message would wait in the hand of this process for the end of that.
func (d *Dispatcher) settleBeside(ctx context.Context, fence gateway.Fence, m *gateway.Message, o gateway.Outcome) {
	if err := d.Settled(ctx, fence.TenantKey); err != nil {
		// The queue closes. What is behind goes on, and this one after it.
		d.Log.Warn("an outcome waits for the one before", "messageId", m.ID)
	}
	done := make(chan struct{})
	d.mu.Lock()
	before := d.recording[fence.TenantKey]
	d.recording[fence.TenantKey] = done
	d.mu.Unlock()
	d.floor.stay()
	d.behind.Add(1)
	loop.Go(func() {
		defer d.behind.Done()
		defer d.recorded(fence.TenantKey, done)
		defer d.floor.leave()
		defer func() {
			if p := recover(); p != nil {
				d.Log.Error("recording an outcome panicked", "messageId", m.ID, "panic", gateway.PanicCause(p), "stack", string(debug.Stack()))
				d.keep(fence.TenantKey, m.ID, o)
			}
		}()
		if before != nil {
			<-before
		}
		if _, err := d.record(d.life, fence, m.ID, o); err != nil && !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
			d.keep(fence.TenantKey, m.ID, o)
		}
	})
}

// recorded notes that done is, and wakes who waits for it.
func (d *Dispatcher) recorded(tenantKey int64, done chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recording[tenantKey] == done {
		delete(d.recording, tenantKey)
	}
	close(done)
}

// Stop tries once more to record what is still to be recorded, and waits for that until ctx ends. No ticket may be handled any more.
func (d *Dispatcher) Stop(ctx context.Context) error {
	d.end()
	ended := make(chan struct{})
	go func() {
		d.behind.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("record the last outcomes: %w", ctx.Err())
	}
}

// settleLimit bounds the wait of Settled without a deadline of its own.
const settleLimit = 10 * time.Second

// Settled waits until the outcomes of all messages that Handle has returned for are recorded; ctx's error when that ends first, or some seconds
// have passed: while the database is away it goes on behind.
func (d *Dispatcher) Settled(ctx context.Context, tenantKey int64) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		d.mu.Lock()
		done := d.recording[tenantKey]
		d.mu.Unlock()
		if done == nil {
			return nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
