package gateway

import (
	"errors"
	"fmt"
)

// ErrClaimLost: the message is not in the hand that it was claimed for. A database that died between a claim and its first flush has
// lost the claim; nothing of the attempt may go out then.
var ErrClaimLost = errors.New("the claim of the message is lost")

// Claim names an attempt that was begun. The zero value is none.
type Claim struct {
	MessageID string
	Attempt   int
}

// Claim names the attempt of m that was begun last; none when m was not claimed.
func (m *Message) Claim() Claim {
	if m.InFlight == "" {
		return Claim{}
	}
	return Claim{MessageID: m.ID, Attempt: m.Attempts}
}

// DoubtfulClaim is the error of a claim that the database may have stored although it did not say so: MessageID may be in the hand
// of who claimed it. Unless that one records OutcomeWait for it, which changes nothing where it is not, the message would wait
// for the end of the process.
type DoubtfulClaim struct {
	MessageID string
	Err       error
}

func (e *DoubtfulClaim) Error() string {
	return fmt.Sprintf("it may have claimed %s: %v", e.MessageID, e.Err)
}

func (e *DoubtfulClaim) Unwrap() error { return e.Err }
