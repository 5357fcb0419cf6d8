package gateway

import (
	"errors"
	"fmt"
	"time"
)

// A process that dies has many messages in hand, and one of them at most is to blame. So after AloneAfter deaths a message is
// claimed only when its process has no other one in hand, and the death after that convicts it as poison.
const (
	AloneAfter = 2
	MaxDeaths  = AloneAfter + 1
)

// Why a message cannot be claimed.
var (
	ErrNotDue   = errors.New("the message is not due")                                              // finished, in hand, or to be tried later
	ErrNotAlone = errors.New("processes died with the message in hand: it may only be tried alone") // see BeginAlone
)

// This file is the status machine: pure functions that change a Message and return the rows to add to its history.
// The ledger runs them inside a transaction on the stored row; none of them does I/O, and each leaves the message
// untouched when it has nothing to do. docs/message-status.md draws them.

// Due reports whether a worker may claim m at now: it waits for its turn, or for a time that has come, and no process
// has it in hand. A message of a bulk has to get its place in the lane first.
func (m *Message) Due(now time.Time) bool {
	waits := m.Status == StatusQueued && m.Phase != PhaseStaged || m.Status == StatusSending
	return waits && m.InFlight == "" && !m.NextAttemptAt.After(now)
}

// Begin claims m for one attempt by the process instance. The caller must hold the lease of the tenant's session.
// ErrNotDue when m is not Due, ErrNotAlone when it takes BeginAlone.
func (m *Message) Begin(now time.Time, instance string) ([]Event, error) {
	if m.Due(now) && m.Deaths >= AloneAfter {
		return nil, ErrNotAlone
	}
	return m.BeginAlone(now, instance)
}

// BeginAlone is Begin for a process that has no other message in hand, and takes none before m is recorded.
func (m *Message) BeginAlone(now time.Time, instance string) ([]Event, error) {
	if instance == "" {
		return nil, Errorf(CodeInternal, "a claim needs the name of its process instance")
	}
	if !m.Due(now) {
		return nil, ErrNotDue
	}
	m.Attempts++
	m.Phase = PhaseWorking
	m.NextAttemptAt = time.Time{}
	m.InFlight = instance
	m.UpdatedAt = now
	switch {
	case m.Status == StatusQueued:
		return []Event{m.move(now, StatusSending, "")}, nil
	case m.Attempts > 1:
		return []Event{m.event(now, fmt.Sprintf("Attempt %d began.", m.Attempts))}, nil
	}
	return nil, nil
}

// Apply records what the attempt begun by the process instance came to. When that process has m no longer in hand
// (recorded before, or given up for dead) only a proof of success still counts: a repeated call changes nothing.
func (m *Message) Apply(now time.Time, instance string, o Outcome) []Event {
	inHand := m.InFlight == instance && instance != ""
	if inHand {
		m.InFlight = ""
		m.UpdatedAt = now
	}
	if o.Kind == OutcomeSent {
		return m.succeed(now, o.Sent)
	}
	if !inHand {
		return nil
	}
	if o.OnWire {
		m.Uncertain = true
	}
	if m.Status != StatusSending {
		return nil // a receipt was faster: the message is delivered, whatever became of the attempt
	}
	if m.undecided() && o.Kind != OutcomePermanent {
		return []Event{m.fail(now, o.Failure)}
	}
	switch o.Kind {
	case OutcomeWait:
		m.giveBack(PhaseOffline, time.Time{}, o.Failure)
		return nil
	case OutcomeHold:
		told := m.Error != nil && *m.Error == o.Failure && !o.OnWire
		m.giveBack(PhaseHeld, o.RetryAt, o.Failure)
		if told {
			return nil // it was held for the same reason before: that is no news, however often it is looked at
		}
		return []Event{m.event(now, "Held: "+o.Failure.Message)}
	case OutcomeRetry:
		if m.Attempts >= MaxAttempts {
			return []Event{m.fail(now, o.Failure)}
		}
		m.Phase = PhaseBackoff
		m.NextAttemptAt = o.RetryAt
		m.Error = &o.Failure
		return []Event{m.event(now, fmt.Sprintf("Attempt %d: %s", m.Attempts, o.Failure.Message))}
	default: // OutcomePermanent
	}
	if o.Failure.Code == CodeExpired && !m.Uncertain {
		m.giveBack(PhaseNone, time.Time{}, o.Failure) // found too late right before the send: that was no attempt
		return []Event{m.expire(now)}
	}
	if o.Failure.Code == CodeOptedOut || o.Failure.Code == CodeCanceled {
		m.Attempts = max(0, m.Attempts-1) // nothing was handed to WhatsApp
	}
	return []Event{m.fail(now, o.Failure)}
}

