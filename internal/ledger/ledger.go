// Package ledger is the only writer of message statuses. It applies the domain's transitions to stored rows, each with
// its rows of history in the same transaction. It imports the domain alone and declares the store it needs.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	receiptWait  = 5 * time.Second       // for an attempt in hand to be recorded, when a receipt is faster
	receiptPause = 50 * time.Millisecond // between two looks
	maxLate      = 1000                  // messages that one claim finds too late before it leaves the rest to the relay
)

// errUnrecorded: the receipt cannot be ascribed before the attempt in hand has recorded the recipient's names.
var errUnrecorded = errors.New("the attempt in hand has not recorded its recipient yet")

// Store applies pure functions to stored messages. Each method runs apply on the row as it is, and writes the row and
// the events in one transaction; nil means that they are on disk. An error of apply undoes everything and is returned.
// apply may run on another goroutine and must not use the store.
type Store interface {
	// Claim applies to the message that the ticket entitles to, under the lease; nil, nil when there is none.
	Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket,
		apply func(*gateway.Message) ([]gateway.Event, error)) (*gateway.Message, error)
	// Update applies to one message, under the lease when there is a fence.
	Update(ctx context.Context, tenantKey int64, id string, f *gateway.Fence,
		apply func(*gateway.Message) ([]gateway.Event, error)) (gateway.Message, error)
	// UpdateWaiting applies to up to limit messages that wait, behind the place after and with a Seq up to upTo. It returns
	// those that changed, and the place that it got to, the zero value when there are none behind it.
	UpdateWaiting(ctx context.Context, tenantKey int64, after gateway.WaitingPlace, upTo int64, limit int,
		apply func(*gateway.Message) ([]gateway.Event, error)) (changed []gateway.Message, next gateway.WaitingPlace, err error)
	// LastSeq is the Seq of the message that was accepted last.
	LastSeq(ctx context.Context, tenantKey int64) (int64, error)
	// CancelQueued applies alike to up to limit messages of a canceled bulk that nobody has claimed; how many there were.
	CancelQueued(ctx context.Context, tenantKey int64, bulkID string, limit int,
		apply func(*gateway.Message) ([]gateway.Event, error)) (int, error)
	// CancelBegun applies to up to limit messages of a canceled bulk that were claimed and are in nobody's hands; those that changed.
	CancelBegun(ctx context.Context, tenantKey int64, bulkID string, limit int,
		apply func(*gateway.Message) ([]gateway.Event, error)) ([]gateway.Message, error)
	// Receive applies to each message that a receipt names, and keeps what its sender confirmed.
	Receive(ctx context.Context, tenantKey int64, r gateway.Receipt,
		apply func(*gateway.Message, gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error)) error
	// Reconsider applies to messages of the fence's tenant that are held beyond now, at most limit, and returns tickets for those it changed.
	Reconsider(ctx context.Context, f gateway.Fence, now time.Time, limit int, apply func(*gateway.Message) bool) ([]gateway.Ticket, error)
	// Release applies to scheduled messages that are due at now, at most limit, and returns tickets for those it queued.
	Release(ctx context.Context, now time.Time, limit int, apply func(*gateway.Message) []gateway.Event) ([]gateway.Ticket, error)
}

// Ledger writes statuses. Its methods may be called from any goroutine.
type Ledger struct {
	store Store
	now   func() time.Time
}

// New makes a Ledger over store that stamps its rows by clock.
func New(store Store, clock func() time.Time) *Ledger { return &Ledger{store: store, now: clock} }

// Claim begins an attempt of the message that ticket entitles to, which need not be the ticket's own (an older one of
// its lane goes first), and returns it in the hands of instance, which must be the owner of the lease f. nil when
// there is nothing to do. A message that is too late, or left to the operator, is ended instead, and the next one claimed.
// gateway.ErrFenced; gateway.ErrQueueClosed; gateway.ErrNotAlone when the message takes ClaimAlone.
func (l *Ledger) Claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error) {
	return l.claim(ctx, f, ticket, instance, (*gateway.Message).Begin)
}

// ClaimAlone is Claim for a process that has no other message in hand, and claims none before this one is recorded.
func (l *Ledger) ClaimAlone(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string) (*gateway.Message, error) {
	return l.claim(ctx, f, ticket, instance, (*gateway.Message).BeginAlone)
}

