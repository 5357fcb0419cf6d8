package gateway

import (
	"fmt"
	"time"
)

// Bounds of pacing.
const (
	MaxPaceDelay = time.Hour
	MaxPaceCap   = 100_000 // messages in any window
)

// Pacing is how fast a number may send. The zero value does not limit it.
type Pacing struct {
	// Delay passes between two messages, and a random part of RandomDelay on top. High priority skips both.
	Delay, RandomDelay time.Duration
	// At most so many messages in any 60 s, 60 min and 24 h, of whatever priority. 0: any number.
	PerMinute, PerHour, PerDay int
	// At most so many messages in any 24 h to people who were never written to before. 0: any number.
	FirstContactsPerDay int
	// At most so many messages in any 24 h to the same recipient. 0: any number.
	PerRecipientPerDay int
	// Quiet is when nothing goes out but what has high priority.
	Quiet QuietHours
}

// CarefulPacing is what a real number has that nobody has chosen anything for: a pace at which people write, and few strangers a day,
// which is what numbers are restricted for. WhatsApp publishes no limits; these err on the slow side.
func CarefulPacing() Pacing {
	return Pacing{
		Delay: 1500 * time.Millisecond, RandomDelay: 2500 * time.Millisecond,
		PerMinute: 20, PerHour: 500, PerDay: 3000, FirstContactsPerDay: 200,
	}
}

// LongestWindow is the most messages that any cap looks back at, 0 when there is none.
func (p Pacing) LongestWindow() int { return max(p.PerMinute, p.PerHour, p.PerDay) }

// Pace is what was sent: what a decision of Pacing depends on.
type Pace struct {
	Sent []time.Time // the last messages, oldest first; as many as LongestWindow suffice
	Gap  time.Duration
	Last time.Time // of the last message, Gap after which the next may go
}

// Next is when the next message of lane may go out: now, or the time that something is waited for.
func (p Pacing) Next(lane Priority, pace Pace, now time.Time) time.Time {
	next := now
	wait := func(until time.Time) {
		if until.After(next) {
			next = until
		}
	}
	for _, w := range []struct {
		limit  int
		window time.Duration
	}{{p.PerMinute, time.Minute}, {p.PerHour, time.Hour}, {p.PerDay, 24 * time.Hour}} {
		wait(OldestLeaves(pace.Sent, w.limit, w.window))
	}
	if lane != PriorityHigh {
		if !pace.Last.IsZero() {
			wait(pace.Last.Add(pace.Gap))
		}
		// A cap may end inside the quiet hours.
		wait(p.Quiet.End(next))
	}
	return next
}

// OldestLeaves is when fewer than limit of times, which ascend, lie within window: a zero time when that is so already at any time, or
// when limit is 0.
func OldestLeaves(times []time.Time, limit int, window time.Duration) time.Time {
	if limit <= 0 || len(times) < limit {
		return time.Time{}
	}
	return times[len(times)-limit].Add(window)
}

// QuietHours are a part of each day, From up to To on the clock of Zone; it may go over midnight. The zero value is none.
type QuietHours struct {
	From, To ClockTime
	Zone     *time.Location
}

// ClockTime is a time of day in minutes since midnight.
type ClockTime int

// ParseClockTime reads hh:mm, 00:00 to 23:59.
func ParseClockTime(s string) (ClockTime, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("%q is no time of day such as 21:30", s)
	}
	return ClockTime(t.Hour()*60 + t.Minute()), nil
}

func (c ClockTime) String() string { return fmt.Sprintf("%02d:%02d", int(c)/60, int(c)%60) }

// End is when the quiet hours that now lies in are over; now outside of them. A day on which the clock is changed has the quiet hours
// that its clock shows.
func (q QuietHours) End(now time.Time) time.Time {
	for range 4 { // when the clock skips the end, it may come out in the quiet hours of the next day
		end := q.end(now)
		if end.Equal(now) {
			break
		}
		now = end
	}
	return now
}

func (q QuietHours) end(now time.Time) time.Time {
	if q.Zone == nil || q.From == q.To {
		return now
	}
	local := now.In(q.Zone)
	minute := ClockTime(local.Hour()*60 + local.Minute())
	days := 0
	switch {
	case q.From < q.To && (minute < q.From || minute >= q.To), q.From > q.To && minute < q.From && minute >= q.To:
		return now
	case q.From > q.To && minute >= q.From:
		days = 1
	}
	y, m, d := local.Date()
	end := time.Date(y, m, d+days, int(q.To)/60, int(q.To)%60, 0, 0, q.Zone)
	for !end.After(now) { // an hour that the clock goes through twice
		end = end.Add(time.Hour)
	}
	return end
}

// PacingChoice is what a tenant chose of its Pacing; what is nil is left to the hub.
type PacingChoice struct {
	Delay, RandomDelay                      *time.Duration
	PerMinute, PerHour, PerDay              *int
	FirstContactsPerDay, PerRecipientPerDay *int
	Quiet                                   *QuietHours // the zero value: none
}

// Over is the pacing with what was chosen in place of the hub's.
func (c PacingChoice) Over(p Pacing) Pacing {
	p.Delay, p.RandomDelay = chosen(c.Delay, p.Delay), chosen(c.RandomDelay, p.RandomDelay)
	p.PerMinute, p.PerHour, p.PerDay = chosen(c.PerMinute, p.PerMinute), chosen(c.PerHour, p.PerHour), chosen(c.PerDay, p.PerDay)
	p.FirstContactsPerDay = chosen(c.FirstContactsPerDay, p.FirstContactsPerDay)
	p.PerRecipientPerDay = chosen(c.PerRecipientPerDay, p.PerRecipientPerDay)
	p.Quiet = chosen(c.Quiet, p.Quiet)
	return p
}

func chosen[T any](own *T, fallback T) T {
	if own != nil {
		return *own
	}
	return fallback
}