// Cancel ends m before any attempt. Canceling twice is success; a message that was claimed already, or has ended
// otherwise, answers CodeNotCancelable (I4).
func (m *Message) Cancel(now time.Time) ([]Event, error) {
	switch m.Status {
	case StatusCanceled:
		return nil, nil
	case StatusScheduled, StatusQueued:
		m.settle(now)
		m.Error = &Failure{Code: CodeCanceled, Message: "The message was canceled.", Retryable: true}
		return []Event{m.move(now, StatusCanceled, "")}, nil
	default:
		return nil, Errorf(CodeNotCancelable, "the message is %s; only a message that was not claimed yet can be canceled", m.Status)
	}
}

// Late reports whether ExpiresAt has come at now.
func (m *Message) Late(now time.Time) bool { return !m.ExpiresAt.IsZero() && !m.ExpiresAt.After(now) }

// Expire ends m when it is Late and waits; a message in hand or ended is left as it is. When an attempt may have been
// delivered the end is unknown, not expired (I4).
func (m *Message) Expire(now time.Time) []Event {
	if !m.Late(now) || m.InFlight != "" || m.Status.Final() {
		return nil
	}
	if m.Uncertain {
		return []Event{m.fail(now, Failure{Code: CodeExpired, Message: "It expired while waiting for another attempt."})}
	}
	return []Event{m.expire(now)}
}

// Lapse ends m when it waits but may not be attempted any more: it is Late, or what became of an earlier attempt is left to the
// operator.
func (m *Message) Lapse(now time.Time) []Event {
	if m.Status == StatusSending && m.InFlight == "" && m.undecided() {
		return []Event{m.fail(now, Failure{Code: CodeOutcomeUnknown, Message: "The tenant's settings leave it to the operator."})}
	}
	return m.Expire(now)
}

// undecided reports whether an attempt may have been delivered and the tenant wants no other one by itself.
func (m *Message) undecided() bool { return m.Uncertain && m.HoldUnknown }

// Reconsider makes m due at now when it is held until later, and reports whether it did: what it was held for has changed. If it has
// not for m, the next claim holds it again, at no attempt.
func (m *Message) Reconsider(now time.Time) bool {
	if m.Phase != PhaseHeld || m.InFlight != "" || m.Status.Final() || !m.NextAttemptAt.After(now) {
		return false
	}
	m.NextAttemptAt = now
	return true
}

// Purge ends m because the operator does not want it sent any more; a message in hand or ended is left as it is. Never
// claimed it is canceled, else it failed, and unknown when an attempt may have been delivered (I4).
func (m *Message) Purge(now time.Time) []Event { return m.callOff(now, "The queue was purged.") }

// CancelWithBulk is Purge for a message whose bulk was canceled.
func (m *Message) CancelWithBulk(now time.Time) []Event { return m.callOff(now, BulkCanceledMessage) }

// BulkCanceledMessage is what the error says of a message that was claimed before its bulk was canceled.
const BulkCanceledMessage = "The bulk was canceled."

func (m *Message) callOff(now time.Time, why string) []Event {
	if m.InFlight != "" || m.Status.Final() {
		return nil
	}
	if m.Status == StatusSending {
		return []Event{m.fail(now, Failure{Code: CodeCanceled, Message: why, Retryable: true})}
	}
	events, _ := m.Cancel(now) // scheduled or queued: never refused
	return events
}

// Disown is Purge for a message that waits to be repeated under its stanza id, when the number that sent it is gone: from
// another number a phone would show it twice. Every other message is left as it is.
func (m *Message) Disown(now time.Time) []Event {
	if m.InFlight != "" || m.Status != StatusSending || !m.Uncertain {
		return nil
	}
	return []Event{m.fail(now, Failure{Code: CodeOutcomeUnknown, Message: "The number that sent it is not paired any more."})}
}

