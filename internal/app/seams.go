package app

import (
	"context"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/fetch"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/relay"
	"github.com/wapro/hub/internal/session"
)

// Database is all that the rooms ask of the store on the way of a message. Options may put something in between: the tests of
// failures do.
type Database interface {
	httpapi.Store
	intake.Accepter
	ledger.Store
	relay.Store
	session.Store
	session.Inbound
	Questions
	dispatch.Contacts
	dispatch.Paces
	fetch.Store
}

// Tickets is all that the rooms ask of the queue, but for its consuming.
type Tickets interface {
	intake.Enqueuer
	relay.Queue
	dispatch.Queue
}

// between applies an Options field that may be nil.
func between[T any](part T, wrap func(T) T) T {
	if wrap == nil {
		return part
	}
	return wrap(part)
}

// restrictions reads a session from the store and writes its restriction through its owner.
type restrictions struct {
	Database
	owner *session.Supervisor
}

// SetRestriction implements dispatch.Sessions.
func (r restrictions) SetRestriction(ctx context.Context, f gateway.Fence, restriction gateway.Restriction) error {
	return r.owner.SetRestriction(ctx, f, restriction)
}
