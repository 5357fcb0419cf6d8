package httpapi

import (
	"context"
	"sync"
	"time"

	"github.com/wapro/hub/internal/httpapi/spec"
)

// watchedBulks shares what is read of a bulk among all streams of this process that show it: its counts are those of every one of its
// messages, and a hundred people may watch the same send.
type watchedBulks struct {
	mu  sync.Mutex
	all map[watchedKey]*watchedBulk
}

type watchedKey struct {
	tenantKey int64
	id        string
}

// watchedBulk is one bulk, for as long as anybody watches it.
type watchedBulk struct {
	readers int           // below watchedBulks.mu
	turn    chan struct{} // holds one token: whoever has it reads, the others wait for what was read

	// Whoever has the turn.
	shown spec.Bulk
	at    time.Time // when shown was read; zero when it never was
}

// watch joins those who watch a bulk; the caller leaves.
func (w *watchedBulks) watch(key watchedKey) (b *watchedBulk, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b = w.all[key]
	if b == nil {
		if w.all == nil {
			w.all = map[watchedKey]*watchedBulk{}
		}
		b = &watchedBulk{turn: make(chan struct{}, 1)}
		w.all[key] = b
	}
	b.readers++
	return b, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if b.readers--; b.readers == 0 {
			delete(w.all, key)
		}
	}
}

// look returns what was read less than age ago, by whomever, else what read returns. A failure is its reader's alone: the next one tries
// again.
func (b *watchedBulk) look(ctx context.Context, age time.Duration, read func(context.Context) (spec.Bulk, error)) (spec.Bulk, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return spec.Bulk{}, ctx.Err()
	}
	if !b.at.IsZero() && time.Since(b.at) < age {
		return b.shown, nil
	}
	begun := time.Now()
	shown, err := read(ctx)
	if err != nil {
		return spec.Bulk{}, err
	}
	b.shown, b.at = shown, begun
	return shown, nil
}
