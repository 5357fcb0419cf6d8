package gateway

import "time"

// Bounds of sendAt. What lies a little in the past is taken for now: clocks differ.
const (
	MaxSchedule   = 366 * 24 * time.Hour
	ScheduleGrace = 5 * time.Minute
)

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
