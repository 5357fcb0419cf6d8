package gateway

import "time"

// Bounds of sendAt. What lies a little in the past is taken for now: clocks differ.
const (
	MaxSchedule   = 366 * 24 * time.Hour
	ScheduleGrace = 5 * time.Minute
)

// CheckSchedule says what is wrong with a sendAt, "" when nothing is. The zero time means at once.
func CheckSchedule(at, now time.Time) string {
	switch {
	case at.IsZero():
		return ""
	case at.Before(now.Add(-ScheduleGrace)):
		return "sendAt is in the past"
	case at.After(now.Add(MaxSchedule)):
		return "sendAt is more than a year away"
	}
	return ""
}

// Release lets a scheduled message whose SendAt has come at now take its turn in its lane. Any other is left as it is: it was
// canceled, or released before.
func (m *Message) Release(now time.Time) []Event {
	if m.Status != StatusScheduled || m.SendAt.After(now) {
		return nil
	}
	m.Phase = PhaseWaiting
	m.UpdatedAt = now
	return []Event{m.move(now, StatusQueued, "")}
}
