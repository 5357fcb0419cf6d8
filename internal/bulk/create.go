package bulk

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
)

const (
	staleAfter   = 2 * time.Minute  // without a step of its maker a bulk is taken for an orphan
	discardLimit = 10 * time.Second // that a request which failed cleans up for; the relay does the rest
)

// Create checks a request, stores the messages of its valid rows out of sight, and then accepts them all at once. Errors of the
// request are *gateway.Error; nothing of a request that fails is ever shown or sent. With done, answer is what its
// Idempotency-Key replays; it is called before the bulk is accepted, with the bulk as it will be.
func (s *Service) Create(ctx context.Context, tenant gateway.Tenant, req gateway.BulkRequest, done *gateway.IdempotencyCompletion,
	answer func(gateway.BulkProgress) gateway.IdempotencyAnswer,
) (gateway.BulkProgress, error) {
	d, err := s.check(ctx, tenant, req)
	if err != nil {
		return gateway.BulkProgress{}, err
	}
	v, err := s.checkRows(ctx, d)
	if err != nil {
		return gateway.BulkProgress{}, err
	}
	rows := len(v.to) - v.empty
	if len(v.invalid) == rows || v.faulty > 0 && d.req.OnInvalid == gateway.RefuseInvalid {
		return gateway.BulkProgress{}, v.refusal(rows)
	}
	b := gateway.Bulk{
		Name: d.req.Name, Lane: d.req.Priority, Rows: len(v.to), Total: rows - len(v.invalid), Invalid: len(v.invalid), MaxFailureRate: d.req.MaxFailureRate,
		SendAt: d.req.SendAt,
	}
	return s.make(ctx, tenant, b, v.invalid, done, answer, func(b *gateway.Bulk, add func(*gateway.Message) error) error {
		return d.req.Rows.Each(func(n int, row gateway.BulkRow) error {
			to := v.to[n-1]
			if to == "" {
				return nil
			}
			m := d.model
			m.To, m.Reference = to, row.Reference
			if m.Reference == "" {
				m.Reference = d.req.Reference
			}
			m.Text, _ = d.render(row)
			m.Seq = b.FirstSeq + int64(n) - 1
			return add(&m)
		})
	})
}

// Retry sends the messages of a bulk that have failed or expired once more, as a new bulk that names the old one, and each
// message the one it repeats. Those that were called off are left out, whose recipients opted out, and that a later message repeats already, unless
// that one failed or expired as well. Those whose outcome is unknown may have been delivered and are sent again only with force.
// CodeUnavailable while another retry of a bulk of the tenant is being stored. CodeNotFound, CodeNotRetryable when there is none. Otherwise as Create.
func (s *Service) Retry(ctx context.Context, tenant gateway.Tenant, id string, force bool, done *gateway.IdempotencyCompletion,
	answer func(gateway.BulkProgress) gateway.IdempotencyAnswer,
) (gateway.BulkProgress, error) {
	old, err := s.Store.Bulk(ctx, tenant.Key, id)
	if err != nil {
		return gateway.BulkProgress{}, err
	}
	counts, err := s.Store.BulkCounts(ctx, tenant.Key, []string{id})
	if err != nil {
		return gateway.BulkProgress{}, err
	}
	again := []gateway.Status{gateway.StatusFailed, gateway.StatusExpired}
	if force {
		again = append(again, gateway.StatusUnknown)
	}
	rows := 0
	for _, status := range again {
		rows += counts[id][status]
	}
	none := gateway.Errorf(gateway.CodeNotRetryable, "no message of the bulk that failed or expired is left to be sent again")
	if counts[id][gateway.StatusUnknown] > 0 && !force {
		none.Message += `; some may have been delivered, and with {"force": true} they are sent again all the same`
	}
	if rows == 0 {
		return gateway.BulkProgress{}, none
	}
	now := s.Clock().UTC()
	expires := now.Add(tenant.Settings.ExpiryOf(old.Lane))
	b := gateway.Bulk{Name: old.Name, Lane: old.Lane, RetryOf: old.ID, Rows: rows, Total: rows, MaxFailureRate: old.MaxFailureRate}
	return s.make(ctx, tenant, b, nil, done, answer, func(b *gateway.Bulk, add func(*gateway.Message) error) error {
		after, made := int64(0), 0
		for {
			list, err := s.Store.BulkMessages(ctx, tenant.Key, id, after, again, gateway.StageBatch)
			if err != nil {
				return err
			}
			settled, err := s.settled(ctx, tenant.Key, list, force)
			if err != nil {
				return err
			}
			for _, m := range list {
				if after = m.Seq; made == rows {
					break // a message has failed since they were counted
				}
				if m.Dropped() || m.Uncertain && !force || m.Error != nil && m.Error.Code.Unwanted() || settled(m.ID) {
					continue
				}
				copied := gateway.Message{
					TenantKey: tenant.Key, TenantID: tenant.ID, To: m.To, Type: m.Type, Text: m.Text, Media: m.Media, Content: m.Content, Priority: m.Priority,
					Reference: m.Reference, RetryOf: m.ID, Status: gateway.StatusQueued, Phase: gateway.PhaseStaged,
					CreatedAt: now, UpdatedAt: now, ExpiresAt: expires, Seq: b.FirstSeq + int64(made),
				}
				made++
				if err := add(&copied); err != nil {
					return err
				}
			}
			switch {
			case len(list) == gateway.StageBatch && made < rows:
			case made == 0:
				return none
			default:
				return nil
			}
		}
	})
}

