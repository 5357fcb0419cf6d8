// Package loop is what the rooms' loops have in common: how they are started and stopped. It imports the standard library only.
package loop

import (
	"context"
	"fmt"
	"sync"
)

// Loop is one goroutine with a beginning and an end. The zero value has not been started; its methods may be called from any goroutine.
type Loop struct {
	mu      sync.Mutex
	stop    context.CancelFunc // nil before Start
	stopped bool
	running sync.WaitGroup
}

// Start runs run until Stop, which ends its context; of ctx only the values are used. Starting twice, or after Stop, is an error, which
// names what was started.
func (l *Loop) Start(ctx context.Context, what string, run func(context.Context)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil || l.stopped {
		return fmt.Errorf("start %s: it was started before", what)
	}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.running.Go(func() { run(ctx) })
	return nil
}

// Stop ends what runs and waits for it until ctx ends. It may be called more than once, and without Start.
func (l *Loop) Stop(ctx context.Context) error {
	l.mu.Lock()
	l.stopped = true
	if l.stop != nil {
		l.stop()
	}
	l.mu.Unlock()
	done := make(chan struct{})
	go func() {
		l.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
