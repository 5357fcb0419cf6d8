package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Store is what the API reads and writes itself. Every method honours ctx; a missing thing is gateway.CodeNotFound.
type Store interface {
	Ping(ctx context.Context) error

	CreateTenant(ctx context.Context, id, name string) (gateway.Tenant, error) // gateway.CodeTenantExists
	Tenant(ctx context.Context, id string) (gateway.Tenant, error)
	Tenants(ctx context.Context) ([]gateway.Tenant, error)
	UpdateLimits(ctx context.Context, id string, apply func(*gateway.Limits)) (gateway.Tenant, error)

	CreateKey(ctx context.Context, key gateway.APIKey) error
	Keys(ctx context.Context, tenantKey int64) ([]gateway.APIKey, error)
	RevokeKey(ctx context.Context, tenantKey int64, id string) error
	// RotateKey gives a key a successor with its name and scopes (or fewer, those of fresh), and lets it end at until. gateway.CodeNotFound, gateway.CodeConflict:
	// it has a successor already.
	RotateKey(ctx context.Context, tenantKey int64, id string, fresh gateway.APIKey, until time.Time) (successor, old gateway.APIKey, err error)
	// KeysByPrefix returns the live keys whose hash begins with prefix.
	KeysByPrefix(ctx context.Context, prefix [8]byte) ([]gateway.APIKey, error)

	// ReserveIdempotency returns the stored answer of a finished request, or nil when the caller now holds the key.
	// gateway.CodeIdempotencyBusy: another request holds it; gateway.CodeIdempotencyReuse: it had another body.
	ReserveIdempotency(ctx context.Context, r gateway.Idempotency) (*gateway.IdempotencyAnswer, error)
	CompleteIdempotency(ctx context.Context, tenantKey int64, scope, key string, a gateway.IdempotencyAnswer) error
	// ReleaseIdempotency lets go of a key that is not completed; a completed one stays.
	ReleaseIdempotency(ctx context.Context, tenantKey int64, scope, key string) error

	Message(ctx context.Context, tenantKey int64, id string) (gateway.Message, error)
	Messages(ctx context.Context, tenantKey int64, f gateway.MessageFilter) ([]gateway.Message, error)
	MessagesByID(ctx context.Context, tenantKey int64, ids []string) ([]gateway.Message, error)
	Events(ctx context.Context, tenantKey int64, id string) ([]gateway.Event, error)
	Depth(ctx context.Context, tenantKey int64) (gateway.QueueDepth, error)
	// Ahead counts what goes before a message that waits, no further than limit.
	Ahead(ctx context.Context, m *gateway.Message, limit int) (int, error)
	// Bulk reads a bulk that was accepted.
	Bulk(ctx context.Context, tenantKey int64, id string) (gateway.Bulk, error)
	// SentTimes lists when the last messages after since were sent, oldest first, at most the newest limit.
	SentTimes(ctx context.Context, tenantKey int64, since time.Time, limit int) ([]time.Time, error)
	// Stats counts what happened in each slice of a window, looking at the newest limit messages of each kind; slices that it cannot
	// tell for certain are left out from its beginning.
	Stats(ctx context.Context, tenantKey int64, w gateway.StatsWindow, limit int) ([]gateway.StatsBucket, error)
	// Statuses returns the statuses of messages of any tenant; unknown ids are left out.
	Statuses(ctx context.Context, ids []string) (map[string]gateway.Status, error)

	// Workers lists the workers that live, in the order of their start.
	Workers(ctx context.Context) ([]gateway.Worker, error)
	Session(ctx context.Context, tenantKey int64) (gateway.Session, error)
	// AddCommand asks the owner of c.TenantKey's session for c.
	AddCommand(ctx context.Context, c gateway.Command) error

	// UpdateSettings lets change do its work on the stored settings and returns the result.
	UpdateSettings(ctx context.Context, tenantKey int64, change func(*gateway.Settings)) (gateway.Settings, error)
	// SetQueue pauses, resumes or lifts a hold, and tells the session's owner; nil leaves a value. After a pause nothing is claimed.
	SetQueue(ctx context.Context, tenantKey int64, paused, held *bool) (gateway.Session, error)

	OptOuts
	Notices
	Inbound
	Questions
}

// Intake accepts messages. When it returns without an error the message is committed, and with it the answer of the
// Idempotency-Key if there is one.
type Intake interface {
	Text(ctx context.Context, t gateway.Tenant, r gateway.TextRequest, done *gateway.IdempotencyCompletion) (gateway.Message, error)
	Media(ctx context.Context, t gateway.Tenant, r gateway.MediaRequest, done *gateway.IdempotencyCompletion) (gateway.Message, error)
	Retry(ctx context.Context, t gateway.Tenant, id string, force bool, done *gateway.IdempotencyCompletion) (gateway.Message, error)
	// Edit and Revoke change a message that was sent: CodeTargetNotSent, CodeWindowClosed, CodeConflict when it is of a type that cannot.
	Edit(ctx context.Context, t gateway.Tenant, id, text string, o gateway.SendOptions, done *gateway.IdempotencyCompletion) (gateway.Message, error)
	Revoke(ctx context.Context, t gateway.Tenant, id string, o gateway.SendOptions, done *gateway.IdempotencyCompletion) (gateway.Message, error)
	// Recipient normalises a recipient as a message's To is; its errors may be shown.
	Recipient(given string) (to string, err error)
}

