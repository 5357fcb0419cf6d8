// Package retention removes what is over: what media messages were sent as, files that no message names, uploads that lost their
// process, and what tenants do not want to keep. It works in small steps, so that nobody waits for it. Several processes may do the same at the same time. It imports
// nothing of the hub but the domain and the loop.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

// How long things are kept.
const (
	// SentFor is how long a phone can ask for a media message again: 14 days from when it was sent, and one day more because this
	// counts from when its last attempt was encrypted.
	SentFor = 15 * 24 * time.Hour
	// UploadsFor is longer than anybody sends a file again that was uploaded to WhatsApp before, which is a day.
	UploadsFor = 48 * time.Hour
	// UnusedFor is how long a file that no message names is left alone: an upload may be on its way to its message.
	UnusedFor = 24 * time.Hour
)

const (
	sentBatch = 500  // contents, or uploads, deleted in one transaction
	blobPage  = 1000 // rows of files looked at in one query
	forget    = 500  // messages looked at, or events or bulks removed, in one transaction
)

// Store is what SQL knows.
type Store interface {
	// ForgetSent deletes up to limit contents that were kept before that time and tells how many.
	ForgetSent(ctx context.Context, before time.Time, limit int) (int, error)
	// ForgetUploads deletes up to limit uploads that were made before that time and tells how many.
	ForgetUploads(ctx context.Context, before time.Time, limit int) (int, error)
	// UnusedBlobs returns, of up to limit files that come after that name and were last used before that time, those that no message
	// names, and the name to go on after, empty at the end.
	UnusedBlobs(ctx context.Context, before time.Time, after string, limit int) (unused []string, next string, err error)
	// DropBlob calls remove and forgets the file, if all that is still so, while nobody can begin to use it.
	DropBlob(ctx context.Context, sha256 string, before time.Time, remove func() error) (bool, error)
	// Retentions lists the tenants that do not keep everything, with what they chose.
	Retentions(ctx context.Context) (map[int64]gateway.Retention, error)
	// ForgetMessages removes messages that ended and last changed before that time, of up to limit that come behind the number after. It returns
	// the number to go on after, 0 at the end.
	ForgetMessages(ctx context.Context, tenantKey int64, before time.Time, after int64, limit int) (removed int, next int64, err error)
	// DropTexts is the same for what such messages say.
	DropTexts(ctx context.Context, tenantKey int64, before time.Time, after int64, limit int) (dropped int, next int64, err error)
	// ForgetBulks removes up to limit bulks that ended before that time, with their messages.
	ForgetBulks(ctx context.Context, tenantKey int64, before time.Time, limit int) (removed int, err error)
	// ForgetInbound removes up to limit messages that were received before that time.
	ForgetInbound(ctx context.Context, tenantKey int64, before time.Time, limit int) (removed int, err error)
	// ForgetEventsOf removes up to limit events of before that time, and what belongs to them.
	ForgetEventsOf(ctx context.Context, tenantKey int64, before time.Time, limit int) (removed int, err error)
	// AdoptBlobs gives files without a row one, as if they were stored now, and tells how many.
	AdoptBlobs(ctx context.Context, files []gateway.Blob) (int, error)
}

// Files is the blob store.
type Files interface {
	// Remove removes a file; one that is gone is removed.
	Remove(sha256 string) error
	// Sweep removes what uploads left behind and shows all files, some at a time.
	Sweep(ctx context.Context, see func([]gateway.Blob) error) error
}

// Options configure a Retention. Zero values mean the defaults.
type Options struct {
	Interval time.Duration    // between rounds; 10 min
	Scan     time.Duration    // between two looks at all files, which are slow; 24 h
	Clock    func() time.Time // time.Now; the store's
	Log      *slog.Logger     // nothing is logged
}

// Retention is the loop. Its methods may be called from any goroutine.
type Retention struct {
	store Store
	files Files
	opts  Options
	loop  loop.Loop

	mu    sync.Mutex
	texts map[int64]int64 // by tenant: texts are dropped up to this number, but for messages that were not over then; forgotten with each Scan
}

