package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

const (
	inFlight   = 8                // posts to one webhook at a time
	turnTTL    = 30 * time.Second // longer than a post and its record
	turnLength = 10 * time.Second // then others have their chance
	tenantCap  = 5                // webhooks of one tenant that are delivered to at a time, by one process
	dueLimit   = 500              // webhooks of one sweep
	stopGrace  = 2 * time.Second  // for posts in hand when everything stops
	settleTime = 3 * time.Second  // to let a turn go then
	sealedRest = time.Minute      // when the secret cannot be read
	busyFor    = time.Minute      // after work, it is looked for often
	purgeEvery = time.Minute
	tidyEvery  = 10 * time.Minute
	tidyBatch  = 500 // rows of each kind and tenant in one transaction
	wakeBatch  = 500 // deliveries in one transaction
)

// Store is what SQL knows of deliveries.
type Store interface {
	// UnsettledTenants lists the tenants of whom events wait for their place; SettleEvents gives some of them theirs, and hands them to webhooks.
	UnsettledTenants(ctx context.Context) ([]int64, error)
	SettleEvents(ctx context.Context, tenantKey int64) (more bool, err error)

	// DueWebhooks finds those that something can be posted to, or made due of, and nobody posts to: of those that fail and of the others up to limit each.
	DueWebhooks(ctx context.Context, now time.Time, limit int) ([]gateway.DueWebhook, error)
	// TakeWebhookTurn is exclusive for ttl; nil: another has it, or nothing may be delivered.
	TakeWebhookTurn(ctx context.Context, turn gateway.WebhookTurn, ttl time.Duration) (*gateway.Webhook, error)
	EndWebhookTurn(ctx context.Context, turn gateway.WebhookTurn) error
	// WakeDeliveries makes due what of the next limit deliveries of a webhook that is Waking waits for another attempt; more: not all has been looked at.
	WakeDeliveries(ctx context.Context, id string, limit int) (more bool, err error)
	// NextDeliveries reads the oldest that are due, of each subject the first.
	NextDeliveries(ctx context.Context, id string, now time.Time, limit int) ([]gateway.Delivery, error)
	// RecordDeliveries stores attempts, and what apply makes of the webhook, in one transaction, and prolongs the turn.
	RecordDeliveries(ctx context.Context, turn gateway.WebhookTurn, ttl time.Duration, attempts []gateway.DeliveryAttempt,
		apply func(*gateway.Webhook)) (w gateway.Webhook, held bool, err error)

	// PurgeWebhooks removes what is left of deleted webhooks, ForgetEvents what happened before a time, up to limit rows of a kind in one transaction.
	PurgeWebhooks(ctx context.Context) error
	ForgetEvents(ctx context.Context, before time.Time, limit int) (removed int, err error)
}

// Queue hands webhooks that are due to the workers, at least one of which calls Deliver for each. It may lose them.
type Queue interface {
	Add(ctx context.Context, due []gateway.DueWebhook) error
}

// Secrets opens what is stored of a secret.
type Secrets interface {
	Open(sealed []byte, column, webhookID string) ([]byte, error)
	Seal(key []byte, column, webhookID string) ([]byte, error)
}

// Deps are what a Deliverer needs.
type Deps struct {
	Store   Store
	Queue   Queue
	Secrets Secrets
	Client  *http.Client  // bounds the time of a post; follows no redirects
	Often   time.Duration // between two looks for something to do while there is; default 200 ms
	Seldom  time.Duration // otherwise; default 1 s
	Purge   time.Duration // between two looks for what is to be removed; default 1 min
	Clock   func() time.Time
	Random  func() float64 // in [0, 1)
	Log     *slog.Logger
}

// Deliverer gives events their place and delivers them. Any number of processes may have one. Its methods may be called from any goroutine.
type Deliverer struct {
	Deps
	clock  func() time.Time
	random func() float64
	client *http.Client
	loop   loop.Loop
	tidied loop.Loop // beside it: there may be much to remove

	mu   sync.Mutex
	open map[int64]int // turns by tenant
}

