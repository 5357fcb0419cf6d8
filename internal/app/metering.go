package app

import (
	"context"
	"slices"
	"time"

	"github.com/wapro/hub/internal/bulk"
	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/metrics"
	"github.com/wapro/hub/internal/session"
)

// What is counted is counted between the rooms, when the one has answered the other: see docs/decisions/0019.

// watch has the state of things shown beside the counters.
func (h *Hub) watch() {
	for name, pool := range h.store.Pools() {
		h.metrics.WatchPool(name, pool)
	}
	folders := map[string]string{"media": h.cfg.BlobDir()}
	if h.cfg.SQLite() {
		folders["database"] = h.cfg.DataDir()
	}
	h.metrics.Watch(metrics.Sources{Truth: h.store, Redis: h.queue.Ping, Instance: h.instance, Folders: folders})
}

type (
	applyFunc   = func(*gateway.Message) ([]gateway.Event, error)
	receiveFunc = func(*gateway.Message, gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error)
)

// meteredDatabase counts what messages came to, once the transaction that wrote it has committed.
type meteredDatabase struct {
	Database
	metrics *metrics.Metrics
}

// Accept implements intake.Accepter.
func (d meteredDatabase) Accept(ctx context.Context, messages []*gateway.Message, idem *gateway.IdempotencyCompletion) error {
	err := d.Database.Accept(ctx, messages, idem)
	if err == nil {
		for _, m := range messages {
			d.metrics.Accepted(m.Priority, 1)
		}
	}
	return err
}

// Claim implements ledger.Store.
func (d meteredDatabase) Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, apply applyFunc) (*gateway.Message, error) {
	var seen moves
	m, err := d.Database.Claim(ctx, f, ticket, seen.watch(apply))
	if m != nil && err == nil {
		seen.last = slices.DeleteFunc(seen.last, func(tried move) bool { return tried.id != m.ID }) // somebody else was faster with those
		seen.count(d.metrics)
	}
	return m, err
}

// Update implements ledger.Store.
func (d meteredDatabase) Update(ctx context.Context, tenantKey int64, id string, f *gateway.Fence, apply applyFunc) (gateway.Message, error) {
	var seen moves
	m, err := d.Database.Update(ctx, tenantKey, id, f, seen.watch(apply))
	if err == nil {
		seen.count(d.metrics)
	}
	return m, err
}

// UpdateWaiting implements ledger.Store. Each message that it changes comes to its end.
func (d meteredDatabase) UpdateWaiting(ctx context.Context, tenantKey int64, after gateway.WaitingPlace, upTo int64, limit int, apply applyFunc) ([]gateway.Message, gateway.WaitingPlace, error) {
	changed, next, err := d.Database.UpdateWaiting(ctx, tenantKey, after, upTo, limit, apply)
	if err == nil {
		for i := range changed {
			d.metrics.Moved(changed[i].Status, 1)
		}
	}
	return changed, next, err
}

// CancelQueued implements ledger.Store.
func (d meteredDatabase) CancelQueued(ctx context.Context, tenantKey int64, bulkID string, limit int, apply applyFunc) (int, error) {
	n, err := d.Database.CancelQueued(ctx, tenantKey, bulkID, limit, apply)
	if err == nil {
		d.metrics.Moved(gateway.StatusCanceled, n)
	}
	return n, err
}

// CancelBegun implements ledger.Store.
func (d meteredDatabase) CancelBegun(ctx context.Context, tenantKey int64, bulkID string, limit int, apply applyFunc) ([]gateway.Message, error) {
	changed, err := d.Database.CancelBegun(ctx, tenantKey, bulkID, limit, apply)
	if err == nil {
		for i := range changed {
			d.metrics.Moved(changed[i].Status, 1)
		}
	}
	return changed, err
}

// Release implements ledger.Store.
func (d meteredDatabase) Release(ctx context.Context, now time.Time, limit int, apply func(*gateway.Message) []gateway.Event) ([]gateway.Ticket, error) {
	tickets, err := d.Database.Release(ctx, now, limit, apply)
	if err == nil {
		d.metrics.Moved(gateway.StatusQueued, len(tickets))
	}
	return tickets, err
}

// Receive implements ledger.Store.
func (d meteredDatabase) Receive(ctx context.Context, tenantKey int64, r gateway.Receipt, apply receiveFunc) error {
	var seen moves
	var sent map[string]time.Time // of those that this receipt delivers
	err := d.Database.Receive(ctx, tenantKey, r, func(m *gateway.Message, had gateway.Confirmed) (has gateway.Confirmed, events []gateway.Event, err error) {
		delivered := !m.DeliveredAt.IsZero()
		events, err = seen.apply(m, func(m *gateway.Message) ([]gateway.Event, error) {
			has, events, err = apply(m, had)
			return events, err
		})
		if !delivered && !m.DeliveredAt.IsZero() && !m.SentAt.IsZero() {
			if sent == nil {
				sent = make(map[string]time.Time, 1)
			}
			sent[m.ID] = m.SentAt
		}
		return has, events, err
	})
	if err == nil {
		seen.count(d.metrics)
		for _, at := range sent {
			d.metrics.Took(metrics.PhaseDeliver, time.Since(at))
		}
	}
	return err
}

