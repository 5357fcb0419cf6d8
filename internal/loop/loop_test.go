package loop_test

import (
	"context"
	"errors"
	"testing"

	"github.com/wapro/hub/internal/loop"
	"github.com/wapro/hub/internal/testkit/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func TestALoopEndsWithStopAndRunsOnce(t *testing.T) {
	t.Parallel()
	var l loop.Loop
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	run := func(ctx context.Context) {
		close(ran)
		<-ctx.Done()
	}
	if err := l.Start(ctx, "it", run); err != nil {
		t.Fatal(err)
	}
	<-ran
	cancel() // which is not what ends it
	if err := l.Start(t.Context(), "it", run); err == nil || err.Error() != "start it: it was started before" {
		t.Errorf("started twice: %v", err)
	}
	for range 2 {
		if err := l.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if err := l.Start(t.Context(), "it", run); err == nil {
		t.Error("started after its end")
	}
}

func TestStopWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	var l loop.Loop
	if err := l.Stop(t.Context()); err != nil {
		t.Errorf("stopped without a start: %v", err)
	}
	var stubborn loop.Loop
	let := make(chan struct{})
	if err := stubborn.Start(t.Context(), "it", func(context.Context) { <-let }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := stubborn.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	close(let)
	if err := stubborn.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
}