// New makes a Deliverer that does nothing before Start.
func New(deps Deps) *Deliverer {
	if deps.Often <= 0 {
		deps.Often = 200 * time.Millisecond
	}
	if deps.Seldom <= 0 {
		deps.Seldom = time.Second
	}
	if deps.Purge <= 0 {
		deps.Purge = purgeEvery
	}
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Random == nil {
		deps.Random = rand.Float64
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	return &Deliverer{Deps: deps, clock: deps.Clock, random: deps.Random, client: deps.Client, open: map[int64]int{}}
}

// Start looks for something to do again and again until Stop. Of ctx only the values are used. Starting twice, or after Stop, is an error.
func (d *Deliverer) Start(ctx context.Context) error {
	if err := d.loop.Start(ctx, "the webhooks", d.run); err != nil {
		return err
	}
	return d.tidied.Start(ctx, "the removal of old events", d.tidy)
}

// Stop ends the loop and waits for it until ctx ends. It may be called more than once, and without Start.
func (d *Deliverer) Stop(ctx context.Context) error {
	if err := errors.Join(d.loop.Stop(ctx), d.tidied.Stop(ctx)); err != nil {
		return fmt.Errorf("stop the webhooks: %w", err)
	}
	return nil
}

func (d *Deliverer) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var worked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		found, more, err := d.sweep(ctx)
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "put off the webhooks", "error", err)
		}
		if found {
			worked = time.Now()
		}
		switch {
		case err == nil && more:
			timer.Reset(0)
		case err == nil && !worked.IsZero() && time.Since(worked) < busyFor:
			timer.Reset(d.Often)
		default:
			timer.Reset(d.Seldom)
		}
	}
}

// sweep settles a batch of what has happened to each tenant, and enqueues the webhooks that are due. more: some tenant had more than a batch.
func (d *Deliverer) sweep(ctx context.Context) (found, more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %s", gateway.PanicCause(p))
		}
	}()
	tenants, err := d.Store.UnsettledTenants(ctx)
	if err != nil {
		return false, false, err
	}
	var errs []error
	for _, key := range tenants {
		others, err := d.Store.SettleEvents(ctx, key)
		if err != nil {
			errs = append(errs, err) // another tenant's may be fine
		}
		more = more || others
	}
	due, err := d.Store.DueWebhooks(ctx, d.clock(), dueLimit)
	if err == nil {
		err = d.Queue.Add(ctx, due)
	}
	return len(tenants)+len(due) > 0, more, errors.Join(append(errs, err)...)
}

// tidy removes what has been kept long enough, and what is left of deleted webhooks.
func (d *Deliverer) tidy(ctx context.Context) {
	tick := time.NewTicker(d.Purge)
	defer tick.Stop()
	for forgotten := (time.Time{}); ; {
		err := d.contain(func() error { return d.Store.PurgeWebhooks(ctx) })
		if err == nil && time.Since(forgotten) >= tidyEvery {
			forgotten = time.Now()
			err = d.contain(func() error {
				_, err := d.Store.ForgetEvents(ctx, d.clock().Add(-gateway.EventsKept), tidyBatch)
				return err
			})
		}
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "put off the removal of old events", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// contain makes an error of a panic.
func (d *Deliverer) contain(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %s", gateway.PanicCause(p))
		}
	}()
	return do()
}

// Deliver posts to a webhook what is due, if nobody else does, until nothing is or its time is up. What is in flight when ctx ends is given a moment.
func (d *Deliverer) Deliver(ctx context.Context, id string) {
	if err := d.deliver(ctx, id); err != nil && ctx.Err() == nil {
		d.Log.WarnContext(ctx, "put off the deliveries of a webhook", "webhook", id, "error", err)
	}
}