// settled tells which of messages need not be sent again, for another one that was sent in their place.
func (s *Service) settled(ctx context.Context, tenantKey int64, messages []gateway.Message, force bool) (func(id string) bool, error) {
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.ID
	}
	repetitions, err := s.Store.Repetitions(ctx, tenantKey, ids)
	if err != nil {
		return nil, err
	}
	return func(id string) bool {
		return slices.ContainsFunc(repetitions[id], func(r gateway.Repetition) bool { return r.Settles(force) })
	}, nil
}

// make stores a bulk, of b.Total messages at most, and accepts it. produce makes its messages, without their ids, and gives each to add, in the order of
// their Seq.
func (s *Service) make(ctx context.Context, tenant gateway.Tenant, b gateway.Bulk, invalid []gateway.BulkInvalid,
	done *gateway.IdempotencyCompletion, answer func(gateway.BulkProgress) gateway.IdempotencyAnswer,
	produce func(b *gateway.Bulk, add func(*gateway.Message) error) error,
) (p gateway.BulkProgress, err error) {
	if s.Admit != nil {
		if err := s.Admit(ctx, tenant, b.Total); err != nil {
			return p, err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return p, fmt.Errorf("make the id of a bulk: %w", err)
	}
	b.ID, b.TenantKey, b.TenantID, b.CreatedAt = id.String(), tenant.Key, tenant.ID, s.Clock().UTC()
	if err := s.Store.CreateBulk(ctx, &b); err != nil {
		return p, err
	}
	accepted := false
	defer func() {
		if accepted {
			return
		}
		// The caller may have gone; what is left after this the relay removes.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardLimit)
		defer cancel()
		if err := s.Store.DiscardBulk(ctx, b.TenantKey, b.ID); err != nil {
			s.Log.WarnContext(ctx, "a bulk that was not accepted is removed later", "bulk", b.ID, "error", err)
		}
	}()
	if err := s.Store.StageInvalid(ctx, &b, invalid); err != nil {
		return p, err
	}
	if b.Total, err = s.stage(ctx, &b, produce); err != nil {
		return p, err
	}
	p = gateway.BulkProgress{
		Bulk: b, Counts: gateway.BulkCounts{gateway.StatusQueued: b.Total}, Rejected: invalid[:min(len(invalid), gateway.MaxRejected)],
	}
	p.Status = gateway.BulkRunning
	if done != nil {
		done.Answer = func([]*gateway.Message) (gateway.IdempotencyAnswer, error) { return answer(p), nil }
	}
	if err := s.Store.PublishBulk(ctx, &b, done); err != nil {
		return gateway.BulkProgress{}, err
	}
	accepted = true
	s.Wake()
	return p, nil
}

// stagers is how many batches of a bulk are stored at the same time.
const stagers = 2

// stage stores the messages of a bulk, batches at a time, while the next batch is made.
func (s *Service) stage(ctx context.Context, b *gateway.Bulk, produce func(b *gateway.Bulk, add func(*gateway.Message) error) error) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches, stored := make(chan []*gateway.Message), make(chan error, stagers)
	for range stagers {
		go func() {
			var failure error
			for batch := range batches {
				if failure == nil {
					failure = s.Store.StageBulk(ctx, b, batch)
				}
				if failure != nil {
					cancel(failure) // neither the producer nor the others need go on
				}
			}
			stored <- failure
		}()
	}
	total := 0
	batch := make([]*gateway.Message, 0, gateway.StageBatch)
	hand := func() {
		if len(batch) > 0 {
			batches <- batch
			batch = make([]*gateway.Message, 0, gateway.StageBatch)
		}
	}
	err := produce(b, func(m *gateway.Message) error {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make a message id: %w", err)
		}
		m.ID, m.WhatsAppID, m.BulkID = id.String(), gateway.NewStanzaID(), b.ID
		batch = append(batch, m)
		total++
		if len(batch) == gateway.StageBatch {
			hand()
		}
		return context.Cause(ctx)
	})
	if err == nil {
		hand()
	}
	close(batches)
	failed := false
	for range stagers {
		failed = <-stored != nil || failed
	}
	if failed {
		return 0, context.Cause(ctx) // the first failure; the others follow from it
	}
	return total, err
}
