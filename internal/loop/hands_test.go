package loop

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWhatComesNextRunsOnAGoroutineThatRests(t *testing.T) {
	t.Parallel()
	var h hands
	goroutine := func() string {
		ran := make(chan string)
		h.run(func() { ran <- string(bytes.Fields(stack())[1]) })
		return <-ran
	}
	first := goroutine()
	waitResting(t, &h, 1)
	if second := goroutine(); second != first {
		t.Errorf("goroutine %s ran the first, %s the second", first, second)
	}
}

func TestEverythingRunsAtOnceAndFewGoroutinesStay(t *testing.T) {
	t.Parallel()
	const many = 10 * maxResting
	var h hands
	var begun sync.WaitGroup
	var ended atomic.Int64
	begun.Add(many)
	for range many {
		h.run(func() {
			begun.Done()
			begun.Wait() // for all the others: nobody waits for a turn
			ended.Add(1)
		})
	}
	waitResting(t, &h, maxResting)
	eventually(t, "all have ended", func() bool { return ended.Load() == many })
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.resting) != maxResting {
		t.Errorf("%d goroutines rest, want %d", len(h.resting), maxResting)
	}
}

func TestDoWaits(t *testing.T) {
	t.Parallel()
	ran := false // the race detector would see a Do that does not wait
	Do(func() {
		runtime.Gosched()
		ran = true
	})
	if !ran {
		t.Error("Do has returned before what it runs has")
	}
}

func waitResting(t *testing.T, h *hands, want int) {
	t.Helper()
	eventually(t, "enough goroutines rest", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.resting) >= want
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func stack() []byte {
	text := make([]byte, 64)
	return text[:runtime.Stack(text, false)]
}
