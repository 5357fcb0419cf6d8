package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/loop"
)

// Stored is where sealed secrets are kept.
type Stored interface {
	// SealedSecrets reads those of up to limit rows behind the row after, and where to go on; empty: that was the end.
	SealedSecrets(ctx context.Context, table, after string, limit int) (list []gateway.SealedSecret, next string, err error)
	// ReplaceSecrets stores those that nobody has changed since they were read, in one transaction, and tells how many.
	ReplaceSecrets(ctx context.Context, list []gateway.ResealedSecret) (replaced int, err error)
}

// ResealOptions configure a Resealer. Zero values mean the defaults.
type ResealOptions struct {
	Interval time.Duration // between rounds; 10 min. Other processes may still seal with the key before
	Batch    int           // rows looked at in one query, and changed in one transaction; 100
	Log      *slog.Logger  // nothing is logged
}

// Resealer seals stored secrets anew that were sealed with a previous master key, so that the operator can drop that. Any number of processes may have
// one. Its methods may be called from any goroutine.
type Resealer struct {
	box  *Box
	kept Stored
	opts ResealOptions
	loop loop.Loop
}

// NewResealer makes a Resealer that does nothing before Start. box must not be nil.
func NewResealer(box *Box, kept Stored, opts ResealOptions) *Resealer {
	if opts.Interval <= 0 {
		opts.Interval = 10 * time.Minute
	}
	if opts.Batch <= 0 {
		opts.Batch = 100
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Resealer{box: box, kept: kept, opts: opts}
}

// Start does a round at once and then one each interval, until Stop. Of ctx only the values are used. Starting twice, or after Stop, is an error.
func (r *Resealer) Start(ctx context.Context) error {
	return r.loop.Start(ctx, "the sealing of secrets", r.run)
}

// Stop ends the loop, in the middle of a round if need be, and waits for it until ctx ends. It may be called more than once, and without Start.
func (r *Resealer) Stop(ctx context.Context) error {
	if err := r.loop.Stop(ctx); err != nil {
		return fmt.Errorf("stop the sealing of secrets: %w", err)
	}
	return nil
}

func (r *Resealer) run(ctx context.Context) {
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	for told := false; ; {
		done, err := r.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.opts.Log.WarnContext(ctx, "put off the sealing of secrets under the new MASTER_KEY", "resealed", done.Resealed, "error", err)
		case done.Unreadable > 0:
			r.opts.Log.WarnContext(ctx, "stored secrets cannot be opened by MASTER_KEY nor MASTER_KEY_PREVIOUS: they have to be made anew, or their key to be given",
				"secrets", done.Unreadable, "resealed", done.Resealed)
		case done.Left > 0:
			r.opts.Log.InfoContext(ctx, "secrets were changed while they were sealed under the new MASTER_KEY; they are looked at again", "secrets", done.Left, "resealed", done.Resealed)
		case done.Resealed > 0 || !told:
			told = true
			r.opts.Log.InfoContext(ctx, "all stored secrets are sealed with MASTER_KEY; once every process has it, MASTER_KEY_PREVIOUS can be dropped", "resealed", done.Resealed)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Resealed is what a round has found and done, in secrets.
type Resealed struct {
	Resealed   int // they are sealed with the current key now
	Unreadable int // no key that is known opens them; they stay as they are
	Left       int // somebody changed them meanwhile
}

// Round looks at all stored secrets once. One that cannot be opened holds up no other.
func (r *Resealer) Round(ctx context.Context) (done Resealed, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %s", gateway.PanicCause(p))
		}
	}()
	for _, table := range []string{gateway.SecretsOfWebhooks, gateway.SecretsOfInbound} {
		for after, more := "", true; more; {
			list, next, err := r.kept.SealedSecrets(ctx, table, after, r.opts.Batch)
			if err != nil {
				return done, err
			}
			after, more = next, next != ""
			if err := r.reseal(ctx, list, &done); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func (r *Resealer) reseal(ctx context.Context, list []gateway.SealedSecret, done *Resealed) error {
	var anew []gateway.ResealedSecret
	for _, s := range list {
		if !r.box.Stale(s.Value) {
			continue
		}
		at := Place{Table: s.Table, Column: s.Column, Row: s.Row}
		plain, err := r.box.Open(s.Value, at)
		if errors.Is(err, ErrUnreadable) {
			done.Unreadable++
			continue
		}
		if err != nil {
			return err
		}
		sealed, err := r.box.Seal(plain, at)
		if err != nil {
			return err
		}
		anew = append(anew, gateway.ResealedSecret{SealedSecret: s, New: sealed})
	}
	if len(anew) == 0 {
		return nil
	}
	replaced, err := r.kept.ReplaceSecrets(ctx, anew)
	if err != nil {
		return err
	}
	done.Resealed += replaced
	done.Left += len(anew) - replaced
	return nil
}
