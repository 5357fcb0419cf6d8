// Package fakeclock is a clock that tests set. It imports the standard library only.
package fakeclock

import (
	"sync"
	"time"
)

// Clock stands still until it is advanced. Any number of goroutines may use it.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// At makes a clock that shows now.
func At(now time.Time) *Clock { return &Clock{now: now} }

// Now is what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
