package gateway

import "time"

// LaneBacklog is what waits in a lane, of all tenants together.
type LaneBacklog struct {
	Lane    Priority
	Waiting int       // messages that are not finished, those of bulks that have no place in the lane yet included
	Oldest  time.Time // since when the oldest of those could have been sent that wait for nothing but their turn, or for their session; zero: none
}
