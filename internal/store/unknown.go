package store

import (
	"context"
	"time"
)

// lookAgain asks, in a transaction of its own, whether something is stored after a commit that was not confirmed. It
// repeats that until the database answers or ctx ends. look must lock what the lost transaction had locked, so that it
// waits for one that is still under way.
func (s *Store) lookAgain(ctx context.Context, look func(*tx) (bool, error)) (stored bool, err error) {
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	for {
		err = s.write(ctx, "find out what became of a commit", func(t *tx) (err error) {
			stored, err = look(t)
			return err
		})
		if err == nil || !s.d.unavailable(err) {
			return stored, err
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-s.closed:
			return false, err
		case <-pause.C:
		}
	}
}
