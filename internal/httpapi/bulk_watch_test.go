package httpapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/httpapi/spec"
)

func TestWatchersOfOneBulkShareOneCount(t *testing.T) {
	t.Parallel()
	var all watchedBulks
	key := watchedKey{1, "b"}
	var reads atomic.Int64
	read := func(context.Context) (spec.Bulk, error) { return spec.Bulk{Id: "b", Total: int(reads.Add(1))}, nil }
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			b, leave := all.watch(key)
			defer leave()
			if shown, err := b.look(t.Context(), time.Hour, read); err != nil || shown.Id != "b" {
				t.Errorf("%+v, %v", shown, err)
			}
		})
	}
	first, leave := all.watch(key) // from here on the bulk is watched at any time
	wg.Wait()
	before := reads.Load()
	for range 50 {
		b, leave := all.watch(key)
		wg.Go(func() {
			defer leave()
			if _, err := b.look(t.Context(), time.Hour, read); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := reads.Load() - before; n > 1 {
		t.Errorf("%d counts for 50 who watch together", n)
	}
	if shown, _ := first.look(t.Context(), 0, read); int64(shown.Total) != reads.Load() {
		t.Errorf("the first look of a stream showed what was read before: %+v", shown)
	}
	other, leaveOther := all.watch(watchedKey{2, "b"})
	if other == first {
		t.Error("two tenants share a bulk")
	}
	leaveOther()
	leave()
	if len(all.all) != 0 {
		t.Errorf("%d bulks are watched by nobody", len(all.all))
	}
}

// The reader whose look fails, or who goes away, takes nothing from the others.
func TestAFailedLookIsNotShared(t *testing.T) {
	t.Parallel()
	var all watchedBulks
	b, leave := all.watch(watchedKey{1, "b"})
	defer leave()
	gone, cancel := context.WithCancel(t.Context())
	reading, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := b.look(gone, time.Hour, func(ctx context.Context) (spec.Bulk, error) {
			close(reading)
			<-ctx.Done()
			return spec.Bulk{}, ctx.Err()
		})
		failed <- err
	}()
	<-reading
	impatient, stop := context.WithCancel(t.Context())
	stop()
	if _, err := b.look(impatient, time.Hour, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("waited for another one's look: %v", err)
	}
	cancel()
	shown, err := b.look(t.Context(), time.Hour, func(context.Context) (spec.Bulk, error) { return spec.Bulk{Id: "b"}, nil })
	if err != nil || shown.Id != "b" {
		t.Errorf("%+v, %v", shown, err)
	}
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the failed look: %v", err)
	}
}