// moves are the statuses that messages come to in one transaction, which may be tried more than once: the last try counts.
type moves struct {
	last []move
}

type move struct {
	id string
	to []gateway.Status
}

func (s *moves) watch(apply applyFunc) applyFunc {
	return func(m *gateway.Message) ([]gateway.Event, error) { return s.apply(m, apply) }
}

func (s *moves) apply(m *gateway.Message, apply applyFunc) ([]gateway.Event, error) {
	at := m.Status
	events, err := apply(m)
	moved := move{id: m.ID}
	for _, e := range events {
		if e.Status != at {
			at = e.Status
			moved.to = append(moved.to, at)
		}
	}
	for i := range s.last {
		if s.last[i].id == m.ID {
			s.last[i] = moved
			return events, err
		}
	}
	s.last = append(s.last, moved)
	return events, err
}

func (s *moves) count(to *metrics.Metrics) {
	for _, moved := range s.last {
		for _, status := range moved.to {
			to.Moved(status, 1)
		}
	}
}

// meteredBulks counts the messages of bulks that are accepted.
type meteredBulks struct {
	bulk.Store
	metrics *metrics.Metrics
}

// PublishBulk implements bulk.Store.
func (s meteredBulks) PublishBulk(ctx context.Context, b *gateway.Bulk, idem *gateway.IdempotencyCompletion) error {
	err := s.Store.PublishBulk(ctx, b, idem)
	if err == nil {
		s.metrics.Accepted(b.Lane, b.Total)
	}
	return err
}

// meteredLedger counts attempts and what came of them.
type meteredLedger struct {
	dispatch.Ledger
	metrics *metrics.Metrics
}

// Claim implements dispatch.Ledger.
func (l meteredLedger) Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error) {
	start := time.Now()
	m, err := l.Ledger.Claim(ctx, f, ticket, instance)
	l.began(m, start)
	return m, err
}

// ClaimAlone implements dispatch.Ledger.
func (l meteredLedger) ClaimAlone(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error) {
	start := time.Now()
	m, err := l.Ledger.ClaimAlone(ctx, f, ticket, instance)
	l.began(m, start)
	return m, err
}

func (l meteredLedger) began(m *gateway.Message, start time.Time) {
	if m == nil {
		return
	}
	l.metrics.Took(metrics.PhaseClaim, time.Since(start))
	l.metrics.Began(m.Attempts)
	if m.Attempts == 1 {
		since := m.CreatedAt
		if m.SendAt.After(since) {
			since = m.SendAt
		}
		l.metrics.Took(metrics.PhaseWait, start.Sub(since))
	}
}

// Record implements dispatch.Ledger.
func (l meteredLedger) Record(ctx context.Context, f gateway.Fence, messageID string, o gateway.Outcome) (gateway.Message, error) {
	start := time.Now()
	m, err := l.Ledger.Record(ctx, f, messageID, o)
	if err == nil {
		l.metrics.Took(metrics.PhaseRecord, time.Since(start))
		l.metrics.Outcome(o)
	}
	return m, err
}

// meteredSender measures sends.
type meteredSender struct {
	dispatch.Sender
	metrics *metrics.Metrics
}

// Send implements dispatch.Sender.
func (s meteredSender) Send(ctx context.Context, f gateway.Fence, m *gateway.Message) (gateway.Sent, error) {
	start := time.Now()
	sent, err := s.Sender.Send(ctx, f, m)
	s.metrics.Took(metrics.PhaseSend, time.Since(start))
	return sent, err
}

// meteredReceipts counts receipts that were recorded.
type meteredReceipts struct {
	session.Receipts
	metrics *metrics.Metrics
}

// Receipt implements session.Receipts.
func (r meteredReceipts) Receipt(ctx context.Context, tenantKey int64, own []string, receipt gateway.Receipt) error {
	err := r.Receipts.Receipt(ctx, tenantKey, own, receipt)
	if err == nil {
		r.metrics.Receipt(receipt.Kind)
	}
	return err
}

// meteredTickets counts the tickets that a room gives to the queue.
type meteredTickets struct {
	Tickets
	metrics *metrics.Metrics
	by      string
}

// Enqueue implements intake.Enqueuer and relay.Queue.
func (t meteredTickets) Enqueue(ctx context.Context, tickets ...gateway.Ticket) error {
	err := t.Tickets.Enqueue(ctx, tickets...)
	if err == nil {
		t.metrics.Enqueued(t.by, len(tickets))
	}
	return err
}

// EnqueueAt implements dispatch.Queue.
func (t meteredTickets) EnqueueAt(ctx context.Context, ticket gateway.Ticket, at time.Time) error {
	err := t.Tickets.EnqueueAt(ctx, ticket, at)
	if err == nil {
		t.metrics.Enqueued(t.by, 1)
	}
	return err
}
