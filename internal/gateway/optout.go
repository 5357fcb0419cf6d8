package gateway

import (
	"strings"
	"time"
)

// OptOut says that a person wants no bulk messages of a tenant. Single messages, a one-time password that the person asked for, go out
// all the same.
type OptOut struct {
	Recipient string       // as OptOutName writes it
	Source    OptOutSource // how it came to be known
	CreatedAt time.Time
}

// OptOutSource is how an opt-out came to be known.
type OptOutSource string

// The sources.
const (
	OptOutByAPI  OptOutSource = "api"
	OptOutByCSV  OptOutSource = "csv"
	OptOutByWord OptOutSource = "message" // the person wrote a stop word
)

// MaxOptOuts bounds the opt-outs of one call of the store.
const MaxOptOuts = 1000

// OptOutName is the name under which a recipient, normalised as a message's To, stands in the list: a number is the same person as
// its JID.
func OptOutName(to string) string { return strings.TrimSuffix(to, "@"+ServerUser) }
