package wa

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"go.mau.fi/util/dbutil"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/store/sqlstore/upgrades"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
)

// Database is the hub's own database, which keeps the devices and their Signal stores too.
type Database interface {
	// CheckClaimIn returns gateway.ErrFenced unless fence holds, and gateway.ErrClaimLost unless claim is there or is none; until tx, a
	// transaction on Writer, has ended, nobody else can take the lease.
	CheckClaimIn(ctx context.Context, tx interface {
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}, fence gateway.Fence, claim gateway.Claim) error
	// ExecHeld, asked on Postgres only, writes rows, given as columns, by one statement with those of others, and reports whether fence and claim
	// let it.
	ExecHeld(ctx context.Context, fence gateway.Fence, claim gateway.Claim, statement string, columns ...any) (bool, error)
	// KeepSentIn stores what a message with a file or a preview goes out as, in tx, a transaction on Writer. A later one replaces it.
	KeepSentIn(ctx context.Context, tx interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}, tenantKey int64, stanzaID string, content []byte) error
	// SentContent is what KeepSentIn stored; nil when there is nothing.
	SentContent(ctx context.Context, tenantKey int64, stanzaID string) ([]byte, error)
	// Upload is what KeepUpload remembered of a tenant's file; nil when there is nothing, or only what is older than maxAge.
	Upload(ctx context.Context, tenantKey int64, sha256, kind string, maxAge time.Duration) (*gateway.Upload, error)
	// KeepUpload remembers that a tenant's file was uploaded now.
	KeepUpload(ctx context.Context, tenantKey int64, u gateway.Upload) error
	// OptedOut tells who of recipients, as gateway.OptOutName writes them, wants no bulk messages of a tenant.
	OptedOut(ctx context.Context, tenantKey int64, recipients []string) (map[string]bool, error)
	Writer() *sql.DB
	Dialect() string
}

// Media opens stored files by content hash.
type Media interface {
	Open(ctx context.Context, sha256 string) (*os.File, error)
	Scratch() string // the folder for what is being encrypted; empty: the system's for such files
}

// Lookup finds a tenant's message by its stanza id, nil when there is none, and what KeepSentIn stored for it, nil when there
// is nothing.
type Lookup func(ctx context.Context, tenantKey int64, stanzaID string) (m *gateway.Message, content []byte, err error)

// Options configure a Factory. Zero durations mean the defaults.
type Options struct {
	Database Database
	Media    Media
	Lookup   Lookup // nil: a phone's request to send again is served from whatsmeow's memory of the last 256 messages only
	Log      *slog.Logger

	Server string // host:port of a simulator that is dialled instead of WhatsApp, see SetRootKey

	AckTimeout  time.Duration // wait for the acknowledgement of one stanza; 30 s
	SendTimeout time.Duration // of one send as a whole, without the upload of media; 60 s
	PairTimings PairTimings
}

// Default bounds of a send.
const (
	defaultAckTimeout  = 30 * time.Second
	defaultSendTimeout = 60 * time.Second
)

// Factory makes the WhatsApp clients of a process. It is safe for concurrent use.
type Factory struct {
	opts      Options
	db        *dbutil.Database
	container *sqlstore.Container
	transport *http.Transport
	http      *http.Client // web sockets
	mediaHTTP *http.Client
	sessions  sessionMemory
}

// NewFactory prepares WhatsApp's tables in the database, migrating them when they are of an older version.
func NewFactory(ctx context.Context, opts Options) (*Factory, error) {
	if opts.AckTimeout <= 0 {
		opts.AckTimeout = defaultAckTimeout
	}
	if opts.SendTimeout <= 0 {
		opts.SendTimeout = defaultSendTimeout
	}
	opts.PairTimings = opts.PairTimings.withDefaults()
	db, err := dbutil.NewWithDB(opts.Database.Writer(), opts.Database.Dialect())
	if err != nil {
		return nil, fmt.Errorf("wrap the database for whatsmeow: %w", err)
	}
	db.UpgradeTable, db.VersionTable = upgrades.Table, "whatsmeow_version" // as sqlstore names it
	container := sqlstore.NewWithWrappedDB(db, whatsmeowLog{log: opts.Log, module: "store"})
	if err := container.Upgrade(ctx); err != nil {
		return nil, fmt.Errorf("migrate the WhatsApp tables: %w", err)
	}
	transport := newTransport(opts.Server)
	return &Factory{
		opts:      opts,
		db:        db,
		container: container,
		transport: transport,
		http:      &http.Client{Transport: transport},
		mediaHTTP: &http.Client{Transport: mediaTransport{next: transport}},
	}, nil
}

