package gateway

import "time"

// Bounds of a look at how a tenant's messages fared over time.
const (
	MaxStatsBuckets = 200
	MaxStatsSpan    = 366 * 24 * time.Hour
	MaxStatsRows    = 200_000 // messages of each kind that are counted for one answer, the newest
)

// StatsWindow is From (inclusive) to Until (exclusive) in slices of Step.
type StatsWindow struct {
	From, Until time.Time
	Step        time.Duration
}

// Buckets is how many slices w has, the last of which may be shorter.
func (w StatsWindow) Buckets() int { return int((w.Until.Sub(w.From) + w.Step - 1) / w.Step) }

// StatsBucket is what happened in one slice of time.
type StatsBucket struct {
	At              time.Time // when it begins
	Accepted        int       // messages that were accepted in it
	Sent            int       // messages that were sent in it
	Delivered, Read int       // of those sent in it, how many have been delivered and read by now
	Failed          int       // messages that failed or expired in it
	Unknown         int       // messages that ended in it with an unknown outcome
}