func (d *Deliverer) deliver(ctx context.Context, id string) error {
	turn := gateway.WebhookTurn{WebhookID: id, Owner: uuid.NewString()}
	w, err := d.Store.TakeWebhookTurn(ctx, turn, turnTTL)
	if w == nil || err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
		if err := d.Store.EndWebhookTurn(ctx, turn); err != nil {
			d.Log.WarnContext(ctx, "the turn of a webhook runs out by itself", "webhook", id, "error", err)
		}
	}()
	if !d.enter(w.TenantKey) {
		return nil // found again by the next sweep
	}
	defer d.leave(w.TenantKey)
	for end := time.Now().Add(turnLength); ctx.Err() == nil && time.Now().Before(end); {
		now := d.clock()
		if w.RestUntil.After(now) {
			return nil
		}
		limit := inFlight
		if w.Failures >= breakAfter {
			limit = 1 // a probe
		}
		if w.Waking { // some more before each round, so that what is posted next is due already
			if w.Waking, err = d.Store.WakeDeliveries(ctx, id, wakeBatch); err != nil {
				return err
			}
		}
		list, err := d.Store.NextDeliveries(ctx, id, now, limit)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			if w.Waking {
				continue
			}
			return nil
		}
		held, err := d.round(ctx, turn, w, list)
		if err != nil || !held || w.Status != gateway.WebhookEnabled {
			return err
		}
	}
	return nil
}

// round posts some events at the same time and records what came of them; w is then as it is stored.
func (d *Deliverer) round(ctx context.Context, turn gateway.WebhookTurn, w *gateway.Webhook, list []gateway.Delivery) (held bool, err error) {
	keys, err := d.keys(w)
	if err != nil {
		// The webhook is not to blame: nothing is counted.
		_, _, rest := d.Store.RecordDeliveries(ctx, turn, turnTTL, nil, func(w *gateway.Webhook) { w.RestUntil = d.clock().Add(sealedRest) })
		return false, errors.Join(err, rest)
	}
	posting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cancel) })()
	results := make([]posted, len(list))
	var wait sync.WaitGroup
	for i, next := range list {
		wait.Go(func() { results[i] = d.post(posting, w, keys, next) })
	}
	wait.Wait()
	done := results[:0]
	var attempts []gateway.DeliveryAttempt
	for _, p := range results {
		if !p.cut {
			done, attempts = append(done, p), append(attempts, p.DeliveryAttempt)
		}
	}
	// What was taken is recorded also when everything stops: else it would be posted again.
	record, over := context.WithTimeout(context.WithoutCancel(ctx), settleTime+turnTTL/2)
	defer over()
	now, random := d.clock(), d.random()
	*w, held, err = d.Store.RecordDeliveries(record, turn, turnTTL, attempts, func(w *gateway.Webhook) { judge(w, done, now, random) })
	if err == nil && w.Status == gateway.WebhookDisabled {
		d.Log.WarnContext(ctx, "a webhook was disabled", "webhook", w.ID, "tenantKey", w.TenantKey, "reason", string(w.Reason))
	}
	return held, err
}

// keys are what signs: two of them for a while after a rotation.
func (d *Deliverer) keys(w *gateway.Webhook) ([][]byte, error) {
	key, err := d.Secrets.Open(w.Secret, columnSecret, w.ID)
	if err != nil {
		return nil, fmt.Errorf("open the secret of a webhook: %w", err)
	}
	keys := [][]byte{key}
	if w.OldUntil.After(d.clock()) {
		old, err := d.Secrets.Open(w.OldSecret, columnOldSecret, w.ID)
		if err != nil {
			return nil, fmt.Errorf("open the old secret of a webhook: %w", err)
		}
		keys = append(keys, old)
	}
	return keys, nil
}

// enter takes one of the places of a tenant.
func (d *Deliverer) enter(tenantKey int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[tenantKey] >= tenantCap {
		return false
	}
	d.open[tenantKey]++
	return true
}

func (d *Deliverer) leave(tenantKey int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[tenantKey]--; d.open[tenantKey] == 0 {
		delete(d.open, tenantKey)
	}
}