// Ledger ends messages.
type Ledger interface {
	// Cancel is idempotent; gateway.CodeNotCancelable once claimed or ended otherwise.
	Cancel(ctx context.Context, tenantKey int64, id string) (gateway.Message, error)
	// Purge ends what waits, in small steps; repeated after an error it goes on.
	Purge(ctx context.Context, tenantKey int64) (gateway.Purged, error)
	// Disown ends what waits and may have been delivered by a number that is not paired any more.
	Disown(ctx context.Context, tenantKey int64) (gateway.Purged, error)
}

// Media stores files.
type Media interface {
	// PutBase64 decodes r (base64, with or without a data: prefix) and stores the bytes; what r returns is never held
	// in memory as a whole. gateway.CodeInvalidMedia, gateway.CodeMediaTooLarge, gateway.CodeMediaBusy.
	PutBase64(ctx context.Context, r io.Reader) (gateway.Blob, error)
	// Put is PutBase64 for bytes as they are.
	Put(ctx context.Context, r io.Reader) (gateway.Blob, error)
	// Open opens a stored file, which is what sha256 says; gateway.CodeMediaLost.
	Open(ctx context.Context, sha256 string) (*os.File, error)
}

// Tenants removes a tenant from everywhere: its session, its queues, its rows.
type Tenants interface {
	Delete(ctx context.Context, t gateway.Tenant) error
}

// Failures slows down who tries keys that do not exist.
type Failures interface {
	Wait(r *http.Request) time.Duration // before who sent r is told of another key that it does not exist; 0: not at all
	Failed(r *http.Request, key string) // the same key counts once
}

// Rates says whether a tenant may make one more request now, of so many a second in the long run; 0: as the hub is set.
type Rates interface {
	Take(of gateway.RateOf, perSecond int) gateway.RateAnswer
}

// Deps are what the API needs. All but WebSessions, Failures, Rates, Sandbox and Answered are required.
type Deps struct {
	Store    Store
	Intake   Intake
	Ledger   Ledger
	Media    Media
	Tenants  Tenants
	Bulks    Bulks
	Webhooks Webhooks
	Log      *slog.Logger
	// WebSessions lets browsers that signed in call the API with a cookie instead of a key; nil: none may.
	WebSessions WebSessions
	Failures    Failures
	Rates       Rates
	// Sandbox serves the /sandbox routes behind the admin key; nil: there are none.
	Sandbox http.Handler
	// Answered is told of each request to the API: route is the router's pattern, empty when none matched. It must be quick. nil: nobody is.
	Answered func(method, route string, status int, took time.Duration)
	Options  Options
}

// Options tune the API; the zero value of each means its default.
type Options struct {
	Clock        func() time.Time // time.Now
	Pacing       gateway.Pacing   // of tenants that chose nothing
	Version      string           // shown at /; "dev"
	RequestTime  time.Duration    // for a request that neither waits, streams nor uploads; 30 s
	MaxWaiters   int              // requests held by ?wait= at a time, a quarter of them by one tenant; 1000
	MaxStreams   int              // open event streams, and requests that wait for a pairing code or for WhatsApp, at a time, a quarter of them by one tenant; 200
	CodeWait     time.Duration    // how long a request waits for a pairing code; 20 s
	PollInterval time.Duration    // how often awaited statuses and codes are asked for; 50 ms
	StreamPoll   time.Duration    // how often a stream looks at its session; 500 ms
	BulkPoll     time.Duration    // how often a stream looks at its bulk; 1 s
	MaxUploads   int              // bulks that arrive at a time, half of them of one tenant; 4
	Heartbeat    time.Duration    // a comment on a silent stream; 15 s
	KeyCacheTTL  time.Duration    // how long a key is believed without asking the store, and twice how often requests that take long are asked again; 2 s
	KeyLock      time.Duration    // how long an Idempotency-Key is held whose process died, or could not let it go; 1 min
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.RequestTime == 0 {
		o.RequestTime = 30 * time.Second
	}
	if o.MaxWaiters == 0 {
		o.MaxWaiters = 1000
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 200
	}
	if o.CodeWait == 0 {
		o.CodeWait = 20 * time.Second
	}
	if o.PollInterval == 0 {
		o.PollInterval = 50 * time.Millisecond
	}
	if o.StreamPoll == 0 {
		o.StreamPoll = 500 * time.Millisecond
	}
	if o.BulkPoll == 0 {
		o.BulkPoll = time.Second
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = 4
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.KeyCacheTTL == 0 {
		o.KeyCacheTTL = 2 * time.Second
	}
	if o.KeyLock == 0 {
		o.KeyLock = time.Minute
	}
	return o
}
