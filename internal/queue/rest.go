package queue

import (
	"slices"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// rests says until when each lane is not consumed. A handler that may not send from a lane yet lets it rest, so that the ticket waits in
// its place while higher lanes go on.
type rests map[gateway.Priority]time.Time

// add lets a lane and those below it rest for d.
func (r rests) add(from gateway.Priority, d time.Duration, now time.Time) {
	lanes := gateway.Priorities()
	for _, lane := range lanes[max(0, slices.Index(lanes, from)):] {
		if until := now.Add(d); until.After(r[lane]) {
			r[lane] = until
		}
	}
}

// awake lists the lanes that may be consumed at now, and says when the next of the others may.
func (r rests) awake(now time.Time) (lanes []gateway.Priority, next time.Time) {
	for _, lane := range gateway.Priorities() {
		until := r[lane]
		if !until.After(now) {
			lanes = append(lanes, lane)
		} else if next.IsZero() || until.Before(next) {
			next = until
		}
	}
	return lanes, next
}