// Abandon takes m from a process that died with it in hand. The instance is the one that found out; a message in its
// own hand, or in none, is left as it is. The attempt may have gone out, so m is Uncertain from now on; it is due at
// once, ahead of newer messages, until the last of MaxDeaths convicts it.
func (m *Message) Abandon(now time.Time, instance string) []Event {
	if m.InFlight == "" || m.InFlight == instance {
		return nil
	}
	m.InFlight = ""
	m.UpdatedAt = now
	if m.Status.Final() {
		return nil
	}
	m.Deaths++
	m.Uncertain = true
	if m.undecided() {
		return []Event{m.fail(now, Failure{Code: CodeOutcomeUnknown, Message: "The process that sent it ended before it recorded the outcome."})}
	}
	if m.Deaths >= MaxDeaths {
		m.settle(now)
		m.FailedAt = now
		m.Error = &Failure{Code: CodePoison, Message: fmt.Sprintf("The process died %d times while it sent this message, the last time with no other in hand.", m.Deaths)}
		return []Event{m.move(now, StatusFailed, m.Error.Message)}
	}
	m.Phase = PhaseOffline
	m.NextAttemptAt = time.Time{}
	return []Event{m.event(now, "The process that sent this message ended before it recorded the outcome.")}
}

// succeed records the proof of a send. Facts that a receipt brought earlier are kept.
func (m *Message) succeed(now time.Time, sent *Sent) []Event {
	var proof Sent
	if sent != nil {
		proof = *sent
	}
	if m.Status == StatusFailed || m.Status == StatusExpired || m.Status == StatusCanceled || m.Status == StatusScheduled {
		return nil // only a receipt leaves these (I4)
	}
	if proof.RecipientJID != "" {
		m.RecipientJID = proof.RecipientJID
	}
	if proof.RecipientLID != "" {
		m.RecipientLID = proof.RecipientLID
	}
	m.FirstContact = m.FirstContact || proof.FirstContact
	if m.Status.rank() >= StatusSent.rank() {
		return nil
	}
	m.settle(now)
	m.Error = nil
	m.SentAt = m.notBefore(proof.At, now, m.CreatedAt)
	detail := ""
	if n := len(proof.Missed); n > 0 {
		detail = fmt.Sprintf("%d members of the group could not be reached.", n)
	}
	return []Event{m.move(now, StatusSent, detail)}
}

// giveBack undoes the counting of an attempt that never was one.
func (m *Message) giveBack(phase Phase, next time.Time, why Failure) {
	m.Attempts = max(0, m.Attempts-1)
	m.Phase = phase
	m.NextAttemptAt = next
	m.Error = nil
	if why.Code != "" {
		m.Error = &why
	}
}

// fail ends m for good: as failed, or as unknown when an attempt may have been delivered.
func (m *Message) fail(now time.Time, why Failure) Event {
	m.settle(now)
	if m.Uncertain {
		m.Error = &Failure{
			Code:      CodeOutcomeUnknown,
			Message:   "An attempt may have been delivered. " + why.Message,
			Retryable: true,
		}
		return m.move(now, StatusUnknown, m.Error.Message)
	}
	m.FailedAt = now
	m.Error = &why
	return m.move(now, StatusFailed, why.Message)
}

func (m *Message) expire(now time.Time) Event {
	m.settle(now)
	m.FailedAt = now
	m.Error = &Failure{Code: CodeExpired, Message: "The message was not sent before it expired.", Retryable: true}
	return m.move(now, StatusExpired, "")
}

// settle clears what only an unfinished message has. InFlight stays: only the process that has it in hand, or its
// successor, clears it.
func (m *Message) settle(now time.Time) {
	m.Phase = PhaseNone
	m.NextAttemptAt = time.Time{}
	m.UpdatedAt = now
}

// move changes the status. A forbidden move is a mistake in this file, which the property tests would find.
func (m *Message) move(now time.Time, next Status, detail string) Event {
	if !m.Status.CanMove(next) {
		panic(fmt.Sprintf("gateway: a message cannot go from %s to %s", m.Status, next))
	}
	m.Status = next
	return m.event(now, detail)
}

func (m *Message) event(now time.Time, detail string) Event {
	return Event{MessageID: m.ID, TenantKey: m.TenantKey, Status: m.Status, At: now, Detail: detail}
}

// notBefore is at, or now when at is unknown or means the present second, but no earlier than floor: WhatsApp's clock
// has whole seconds and is not ours, and a message must not seem to be sent before it was accepted.
func (m *Message) notBefore(at, now, floor time.Time) time.Time {
	if age := now.Sub(at); at.IsZero() || age >= 0 && age < time.Second {
		at = now
	}
	if at.Before(floor) {
		return floor
	}
	return at
}
