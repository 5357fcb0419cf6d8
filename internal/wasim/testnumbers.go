package wasim

import "slices"

// Behaviour is what a test number does.
type Behaviour string

// The behaviours. Normal is every number outside the table.
const (
	Normal             Behaviour = "normal"
	NotOnWhatsApp      Behaviour = "not_on_whatsapp"     // has no account
	NeverRead          Behaviour = "never_read"          // delivered, never read
	NeverDelivered     Behaviour = "never_delivered"     // accepted by the server, the phone is switched off
	ReachOutRestricted Behaviour = "reachout_restricted" // the server refuses with ack error 463
	SlowReceipts       Behaviour = "slow"                // shown at once, receipts come Config.SlowDelay later
)

// TestNumber is a number that misbehaves on purpose, as test cards do. It harms only messages that are sent to it.
type TestNumber struct {
	Number    string    `json:"number"` // E.164 digits
	Behaviour Behaviour `json:"behaviour"`
	What      string    `json:"what"`
}

// TestNumbers is the table of docs/simulator.md: numbers of the block that is reserved for fiction, so that they are
// possible numbers and nobody's.
func TestNumbers() []TestNumber {
	return []TestNumber{
		{"12025550101", NotOnWhatsApp, "has no WhatsApp account"},
		{"12025550102", NeverRead, "gets messages and never reads them"},
		{"12025550103", NeverDelivered, "is switched off: the server takes messages, the phone never gets them"},
		{"12025550104", ReachOutRestricted, "refuses: the server answers every message with ack error 463"},
		{"12025550105", SlowReceipts, "shows messages at once and confirms them ten seconds later"},
	}
}

func testBehaviour(number string) Behaviour {
	if len(number) != 11 || number[:9] != "120255501" {
		return Normal // spares the table for nearly everyone
	}
	table := TestNumbers()
	i := slices.IndexFunc(table, func(t TestNumber) bool { return t.Number == number })
	if i < 0 {
		return Normal
	}
	return table[i].Behaviour
}