func (l *Ledger) claim(ctx context.Context, f gateway.Fence, ticket gateway.Ticket, instance string,
	begin func(*gateway.Message, time.Time, string) ([]gateway.Event, error),
) (*gateway.Message, error) {
	if instance != f.Owner {
		return nil, fmt.Errorf("claim message: the lease belongs to %s, not to %s", f.Owner, instance)
	}
	for range maxLate {
		ended, begun := false, ""
		m, err := l.store.Claim(ctx, f, ticket, func(m *gateway.Message) ([]gateway.Event, error) {
			begun = ""
			now := l.now()
			events := m.Lapse(now)
			if ended = len(events) > 0; ended {
				return events, nil
			}
			events, err := begin(m, now, instance)
			if err == nil {
				begun = m.ID
			}
			return events, err
		})
		if errors.Is(err, gateway.ErrNotDue) {
			return nil, nil // by our clock; the store's was ahead of it
		}
		if err != nil && begun != "" {
			err = &gateway.DoubtfulClaim{MessageID: begun, Err: err}
		}
		if err != nil {
			return nil, fmt.Errorf("claim message: %w", err)
		}
		if m == nil || !ended {
			return m, nil
		}
	}
	return nil, nil
}

// Record writes what the claimed attempt came to and returns the message as it stands then. The caller repeats it
// until it succeeds; a repetition after a success that was not noticed changes nothing. It is bound to the claim, not
// to the lease: while the row is in the hands of f's owner nobody else has touched it. When another worker has taken
// the message over in the meantime, only a proof of success is still recorded.
func (l *Ledger) Record(ctx context.Context, f gateway.Fence, messageID string, o gateway.Outcome) (gateway.Message, error) {
	m, err := l.store.Update(ctx, f.TenantKey, messageID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Apply(l.now(), f.Owner, o), nil
	})
	if err != nil {
		return gateway.Message{}, fmt.Errorf("record outcome of %s: %w", messageID, err)
	}
	return m, nil
}

// Receipt records a receipt of the tenant's session, whose own bare JIDs (number and LID) are ownJIDs. Receipts for
// unknown stanza ids and from strangers change nothing and are no error (I10). It waits a few seconds for an attempt
// that is about to record the recipient's names; an error means that the receipt must be delivered again.
func (l *Ledger) Receipt(ctx context.Context, tenantKey int64, ownJIDs []string, r gateway.Receipt) error {
	ctx, cancel := context.WithTimeout(ctx, receiptWait)
	defer cancel()
	for {
		err := l.store.Receive(ctx, tenantKey, r,
			func(m *gateway.Message, had gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
				switch m.Match(r, ownJIDs) {
				case gateway.MatchRecipient:
					has, events := m.Receive(l.now(), r, had)
					return has, events, nil
				case gateway.MatchLater:
					return had, nil, errUnrecorded
				default:
					return had, nil, nil
				}
			})
		if !errors.Is(err, errUnrecorded) {
			if err != nil {
				return fmt.Errorf("record receipt: %w", err)
			}
			return nil
		}
		pause := time.NewTimer(receiptPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("record receipt: %w", err)
		}
	}
}

// Cancel ends a message before any attempt and returns it; canceling twice is success. CodeNotCancelable when it was
// claimed or has ended, CodeNotFound.
func (l *Ledger) Cancel(ctx context.Context, tenantKey int64, id string) (gateway.Message, error) {
	m, err := l.store.Update(ctx, tenantKey, id, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Cancel(l.now())
	})
	if err != nil {
		return gateway.Message{}, fmt.Errorf("cancel message: %w", err)
	}
	return m, nil
}

// Expire ends a message whose ExpiresAt has come; one that is in hand, has ended or is not late stays as it is.
func (l *Ledger) Expire(ctx context.Context, tenantKey int64, id string) error {
	_, err := l.store.Update(ctx, tenantKey, id, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Expire(l.now()), nil
	})
	if err != nil {
		return fmt.Errorf("expire message: %w", err)
	}
	return nil
}

// Abandon takes a message from a process that died, or lost the lease, with it in hand, and returns it as it stands
// then: due at once, or ended as poison. A message in the hands of instance or of nobody stays. gateway.ErrFenced.
func (l *Ledger) Abandon(ctx context.Context, f gateway.Fence, id, instance string) (gateway.Message, error) {
	m, err := l.store.Update(ctx, f.TenantKey, id, &f, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Abandon(l.now(), instance), nil
	})
	if err != nil {
		return gateway.Message{}, fmt.Errorf("take over message %s: %w", id, err)
	}
	return m, nil
}
