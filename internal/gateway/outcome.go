package gateway

import "time"

// OutcomeKind is what an attempt came to. dispatch classifies, ledger records.
type OutcomeKind string

// The kinds (docs/message-status.md).
const (
	OutcomeSent      OutcomeKind = "sent"      // proof in Outcome.Sent
	OutcomeRetry     OutcomeKind = "retry"     // an attempt that failed for now; counted
	OutcomeWait      OutcomeKind = "wait"      // the session went away before anything was written; not counted
	OutcomeHold      OutcomeKind = "hold"      // the number is restricted; not counted, resumes at RetryAt
	OutcomePermanent OutcomeKind = "permanent" // failed at once
)

// Outcome is what the ledger records of an attempt.
type Outcome struct {
	Kind    OutcomeKind
	Sent    *Sent     // with OutcomeSent
	Failure Failure   // with every other kind
	OnWire  bool      // the attempt may have reached WhatsApp: the message turns Uncertain
	RetryAt time.Time // with OutcomeRetry and OutcomeHold
}

// Verdict is what becomes of a ticket after it was handled.
type Verdict struct {
	Kind  VerdictKind
	Delay time.Duration // with VerdictRetry
	Rest  Rest          // with any kind
}

// Rest keeps a lane and those below it from being consumed For some time, as soon as the ticket in hand is done with. Higher lanes go
// on. The zero value is none.
type Rest struct {
	From Priority
	For  time.Duration
}

// VerdictKind is the kind of a Verdict.
type VerdictKind int

// The verdicts.
const (
	VerdictDone     VerdictKind = iota // the ticket is used up
	VerdictAgain                       // back to the tail at once: its turn went to an older message
	VerdictRetry                       // again after Delay
	VerdictGiveBack                    // back to its place: the session went away, consuming stops
)

// QueueDepth counts what waits for a tenant.
type QueueDepth struct {
	High, Normal, Bulk int
	OldestSince        time.Time // CreatedAt of the oldest, zero when nothing waits
}

// WaitingPlace is how far a walk over a tenant's waiting messages has got; the zero value is its beginning. Only the store reads it.
type WaitingPlace struct {
	Kind int // of waiting
	At   time.Time
	Seq  int64
}

// IdempotencyCompletion lets the transaction that accepts a message also store the answer for its Idempotency-Key,
// so that there is never the one without the other. Answer is called inside the transaction with the messages as
// they will be stored; it must be quick and must not touch the database.
type IdempotencyCompletion struct {
	TenantKey int64
	Scope     string // method and route
	Key       string
	Answer    func(messages []*Message) (IdempotencyAnswer, error)
}

// IdempotencyAnswer is a stored answer, replayed to the letter.
type IdempotencyAnswer struct {
	Status int
	Header map[string]string
	Body   []byte
}
