// Package intake accepts messages: it checks and normalises what was asked for, assigns both ids, commits the row and
// tells the queue. It promises that what it returned without error will be sent or will end with a reason, whatever
// becomes of Redis or of this process. It imports nothing of the hub but the domain.
package intake

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
)

// Accepter stores messages.
type Accepter interface {
	// Accept inserts messages with their first events, and completes idem, in one transaction. When it returns nil all of
	// it is durable.
	Accept(ctx context.Context, messages []*gateway.Message, idem *gateway.IdempotencyCompletion) error
	// Message answers CodeNotFound for what is not the tenant's.
	Message(ctx context.Context, tenantKey int64, id string) (gateway.Message, error)
	// Inbound reads a message that was received; CodeNotFound likewise.
	Inbound(ctx context.Context, tenantKey int64, id string) (gateway.Inbound, error)
}

// Enqueuer tells the workers.
type Enqueuer interface {
	Enqueue(ctx context.Context, tickets ...gateway.Ticket) error
}

// Describer knows stored files.
type Describer interface {
	// Describe checks a file against its declared type and says how it goes out.
	Describe(ctx context.Context, declared string, blob gateway.Blob) (gateway.Media, error)
}

// Deps are what an Intake works with.
type Deps struct {
	Store Accepter
	Queue Enqueuer
	Media Describer
	// CheckURL refuses a media.url that the hub does not call; its errors may be shown.
	CheckURL func(raw string) error
	// Admit refuses what is more than a tenant may have waiting, with an error that may be shown. nil: anything goes.
	Admit func(ctx context.Context, tenant gateway.Tenant, n int) error
	Clock func() time.Time // default time.Now
	Log   *slog.Logger     // default: discard
}

// Intake accepts messages. Before the queue is stopped, Flush is called.
type Intake struct {
	Deps
	tickets tickets
}

// New makes an Intake.
func New(deps Deps) *Intake {
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	return &Intake{Deps: deps}
}

// Text accepts a message without a file. Errors of the request are *gateway.Error with a pointer for each field that is wrong.
func (in *Intake) Text(ctx context.Context, tenant gateway.Tenant, r gateway.TextRequest, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	now := in.now()
	var c checks
	m := in.message(&c, tenant, r.To, r.SendOptions, now)
	if err := in.fill(ctx, &c, m, &r); err != nil {
		return gateway.Message{}, err
	}
	if err := c.err(); err != nil {
		return gateway.Message{}, err
	}
	return in.accept(ctx, tenant, m, idem)
}

// Media accepts a media message, whose file is stored already.
func (in *Intake) Media(ctx context.Context, tenant gateway.Tenant, r gateway.MediaRequest, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	now := in.now()
	var c checks
	m := in.message(&c, tenant, r.To, r.SendOptions, now)
	c.text(r.Caption, false)
	c.filename(r.Filename)
	if r.URL != "" {
		c.url(r, in.CheckURL)
	} else if r.MimeType == "" {
		c.add(gateway.CodeInvalidMedia, "/media/mimetype", "mimetype is required")
	}
	m.Text = r.Caption
	if err := in.relate(ctx, &c, m, r.Relation, gateway.Content{}); err != nil {
		return gateway.Message{}, err
	}
	if err := c.err(); err != nil {
		return gateway.Message{}, err
	}
	if r.URL != "" {
		if m.Content == nil {
			m.Content = &gateway.Content{}
		}
		m.Content.File = &gateway.RemoteFile{URL: r.URL, MimeType: r.MimeType, Filename: r.Filename}
		m.Type = gateway.GuessType(m.Content.File)
		return in.accept(ctx, tenant, m, idem)
	}
	media, err := in.Deps.Media.Describe(ctx, r.MimeType, r.Blob)
	if err != nil {
		return gateway.Message{}, err
	}
	m.Type, m.Text, m.Media = media.Type(), r.Caption, &media
	media.Filename = r.Filename // WhatsApp shows it with documents only
	return in.accept(ctx, tenant, m, idem)
}

// Retry accepts a message that has ended without success once more, as a new message that names the old one. One whose
// outcome is unknown may have been delivered and needs force. CodeNotFound, CodeNotRetryable.
func (in *Intake) Retry(ctx context.Context, tenant gateway.Tenant, id string, force bool, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	old, err := in.Store.Message(ctx, tenant.Key, id)
	if err != nil {
		return gateway.Message{}, err
	}
	switch old.Status {
	case gateway.StatusFailed, gateway.StatusExpired, gateway.StatusCanceled, gateway.StatusUnknown:
		if (old.Uncertain || old.Status == gateway.StatusUnknown) && !force {
			return gateway.Message{}, gateway.Errorf(gateway.CodeNotRetryable,
				"the message may have been delivered; with {\"force\": true} it is sent again all the same")
		}
	default:
		return gateway.Message{}, gateway.Errorf(gateway.CodeNotRetryable, "the message is %s; only one that ended without success can be retried", old.Status)
	}
	if old.Dropped() {
		return gateway.Message{}, gateway.Errorf(gateway.CodeNotRetryable, "what the message said is not kept any more; send a new one")
	}
	var c checks
	m := in.message(&c, tenant, old.To, gateway.SendOptions{Priority: old.Priority, Reference: old.Reference}, in.now())
	if err := c.err(); err != nil {
		return gateway.Message{}, fmt.Errorf("repeat message %s: %w", id, err)
	}
	m.Type, m.Text, m.Content, m.RetryOf = old.Type, old.Text, old.Content, old.ID
	if err := withinWindow(m); err != nil {
		return gateway.Message{}, err
	}
	if old.Media != nil {
		media := *old.Media
		m.Media = &media
	}
	return in.accept(ctx, tenant, m, idem)
}

// precision is that of what is stored: two times that differ by less are the same.
const precision = time.Microsecond

func (in *Intake) now() time.Time { return in.Clock().UTC().Truncate(precision) }

// message checks what every kind of message has and fills it in.
func (in *Intake) message(c *checks, tenant gateway.Tenant, to string, o gateway.SendOptions, now time.Time) *gateway.Message {
	m := &gateway.Message{
		TenantKey: tenant.Key, TenantID: tenant.ID, To: c.recipient(to),
		Priority: c.priority(o.Priority), Reference: c.reference(o.Reference),
		Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting,
		CreatedAt: now, UpdatedAt: now,
	}
	from := now
	m.SendAt = c.schedule(o.SendAt, now)
	if m.SendAt.After(now) {
		m.Status, m.Phase = gateway.StatusScheduled, gateway.PhaseSchedule
		from = m.SendAt
	}
	m.ExpiresAt = c.expiry(o.ExpiresAt, tenant.Settings, m.Priority, from)
	return m
}

// accept commits the message and then sends its ticket to the queue, whose failure costs nothing but time.
func (in *Intake) accept(ctx context.Context, tenant gateway.Tenant, m *gateway.Message, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	if in.Admit != nil {
		if err := in.Admit(ctx, tenant, 1); err != nil {
			return gateway.Message{}, err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return gateway.Message{}, fmt.Errorf("make a message id: %w", err)
	}
	m.ID, m.WhatsAppID = id.String(), gateway.NewStanzaID()
	if err := in.Store.Accept(ctx, []*gateway.Message{m}, idem); err != nil {
		return gateway.Message{}, fmt.Errorf("accept message: %w", err)
	}
	if m.Status == gateway.StatusQueued { // else the relay does, when its time has come
		in.enqueue(ctx, m)
	}
	return *m, nil
}
