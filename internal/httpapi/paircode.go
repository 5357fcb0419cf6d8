package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// connectByCode asks the owner of a session without a number to pair by a code that phone enters, and waits for it.
func (s *Server) connectByCode(ctx context.Context, holder int64, stored gateway.Session, phone string) (*answer, error) {
	if stored.JID != "" {
		return nil, gateway.Errorf(gateway.CodeAlreadyPaired, "the session has a number; log it out before pairing a phone")
	}
	if s.showsCodeFor(&stored, phone) {
		return codeAnswer(&stored), nil
	}
	leave, err := s.streams.Take(holder) // it looks at the session like a stream does
	if err != nil {
		return nil, noPlace(err, gateway.CodeTooManyWaiters, "requests follow sessions")
	}
	defer leave()
	if err := s.ask(ctx, gateway.Command{TenantKey: stored.TenantKey, Kind: gateway.CommandConnect, Phone: phone}); err != nil {
		return nil, err
	}
	return s.awaitCode(ctx, stored, phone)
}

// awaitCode answers when the session, which was before when the command was written, shows a code for phone or has given up.
// When the time is over first, or the server stops, it answers without a code: the command stands.
func (s *Server) awaitCode(ctx context.Context, before gateway.Session, phone string) (*answer, error) {
	timeout, poll := time.NewTimer(s.opts.CodeWait), time.NewTicker(s.opts.PollInterval)
	defer timeout.Stop()
	defer poll.Stop()
	for over := false; ; {
		now, err := s.readSession(ctx, before.TenantKey)
		switch {
		case err != nil:
			return nil, err
		case s.showsCodeFor(&now, phone):
			return codeAnswer(&now), nil
		case now.State == gateway.SessionUnpaired && !now.Since.Equal(before.Since):
			return nil, gateway.Errorf(gateway.CodeNoPairingCode, "there is no code for this phone: %s", now.Reason)
		case over || now.JID != "": // or paired in another way meanwhile
			return jsonAnswer(http.StatusAccepted, spec.ConnectAnswer{State: spec.SessionState(now.State)}), nil
		}
		select {
		case <-poll.C:
		case <-timeout.C:
			over = true
		case <-s.stopping:
			over = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Server) showsCodeFor(session *gateway.Session, phone string) bool {
	return s.showsCode(session) && session.PairingPhone == phone
}

func codeAnswer(session *gateway.Session) *answer {
	expires := session.PairingExpiresAt.UTC()
	return jsonAnswer(http.StatusAccepted, spec.ConnectAnswer{
		State: spec.SessionState(session.State), PairingCode: &session.PairingCode, ExpiresAt: &expires,
	})
}

// parsePhone normalises a phone number with its country code to E.164 digits. Its errors are about /phone.
func parsePhone(number string) (string, error) {
	if number == "" {
		return "", gateway.FieldErrorf(gateway.CodeInvalidBody, "/phone", "/phone is required with method code")
	}
	digits := strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "").Replace(strings.TrimPrefix(strings.TrimSpace(number), "+"))
	malformed := strings.Trim(digits, "0123456789") != "" || strings.HasPrefix(digits, "0")
	parsed, err := phonenumbers.Parse("+"+digits, "")
	if malformed || err != nil || !phonenumbers.IsPossibleNumber(parsed) || phonenumbers.Format(parsed, phonenumbers.E164) != "+"+digits {
		return "", gateway.FieldErrorf(gateway.CodeInvalidRecipient, "/phone", "/phone must be a phone number with its country code, like +49 151 12345678")
	}
	return digits, nil
}