// Close ends idle connections. Clients are disconnected by who made them; the database stays open.
func (f *Factory) Close() { f.transport.CloseIdleConnections() }

// New makes the client of a session: with the keys of session.JID, or with new ones, to be paired, when that is empty.
// Nothing is connected. A JID without keys is gateway.ErrNoKeys. on gets the client's events, one at a time for each connection; what is reported to it while it
// waits may be reported from several goroutines. The error of a receipt or a message keeps it unacknowledged.
func (f *Factory) New(ctx context.Context, session gateway.Session, on func(context.Context, gateway.ClientEvent) error) (*Client, error) {
	log := f.opts.Log.With("tenant", session.TenantID)
	device := f.container.NewDevice()
	if session.JID != "" {
		jid, err := types.ParseJID(session.JID)
		if err != nil {
			return nil, fmt.Errorf("parse the session's JID: %w", err)
		}
		device, err = f.container.GetDevice(ctx, jid)
		if err != nil {
			return nil, fmt.Errorf("load the session's keys: %w", err)
		}
		if device == nil {
			return nil, gateway.ErrNoKeys
		}
	}
	c := &Client{
		opts:      f.opts,
		log:       log,
		on:        on,
		tenantKey: session.TenantKey,
		slot:      make(chan struct{}, 1),
	}
	c.device = device.GetJID()
	c.pn, c.lid = device.GetJID().ToNonAD(), device.GetLID().ToNonAD()
	g := &guard{
		check: func(ctx context.Context, claim gateway.Claim) error {
			return f.opts.Database.CheckClaimIn(ctx, f.db.Execable(ctx), session.Fence(), claim)
		},
		transact: func(ctx context.Context, do func(context.Context) error) error {
			return f.db.DoTxn(ctx, nil, contained(do))
		},
		keep: func(ctx context.Context, stanzaID string, content []byte) error {
			return f.opts.Database.KeepSentIn(ctx, f.db.Execable(ctx), session.TenantKey, stanzaID, content)
		},
		known:    newIdentityCache(),
		sessions: &sessionCache{memory: &f.sessions},
		failed:   func() { c.drop(gateway.ReasonConnectionLost) },
		seen:     loginSeen,
	}
	if f.db.Dialect == dbutil.Postgres {
		g.jid = func() string { // as sqlstore names it
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.device.String()
		}
		g.exec = func(ctx context.Context, claim gateway.Claim, statement string, columns ...any) (bool, error) {
			return f.opts.Database.ExecHeld(ctx, session.Fence(), claim, statement, columns...)
		}
	}
	g.wrap(device)
	c.container = device.Container // which checks the lease

	cli := whatsmeow.NewClient(device, whatsmeowLog{log: log})
	shed(cli)
	cli.SetWebsocketHTTPClient(f.http)
	cli.SetPreLoginHTTPClient(f.http)
	cli.SetMediaHTTPClient(f.mediaHTTP)
	// The session room reconnects, after it has confirmed the lease.
	cli.EnableAutoReconnect = false
	cli.DisableLoginAutoReconnect = true
	// A receipt is acknowledged when it is in our database, not before.
	cli.SynchronousAck = true
	// Neither is a message. What was decrypted is kept until then: it cannot be decrypted twice.
	cli.EnableDecryptedEventBuffer = true
	cli.AutomaticMessageRerequestFromPhone = false
	// The hub keeps no chats: no history is fetched, and the phone is not asked for more.
	cli.ManualHistorySyncDownload = true
	cli.UseRetryMessageStore = false
	cli.GetMessageForRetry = c.messageForRetry
	cli.AddEventHandlerWithSuccessStatus(c.handle)
	c.cli = cli
	return c, nil
}

// contained turns a panic of do into its error: dbutil would leave the transaction open, and with it the one connection that
// everybody writes through.
func contained(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic in a transaction: %v", p)
			}
		}()
		return do(ctx)
	}
}
