package gateway

import "time"

// Bounds of a tenant's default expiry.
const (
	MinDefaultExpiry = time.Second
	MaxDefaultExpiry = 30 * 24 * time.Hour
)

// Settings are what a tenant may choose. The zero value is what a new tenant has.
type Settings struct {
	// HoldUnknown ends a message whose attempt may have been delivered as unknown, for the operator to decide; else it is repeated
	// under the same stanza id, which a phone shows once.
	HoldUnknown bool
	// Expiry is how long a message without expiresAt may wait, by lane, in whole seconds from MinDefaultExpiry to
	// MaxDefaultExpiry. 0: the hub's default.
	Expiry    struct{ High, Normal, Bulk time.Duration }
	Pacing    PacingChoice
	Retention Retention
	Words     *Words // that recipients opt out and in with; nil: the defaults
}

// Retention is how many days what is over is kept; 0: for ever, and events as long as the hub keeps them. Unfinished messages stay.
type Retention struct {
	Messages int // with their history, counted from their last change; those of a bulk from its end, together. MinKeepMessages..MaxKeep
	Text     int // texts, captions, file names and what else a message says, counted alike. MinKeepMessages..MaxKeep
	Events   int // what webhooks and GET /events tell of, delivered or not, with the log of deliveries. 1..MaxKeep
}

// Bounds of a Retention, in days. For 14 days after it was sent a phone may ask for a message again, and gets it from the row.
const (
	MinKeepMessages = 14
	MaxKeep         = 3650
)

// ExpiryOf is how long a message of the lane may wait, when it does not say so itself.
func (s Settings) ExpiryOf(lane Priority) time.Duration {
	own, fallback := s.Expiry.Normal, DefaultExpiry
	switch lane {
	case PriorityHigh:
		own, fallback = s.Expiry.High, DefaultExpiryHigh
	case PriorityBulk:
		own = s.Expiry.Bulk
	case PriorityNormal:
	}
	if own > 0 {
		return own
	}
	return fallback
}

// Purged counts what became of the messages that a purge ended.
type Purged struct {
	Canceled int // never attempted
	Failed   int // attempted without success
	Unknown  int // an attempt may have been delivered
}