// New makes a Retention that does nothing before Start.
func New(store Store, files Files, opts Options) *Retention {
	if opts.Interval <= 0 {
		opts.Interval = 10 * time.Minute
	}
	if opts.Scan <= 0 {
		opts.Scan = 24 * time.Hour
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Retention{store: store, files: files, opts: opts, texts: map[int64]int64{}}
}

// Start looks at all files and does a round at once, and then goes on as the options say, until Stop. Of ctx only the values are
// used. Starting twice, or after Stop, is an error.
func (r *Retention) Start(ctx context.Context) error {
	return r.loop.Start(ctx, "the retention", r.run)
}

// Stop ends the loop, in the middle of a round if need be, and waits for it until ctx ends. It may be called more than once, and
// without Start.
func (r *Retention) Stop(ctx context.Context) error {
	if err := r.loop.Stop(ctx); err != nil {
		return fmt.Errorf("stop the retention: %w", err)
	}
	return nil
}

func (r *Retention) run(ctx context.Context) {
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	var scanned time.Time
	for {
		if now := r.opts.Clock(); scanned.IsZero() || now.Sub(scanned) >= r.opts.Scan {
			r.try(ctx, "look at all files", r.Scan)
			scanned = now
		}
		r.try(ctx, "remove what is over", r.Round)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// try contains a panic, and a failure: the next round tries again.
func (r *Retention) try(ctx context.Context, what string, do func(context.Context) error) {
	defer func() {
		if p := recover(); p != nil {
			r.opts.Log.ErrorContext(ctx, "panic in the retention", "what", what, "panic", p)
		}
	}()
	if err := do(ctx); err != nil && ctx.Err() == nil {
		r.opts.Log.WarnContext(ctx, "put off until the next round", "what", what, "error", err)
	}
}

// Scan finds files that have no row: of a kill at the wrong moment, or of a folder that was copied; and has the next Round look at all old texts anew.
func (r *Retention) Scan(ctx context.Context) error {
	r.mu.Lock()
	clear(r.texts)
	r.mu.Unlock()
	adopted := 0
	err := r.files.Sweep(ctx, func(files []gateway.Blob) error {
		n, err := r.store.AdoptBlobs(ctx, files)
		adopted += n
		return err
	})
	if adopted > 0 {
		r.opts.Log.InfoContext(ctx, "found files that nobody knew of; unless messages come to name them they are removed in a day", "files", adopted)
	}
	return err
}

// Round removes what is over now.
func (r *Retention) Round(ctx context.Context) error {
	return errors.Join(r.forgetSent(ctx), r.forgetUploads(ctx), r.honour(ctx), r.collect(ctx)) // messages before the files that they name
}

func (r *Retention) forgetSent(ctx context.Context) error {
	return r.inSteps(ctx, r.store.ForgetSent, r.opts.Clock().Add(-SentFor))
}

func (r *Retention) forgetUploads(ctx context.Context) error {
	return r.inSteps(ctx, r.store.ForgetUploads, r.opts.Clock().Add(-UploadsFor))
}

// inSteps deletes what is older than that, some at a time.
func (r *Retention) inSteps(ctx context.Context, some func(ctx context.Context, before time.Time, limit int) (int, error), before time.Time) error {
	for {
		n, err := some(ctx, before, sentBatch)
		if err != nil || n < sentBatch {
			return err
		}
	}
}

// collect removes the files that no message names. One that cannot be removed does not keep the others.
func (r *Retention) collect(ctx context.Context) error {
	before := r.opts.Clock().Add(-UnusedFor)
	var errs []error
	removed := 0
	for after := ""; ; {
		unused, next, err := r.store.UnusedBlobs(ctx, before, after, blobPage)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, name := range unused {
			if err := ctx.Err(); err != nil {
				return err
			}
			dropped, err := r.store.DropBlob(ctx, name, before, func() error { return r.files.Remove(name) })
			if err != nil && len(errs) < 10 {
				errs = append(errs, err)
			}
			if dropped {
				removed++
			}
		}
		if next == "" {
			break
		}
		after = next
	}
	if removed > 0 {
		r.opts.Log.InfoContext(ctx, "removed files that no message names", "files", removed)
	}
	return errors.Join(errs...)
}
