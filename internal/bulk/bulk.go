// Package bulk is the room of sends to many recipients: it reads their rows, checks them, stores their messages out of sight,
// accepts them in one step, and feeds them to their lane, pausing a bulk whose messages fail. It imports the domain alone and
// declares what it needs. It promises that a bulk is there as a whole or not at all, and that neither a process that dies nor
// a client that goes away leaves anything of it behind for good.
package bulk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Store keeps bulks. What a method has returned without error is on disk.
type Store interface {
	CreateBulk(ctx context.Context, b *gateway.Bulk) error
	StageBulk(ctx context.Context, b *gateway.Bulk, msgs []*gateway.Message) error
	StageInvalid(ctx context.Context, b *gateway.Bulk, rows []gateway.BulkInvalid) error
	PublishBulk(ctx context.Context, b *gateway.Bulk, idem *gateway.IdempotencyCompletion) error
	DiscardBulk(ctx context.Context, tenantKey int64, id string) error
	StaleBulks(ctx context.Context, patience time.Duration) ([]gateway.Bulk, error)

	Bulk(ctx context.Context, tenantKey int64, id string) (gateway.Bulk, error)
	Bulks(ctx context.Context, tenantKey int64, before string, limit int) ([]gateway.Bulk, error)
	BulkCounts(ctx context.Context, tenantKey int64, ids []string) (map[string]gateway.BulkCounts, error)
	BulkInvalid(ctx context.Context, id string, after, limit int) ([]gateway.BulkInvalid, error)
	BulkMessages(ctx context.Context, tenantKey int64, id string, after int64, statuses []gateway.Status, limit int) ([]gateway.Message, error)
	Repetitions(ctx context.Context, tenantKey int64, ids []string) (map[string][]gateway.Repetition, error) // of messages and what was sent in their place
	BulkResults(ctx context.Context, b gateway.Bulk, unjudged bool, limit int) ([]gateway.BulkResult, error)
	UpdateBulk(ctx context.Context, tenantKey int64, id string, apply func(*gateway.Bulk) error) (gateway.Bulk, error)

	// OptOuts lists who wants no bulk messages of a tenant, OptedOut who of recipients does not.
	OptOuts(ctx context.Context, tenantKey int64, after string, limit int) ([]gateway.OptOut, error)
	OptedOut(ctx context.Context, tenantKey int64, recipients []string) (map[string]bool, error)

	OpenBulks(ctx context.Context, tenantKey int64) ([]gateway.Bulk, error)
	Held(ctx context.Context, tenantKey int64, id string, limit int) (int, error) // messages of a bulk that are held or back off, up to limit
	ReleaseBulk(ctx context.Context, tenantKey int64, id string, limit, window int) (tickets []gateway.Ticket, more bool, err error)
	SettleBulk(ctx context.Context, tenantKey int64, id string) (settled bool, err error)
}

// Ledger ends messages.
type Ledger interface {
	// CancelBulk ends up to limit messages of a canceled bulk that no worker has in hand, and returns how many it ended.
	CancelBulk(ctx context.Context, tenantKey int64, bulkID string, limit int) (int, error)
}

// Describer knows stored files.
type Describer interface {
	Describe(ctx context.Context, declared string, blob gateway.Blob) (gateway.Media, error)
}

// Deps are what a Service works with.
type Deps struct {
	Store          Store
	Ledger         Ledger
	Media          Describer
	CheckURL       func(raw string) error                                        // refuses a media.url that the hub does not call; its errors may be shown
	Admit          func(ctx context.Context, tenant gateway.Tenant, n int) error // refuses what is more than a tenant may have waiting; nil: anything goes
	ParseRecipient func(string) (string, error)                                  // normalises; its errors may be shown
	Wake           func()                                                        // there is something new for the relay; nil when it is elsewhere
	Clock          func() time.Time                                              // default time.Now
	Log            *slog.Logger                                                  // default: discard
	Dir            string                                                        // where rows are kept while they arrive; default the system's folder for such files
	Window         int                                                           // messages of a lane that may wait in it, default 300
}

// Service is the room. Its methods may be called from any goroutine.
type Service struct{ Deps }

// New makes a Service.
func New(deps Deps) *Service {
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Wake == nil {
		deps.Wake = func() {}
	}
	if deps.Dir == "" {
		deps.Dir = os.TempDir()
	}
	if deps.Window <= 0 {
		deps.Window = 300
	}
	return &Service{deps}
}

