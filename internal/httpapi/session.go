package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// leaseGrace is how far a lease may have run out by our clock before a session counts as nobody's: our clock is not
// the database's.
const leaseGrace = 5 * time.Second

// GetSession answers with the session and what waits for it.
func (s *Server) GetSession(c echo.Context, _ string) error {
	shown, _, err := s.session(c.Request().Context(), callOf(c).tenant.Key)
	if err != nil {
		return err
	}
	return sendJSON(c, shown)
}

func (s *Server) session(ctx context.Context, tenantKey int64) (spec.Session, gateway.Session, error) {
	stored, err := s.readSession(ctx, tenantKey)
	if err != nil {
		return spec.Session{}, stored, err
	}
	depth, err := s.store.Depth(ctx, tenantKey)
	if err != nil {
		return spec.Session{}, stored, wrap(err, "count what waits")
	}
	shown := spec.Session{
		State: spec.SessionState(stored.State), Reason: orNull(string(stored.Reason)), Hint: orNull(stored.Reason.Hint()),
		Jid: orNull(stored.JID), Number: orNull(stored.Number()), Since: stored.Since.UTC(),
		Queue: spec.QueueState{
			High: depth.High, Normal: depth.Normal, Bulk: depth.Bulk, Paused: stored.QueuePaused, Held: stored.QueueHeld,
		},
	}
	if !depth.OldestSince.IsZero() {
		shown.Queue.OldestSeconds = int64(max(0, s.opts.Clock().Sub(depth.OldestSince)) / time.Second)
	}
	if r := stored.Restriction; r.Kind != gateway.RestrictionNone {
		shown.Restriction = &spec.Restriction{Kind: string(r.Kind), Code: orNull(string(r.Code)), Until: timeOrNull(r.Until), Hint: r.Kind.Hint()}
	}
	return shown, stored, nil
}

// readSession reads the session as it really is: what its owner wrote last is not true any more when the owner is gone.
func (s *Server) readSession(ctx context.Context, tenantKey int64) (gateway.Session, error) {
	stored, err := s.store.Session(ctx, tenantKey)
	if err != nil {
		return stored, wrap(err, "read the session")
	}
	owned := stored.Owner != "" && s.opts.Clock().Before(stored.LeaseUntil.Add(leaseGrace))
	switch stored.State {
	case gateway.SessionOnline, gateway.SessionConnecting, gateway.SessionOffline:
		if !owned {
			stored.State, stored.Reason = gateway.SessionOffline, gateway.ReasonNoWorker
		} else if stored.State == gateway.SessionOnline && stored.QueueHeld {
			stored.Reason = gateway.ReasonBacklogHeld
		}
	case gateway.SessionPairing:
		if !owned {
			stored.Reason, stored.PairingCode = gateway.ReasonNoWorker, ""
		}
	case gateway.SessionUnpaired, gateway.SessionLoggedOut, gateway.SessionBanned, gateway.SessionOutdated, gateway.SessionReplaced:
		// True without an owner.
	}
	return stored, nil
}

// ConnectSession asks the session's owner to pair or to reconnect. Pairing by code, it waits for the code.
func (s *Server) ConnectSession(c echo.Context, _ string, _ spec.ConnectSessionParams) error {
	phone := ""
	return s.post(c, func(d *strictjson.Decoder) error { return decodeConnect(d, &phone) }, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenant := callOf(c).tenant.Key
		stored, err := s.readSession(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if stored.State == gateway.SessionOnline {
			return nil, gateway.Errorf(gateway.CodeAlreadyPaired, "the session is online; log it out before pairing another phone")
		}
		if phone != "" {
			return s.connectByCode(ctx, callOf(c).holder(), stored, phone)
		}
		return s.command(ctx, stored, gateway.CommandConnect)
	})
}

// decodeConnect reads a ConnectRequest: phone is empty unless it asks for pairing by code.
func decodeConnect(d *strictjson.Decoder, phone *string) error {
	if d == nil {
		return nil
	}
	var method, number string
	err := d.Object(func(name string) error {
		switch name {
		case "method":
			if err := required(d, &method, maxKeyword, gateway.CodeInvalidBody); err != nil {
				return err
			}
			if m := spec.PairingMethod(method); !m.Valid() {
				return gateway.FieldErrorf(gateway.CodeInvalidBody, "/method", "/method must be qr or code")
			}
			return nil
		case "phone":
			return optional(d, &number, maxRecipient, gateway.CodeInvalidRecipient)
		}
		return d.UnknownField()
	})
	switch {
	case err != nil:
		return err
	case method != string(spec.Code) && number != "":
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/phone", "/phone goes with method code only")
	case method != string(spec.Code):
		return nil
	}
	*phone, err = parsePhone(number)
	return err
}

// LogoutSession asks the session's owner to unlink the number.
func (s *Server) LogoutSession(c echo.Context, _ string, _ spec.LogoutSessionParams) error {
	return s.post(c, nothing, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		stored, err := s.readSession(ctx, callOf(c).tenant.Key)
		if err != nil {
			return nil, err
		}
		return s.command(ctx, stored, gateway.CommandLogout)
	})
}

func (s *Server) command(ctx context.Context, session gateway.Session, kind gateway.CommandKind) (*answer, error) {
	if err := s.ask(ctx, gateway.Command{TenantKey: session.TenantKey, Kind: kind}); err != nil {
		return nil, err
	}
	return jsonAnswer(http.StatusAccepted, spec.ConnectAnswer{State: spec.SessionState(session.State)}), nil
}

func (s *Server) ask(ctx context.Context, c gateway.Command) error {
	if err := s.store.AddCommand(ctx, c); err != nil {
		return wrap(err, "ask the session's owner")
	}
	return nil
}
