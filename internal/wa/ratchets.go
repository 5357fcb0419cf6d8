package wa

// Ratchets names the tables with the state of the encryption to each person and group. It only ever moves forward: what is
// encrypted with an older state is taken by a phone for what it has seen already, and not shown. So a copy of a database that may
// be used again must not hold them; what is missing is agreed on anew with each recipient.
func Ratchets() []string { return []string{"whatsmeow_sessions", "whatsmeow_sender_keys"} }
