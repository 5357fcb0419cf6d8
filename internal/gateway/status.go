package gateway

// Status is where a message is on its way. docs/message-status.md draws the machine.
type Status string

// The statuses, in the order of their rank (I4).
const (
	StatusScheduled Status = "scheduled" // waits for sendAt
	StatusQueued    Status = "queued"    // accepted, waits for its turn
	StatusSending   Status = "sending"   // claimed by a worker; Phase tells what it does or waits for
	StatusUnknown   Status = "unknown"   // given up on, but an attempt may have reached WhatsApp
	StatusSent      Status = "sent"      // WhatsApp acknowledged ciphertext for the recipient's own phone (I5)
	StatusDelivered Status = "delivered" // the recipient's device confirmed it
	StatusRead      Status = "read"      // read, or played
	StatusCanceled  Status = "canceled"  // ended by the operator before any attempt
	StatusFailed    Status = "failed"    // ended; Message.Error says why
	StatusExpired   Status = "expired"   // ended unsent at expiresAt
)

// Statuses lists all statuses.
func Statuses() []Status {
	return []Status{
		StatusScheduled, StatusQueued, StatusSending, StatusUnknown, StatusSent, StatusDelivered, StatusRead,
		StatusCanceled, StatusFailed, StatusExpired,
	}
}

// Valid reports whether s is a status.
func (s Status) Valid() bool { return s.rank() > 0 }

// rank orders the statuses; the ends that are no success share one above unknown, because only a receipt leaves them.
func (s Status) rank() int {
	switch s {
	case StatusScheduled:
		return 1
	case StatusQueued:
		return 2
	case StatusSending:
		return 3
	case StatusUnknown:
		return 4
	case StatusSent, StatusCanceled, StatusFailed, StatusExpired:
		return 5
	case StatusDelivered:
		return 6
	case StatusRead:
		return 7
	}
	return 0
}

// CanMove reports whether a message may go from s to next (I4): by rank and never back; canceled is final;
// failed and expired are left only for delivered or read, on the proof of a receipt.
func (s Status) CanMove(next Status) bool {
	if !s.Valid() || !next.Valid() {
		return false
	}
	switch s {
	case StatusCanceled:
		return false
	case StatusFailed, StatusExpired:
		return next == StatusDelivered || next == StatusRead
	case StatusSent:
		return next == StatusDelivered || next == StatusRead
	case StatusUnknown:
		// What an operator or a deadline could end has already been attempted: only proof moves it.
		return next == StatusSent || next == StatusDelivered || next == StatusRead
	case StatusSending:
		return next != StatusCanceled && next.rank() > s.rank()
	case StatusScheduled, StatusQueued, StatusDelivered, StatusRead:
	}
	return next.rank() > s.rank()
}

// Final reports whether no worker has anything left to do for a message in s. Receipts may still lift it.
func (s Status) Final() bool { return s.rank() > StatusSending.rank() }

// Phase tells apart what a message in StatusQueued or StatusSending is doing or waiting for.
type Phase string

// The phases. A finished message has none.
const (
	PhaseNone     Phase = ""
	PhaseWaiting  Phase = "waiting"  // queued: its turn has not come
	PhaseWorking  Phase = "working"  // sending: a worker has it in hand
	PhaseBackoff  Phase = "backoff"  // sending: the next attempt is at NextAttemptAt
	PhaseHeld     Phase = "held"     // queued or sending: the number is restricted until NextAttemptAt
	PhaseOffline  Phase = "offline"  // sending: given back because the session went away, waits for it
	PhaseSchedule Phase = "schedule" // scheduled: sendAt has not come
	PhaseStaged   Phase = "staged"   // queued: of a bulk, and has no place in the lane yet; shown as waiting
)
