package loop

import "sync"

// maxResting is how many goroutines are kept for what comes next: two megabytes of stacks, with the 32 KiB that a send needs.
const maxResting = 64

// hands are goroutines that rest between what they run, the one that rested last in front: its stack is in the caches.
type hands struct {
	mu      sync.Mutex
	resting []chan func()
}

// kept are the process' own, as its goroutines are.
var kept hands //nolint:gochecknoglobals // see above

// Go runs do on a goroutine, as the go statement does, but on one whose stack others have let grow. Starting with two kilobytes, what goes as
// deep as a send or a write of the database copies its stack four times, which took a tenth of a worker's time. do must contain its panics.
func Go(do func()) { kept.run(do) }

// Do is Go, and waits for the end of do.
func Do(do func()) {
	done := make(chan struct{})
	kept.run(func() {
		defer close(done)
		do()
	})
	<-done
}

func (h *hands) run(do func()) {
	h.mu.Lock()
	last := len(h.resting) - 1
	if last < 0 {
		h.mu.Unlock()
		go h.work(do)
		return
	}
	hand := h.resting[last]
	h.resting = h.resting[:last]
	h.mu.Unlock()
	hand <- do
}

// work runs do, and then what else there is to do, until enough others rest.
func (h *hands) work(do func()) {
	next := make(chan func(), 1)
	for {
		do()
		if !h.rest(next) {
			return
		}
		do = <-next
	}
}

// rest tells whether a goroutine that listens to next is kept.
func (h *hands) rest(next chan func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.resting) >= maxResting {
		return false
	}
	h.resting = append(h.resting, next)
	return true
}
