package gateway

import "fmt"

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
