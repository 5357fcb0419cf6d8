package gateway

import (
	"slices"
	"time"
)

// Confirmed is what one recipient confirmed so far. For a group it is kept per member.
type Confirmed struct {
	Delivered, Read bool
}

// Match is what a receipt means to a message.
type Match int

// The matches.
const (
	MatchStranger Match = iota // not from the recorded recipient: it moves nothing (I10)
	MatchLater                 // not to be told yet: the recipient's names are recorded with the attempt in hand
	MatchRecipient
)

// Match tells whether r comes from the recorded recipient of m: its number or its LID, for a group any member but
// ourselves. own holds the session's bare JIDs, number and LID.
func (m *Message) Match(r Receipt, own []string) Match {
	if r.Sender == "" || slices.Contains(own, r.Sender) || r.SenderAlt != "" && slices.Contains(own, r.SenderAlt) {
		return MatchStranger
	}
	if m.IsGroup() {
		if r.Chat == m.To || m.RecipientJID != "" && r.Chat == m.RecipientJID {
			return MatchRecipient
		}
		return MatchStranger
	}
	if IsGroupJID(r.Chat) {
		return MatchStranger
	}
	names := []string{m.RecipientJID, m.RecipientLID}
	if m.RecipientJID == "" && m.RecipientLID == "" {
		names = []string{m.To}
		if !IsJID(m.To) {
			names = []string{UserJID(m.To)}
		}
	}
	for _, name := range names {
		if name != "" && (name == r.Sender || name == r.SenderAlt) {
			return MatchRecipient
		}
	}
	if m.RecipientJID == "" && m.InFlight != "" {
		return MatchLater
	}
	return MatchStranger
}

// Receive applies a receipt that Match ascribed to the recipient. had is what its sender confirmed before; the result
// is what it confirmed by now, with the rows to add to the history. Receipts are monotonic: any order and repetition
// of them ends in the same status. The first member's receipt moves a group's message, every further one is counted.
func (m *Message) Receive(now time.Time, r Receipt, had Confirmed) (Confirmed, []Event) {
	has := had
	switch r.Kind {
	case ReceiptDelivered:
		has.Delivered = true
	case ReceiptRead, ReceiptPlayed:
		has.Delivered, has.Read = true, true // who read it has it, even when the first receipt was lost
	default:
		return had, nil
	}
	if has == had || m.Status == StatusScheduled || m.Status == StatusQueued || m.Status == StatusCanceled {
		return had, nil // nothing new, or a receipt for what was never sent
	}
	m.UpdatedAt = now
	if has.Delivered && !had.Delivered {
		m.DeliveredCount++
	}
	if has.Read && !had.Read {
		m.ReadCount++
	}
	m.SentAt = m.first(m.SentAt, r.At, now, m.CreatedAt)
	m.DeliveredAt = m.first(m.DeliveredAt, r.At, now, m.SentAt)
	next := StatusDelivered
	if has.Read {
		m.ReadAt = m.first(m.ReadAt, r.At, now, m.DeliveredAt)
		next = StatusRead
	}
	if !m.Status.CanMove(next) {
		return has, nil
	}
	m.settle(now)
	m.Error = nil
	m.FailedAt = time.Time{} // it did not fail after all; the history keeps what we believed
	return has, []Event{m.move(now, next, "")}
}

// first keeps a time that is known already.
func (m *Message) first(known, at, now, floor time.Time) time.Time {
	if !known.IsZero() {
		return known
	}
	return m.notBefore(at, now, floor)
}