const (
	rateBy      = 200 // results that the rate is told by
	cancelStep  = 500
	cancelLimit = 20 * time.Second // that a caller waits for a cancellation; the relay does the rest
)

// Get reads a bulk and how far it has come, with its first invalid rows. CodeNotFound.
func (s *Service) Get(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error) {
	p, err := s.Progress(ctx, tenantKey, id)
	if err != nil || p.Invalid == 0 {
		return p, err
	}
	if p.Rejected, err = s.Store.BulkInvalid(ctx, id, 0, gateway.MaxRejected); err != nil {
		return gateway.BulkProgress{}, fmt.Errorf("read the invalid rows: %w", err)
	}
	return p, nil
}

// Progress is Get without the invalid rows.
func (s *Service) Progress(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error) {
	b, err := s.Store.Bulk(ctx, tenantKey, id)
	if err != nil {
		return gateway.BulkProgress{}, err
	}
	list, err := s.progress(ctx, tenantKey, []gateway.Bulk{b})
	if err != nil {
		return gateway.BulkProgress{}, err
	}
	return list[0], nil
}

// List reads up to limit bulks, newest first, without their invalid rows; with before those older than that id.
func (s *Service) List(ctx context.Context, tenantKey int64, before string, limit int) ([]gateway.BulkProgress, error) {
	bulks, err := s.Store.Bulks(ctx, tenantKey, before, limit)
	if err != nil {
		return nil, err
	}
	return s.progress(ctx, tenantKey, bulks)
}

func (s *Service) progress(ctx context.Context, tenantKey int64, bulks []gateway.Bulk) ([]gateway.BulkProgress, error) {
	ids := make([]string, len(bulks))
	for i, b := range bulks {
		ids[i] = b.ID
	}
	counts, err := s.Store.BulkCounts(ctx, tenantKey, ids)
	if err != nil {
		return nil, err
	}
	list := make([]gateway.BulkProgress, len(bulks))
	for i, b := range bulks {
		list[i] = gateway.BulkProgress{Bulk: b, Counts: counts[b.ID]}
		if b.Status != gateway.BulkRunning || b.StartedAt.IsZero() {
			continue
		}
		results, err := s.Store.BulkResults(ctx, b, false, rateBy)
		if err != nil {
			return nil, err
		}
		if rate := gateway.Rate(results, s.Clock()); rate > 0 {
			list[i].Rate = rate
			list[i].Remaining = time.Duration(float64(list[i].Counts.Unfinished()) / rate * float64(time.Second))
		}
	}
	return list, nil
}

// Pause stops a bulk: what was not claimed waits for Resume. Pausing twice is success; CodeConflict when it has ended.
func (s *Service) Pause(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error) {
	return s.steer(ctx, tenantKey, id, func(b *gateway.Bulk) error { return b.Pause("") })
}

// Resume lets a paused bulk go on. Resuming twice is success; CodeConflict when it has ended.
func (s *Service) Resume(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error) {
	defer s.Wake()
	return s.steer(ctx, tenantKey, id, (*gateway.Bulk).Resume)
}

// Cancel ends what no worker has in hand of a bulk, in small steps; what is left of that after some seconds the relay does.
// Canceling twice is success; CodeConflict when it is finished.
func (s *Service) Cancel(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error) {
	defer s.Wake()
	if _, err := s.Store.UpdateBulk(ctx, tenantKey, id, (*gateway.Bulk).Cancel); err != nil {
		return gateway.BulkProgress{}, err
	}
	ending, cancel := context.WithTimeout(ctx, cancelLimit)
	defer cancel()
	for {
		n, err := s.Ledger.CancelBulk(ending, tenantKey, id, cancelStep)
		if err != nil && ctx.Err() == nil && ending.Err() == nil {
			return gateway.BulkProgress{}, err
		}
		if err != nil || n == 0 {
			break
		}
	}
	return s.Get(ctx, tenantKey, id)
}

func (s *Service) steer(ctx context.Context, tenantKey int64, id string, apply func(*gateway.Bulk) error) (gateway.BulkProgress, error) {
	if _, err := s.Store.UpdateBulk(ctx, tenantKey, id, apply); err != nil {
		return gateway.BulkProgress{}, err
	}
	return s.Get(ctx, tenantKey, id)
}

// refused tells an error that is the request's own from one of ours.
func refused(err error) bool {
	_, ok := errors.AsType[*gateway.Error](err)
	return ok
}
