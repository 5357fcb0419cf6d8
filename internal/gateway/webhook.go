package gateway

import "time"

// Bounds of webhooks.
const (
	MaxWebhooks       = 10   // of a tenant
	MaxWebhookURL     = 2048 // bytes
	MaxWebhookEvents  = 50   // filters of one webhook
	MaxWebhookReplays = 10_000
	// WebhookAttempts is how often one event is posted before it is given up.
	WebhookAttempts = 8
	// WebhookSecretKept is how long both secrets sign after a rotation.
	WebhookSecretKept = 24 * time.Hour
	// EventsKept is how long events, and what was delivered of them, can be read and replayed.
	EventsKept = 7 * 24 * time.Hour
)

// WebhookStatus tells whether anything is delivered to a webhook.
type WebhookStatus string

// The statuses.
const (
	WebhookEnabled  WebhookStatus = "enabled"
	WebhookDisabled WebhookStatus = "disabled" // Webhook.Reason says why
)

// WebhookReason is why a webhook is disabled.
type WebhookReason string

// The reasons.
const (
	WebhookByRequest WebhookReason = "by_request"
	WebhookGone      WebhookReason = "gone"    // it answered 410
	WebhookFailing   WebhookReason = "failing" // nothing was taken for days
)

// Webhook is an address that is told of a tenant's events.
type Webhook struct {
	ID        string // UUIDv7, ours
	TenantKey int64
	URL       string
	Events    []string // ValidEventFilter

	Secret, OldSecret []byte    // sealed; the old one signs too until OldUntil
	OldUntil          time.Time // zero: there is no old one

	Status           WebhookStatus
	Reason           WebhookReason // with WebhookDisabled
	Since, CreatedAt time.Time     // Since: of Status

	Failures     int       // in a row; 0: the last delivery was taken
	FailingSince time.Time // with Failures: of the first of them that no long pause without any attempt follows
	LastFailure  time.Time // zero: none is known of
	RestUntil    time.Time // nothing is posted before, because it keeps failing
	Waking       bool      // it takes again what it is told, and not all that waited for another attempt is due yet
	Waiting      int       // events that it is still to be told of, 10,001 for any number above 10,000; when read by the API
}

// WebhookChange is what is to be changed of a webhook; nil fields stay.
type WebhookChange struct {
	URL     *string
	Events  []string
	Enabled *bool
}

// Delivery is an event on its way to one webhook.
type Delivery struct {
	WebhookID string
	Notice    Notice
	Attempts  int // so far
}

// DeliveryOutcome is what an attempt came to.
type DeliveryOutcome string

// The outcomes.
const (
	DeliveryTaken   DeliveryOutcome = "delivered" // 2xx
	DeliveryRetry   DeliveryOutcome = "retry"     // it will be posted again
	DeliveryGivenUp DeliveryOutcome = "given_up"  // it will not, unless it is replayed
)

// DeliveryAttempt is one line of the log of deliveries.
type DeliveryAttempt struct {
	ID        int64 // larger is later
	WebhookID string
	EventID   string
	Pos       int64 // of the event
	Subject   string
	Kind      EventKind
	Attempt   int // 1, 2, 3 ...
	At        time.Time
	Status    int // that was answered; 0: nothing was
	Took      time.Duration
	Error     string // a sentence; empty when it was taken
	Outcome   DeliveryOutcome
	NextAt    time.Time // with DeliveryRetry
}

// WebhookTurn is the right to deliver to one webhook, which one worker has at a time.
type WebhookTurn struct {
	WebhookID string
	Owner     string // of this turn alone
}

// DueWebhook is one that something can be posted to now.
type DueWebhook struct {
	ID      string
	Failing bool // its last delivery failed
}
