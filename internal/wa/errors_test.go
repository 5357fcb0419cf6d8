package wa

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/socket"

	"github.com/wapro/hub/internal/gateway"
)

func TestFailuresAreToldInTheDomainsTerms(t *testing.T) {
	t.Parallel()
	const (
		before   = iota // SendMessage was not reached, or failed before the write
		written         // the stanza was written, the wait for its acknowledgement is not over
		answered        // the wait is over
		replayed        // the connection broke and the stanza was written again
	)
	for name, c := range map[string]struct {
		stage  int
		group  bool
		upload int
		store  error
		err    error
		want   gateway.SendError
	}{
		"not connected":           {err: errOffline, want: gateway.SendError{Cause: gateway.CauseOffline}},
		"socket gone before":      {stage: written, err: fmt.Errorf("failed to send message node: %w", whatsmeow.ErrNotConnected), want: gateway.SendError{Cause: gateway.CauseOffline}},
		"socket closed before":    {stage: written, err: fmt.Errorf("x: %w", socket.ErrSocketClosed), want: gateway.SendError{Cause: gateway.CauseOffline}},
		"socket gone at replay":   {stage: answered, err: whatsmeow.ErrNotConnected, want: gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true}},
		"write failed":            {stage: written, err: errors.New("broken pipe"), want: gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true}},
		"no reconnect in time":    {stage: replayed, err: &whatsmeow.DisconnectedError{Action: "message send"}, want: gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true}},
		"query cut off":           {err: fmt.Errorf("x: %w", &whatsmeow.DisconnectedError{Action: "info query"}), want: gateway.SendError{Cause: gateway.CauseDisconnected}},
		"no ack":                  {stage: written, err: whatsmeow.ErrMessageTimedOut, want: gateway.SendError{Cause: gateway.CauseTimeout, OnWire: true}},
		"deadline before":         {err: fmt.Errorf("x: %w", context.DeadlineExceeded), want: gateway.SendError{Cause: gateway.CauseTimeout}},
		"query without an answer": {err: whatsmeow.ErrIQTimedOut, want: gateway.SendError{Cause: gateway.CauseTimeout}},
		"stopped":                 {stage: written, err: context.Canceled, want: gateway.SendError{Cause: gateway.CauseStopped, OnWire: true}},
		"ack error":               {stage: answered, err: fmt.Errorf("%w 463", whatsmeow.ErrServerReturnedError), want: gateway.SendError{Cause: gateway.CauseAck, Server: 463}},
		"ack error at replay":     {stage: replayed, err: fmt.Errorf("%w 500", whatsmeow.ErrServerReturnedError), want: gateway.SendError{Cause: gateway.CauseAck, Server: 500, OnWire: true}},
		"usync limit":             {err: fmt.Errorf("x: %w", &whatsmeow.IQError{Code: 429}), want: gateway.SendError{Cause: gateway.CauseIQ, Server: 429}},
		"not on WhatsApp":         {err: errNotOnWhatsApp, want: gateway.SendError{Cause: gateway.CauseNotOnWhatsApp}},
		"unreached":               {err: fmt.Errorf("x: %w", errUnreached), want: gateway.SendError{Cause: gateway.CauseNoCiphertext}},
		"unreached, acknowledged": {stage: answered, err: errUnreached, want: gateway.SendError{Cause: gateway.CauseNoCiphertext}},
		"unreached group":         {stage: answered, group: true, err: errUnreached, want: gateway.SendError{Cause: gateway.CauseNoCiphertext, OnWire: true}},
		"unreached by our fault":  {err: errUnreached, store: errors.New("disk full"), want: gateway.SendError{Cause: gateway.CauseStore}},
		"unreached by the fence":  {err: errUnreached, store: fmt.Errorf("x: %w", gateway.ErrFenced), want: gateway.SendError{Cause: gateway.CauseFenced}},
		"fenced":                  {err: fmt.Errorf("x: %w", gateway.ErrFenced), want: gateway.SendError{Cause: gateway.CauseFenced}},
		"store":                   {err: fmt.Errorf("x: %w", &storeError{what: "y", err: errors.New("z")}), want: gateway.SendError{Cause: gateway.CauseStore}},
		"no such group":           {err: fmt.Errorf("x: %w", whatsmeow.ErrGroupNotFound), want: gateway.SendError{Cause: gateway.CauseGroup}},
		"not in the group":        {err: fmt.Errorf("x: %w", whatsmeow.ErrNotInGroup), want: gateway.SendError{Cause: gateway.CauseGroup}},
		"file":                    {err: &mediaError{err: errors.New("gone")}, want: gateway.SendError{Cause: gateway.CauseMedia}},
		"upload":                  {upload: 500, err: &uploadError{err: errors.New("status code 500")}, want: gateway.SendError{Cause: gateway.CauseUpload, Server: 500}},
		"upload address":          {err: &uploadError{err: &whatsmeow.IQError{Code: 503}}, want: gateway.SendError{Cause: gateway.CauseUpload, Server: 503}},
		"upload while offline":    {err: &uploadError{err: whatsmeow.ErrNotConnected}, want: gateway.SendError{Cause: gateway.CauseOffline}},
		"unheard of":              {err: errors.New("x"), want: gateway.SendError{Cause: gateway.CauseInternal}},
	} {
		a := &attempt{group: c.group, proof: &proof{storeErr: c.store}, uploadStatus: c.upload}
		if c.stage >= written {
			a.timings.Send = time.Millisecond
		}
		if c.stage >= answered {
			a.timings.Resp = time.Millisecond
		}
		if c.stage >= replayed {
			a.timings.Retry = time.Millisecond
		}
		got := a.sendError(c.err)
		if got.Cause != c.want.Cause || got.Server != c.want.Server || got.OnWire != c.want.OnWire {
			t.Errorf("%s: %s (server %d, on wire %t); want %s (server %d, on wire %t)", name,
				got.Cause, got.Server, got.OnWire, c.want.Cause, c.want.Server, c.want.OnWire)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%s: the cause %v is lost", name, c.err)
		}
	}
}

func FuzzAckCodeNeverInventsANumber(f *testing.F) {
	f.Add("server returned error 463")
	f.Add("server returned error")
	f.Fuzz(func(t *testing.T, text string) {
		code := ackCode(errors.New(text))
		if code != 0 && text != fmt.Sprintf("server returned error %d", code) && !hasLeadingZero(text) {
			t.Errorf("ackCode(%q) = %d", text, code)
		}
	})
}

func hasLeadingZero(text string) bool {
	const prefix = "server returned error 0"
	return len(text) > len(prefix) && text[:len(prefix)] == prefix
}
