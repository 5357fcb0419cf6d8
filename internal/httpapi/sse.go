package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// writeTime is how long a stream's reader may be stuck before it is given up.
const writeTime = 10 * time.Second

// StreamSessionEvents sends session states and codes as they change, the present ones first.
func (s *Server) StreamSessionEvents(c echo.Context, _ string) error {
	ctx, tenant := c.Request().Context(), callOf(c).tenant.Key
	shown, stored, err := s.session(ctx, tenant)
	if err != nil {
		return err
	}
	out, err := s.openStream(c, s.opts.StreamPoll)
	if err != nil {
		return err
	}
	defer out.end()
	var last streamed
	for {
		if err := s.stream(out, &last, shown, stored); err != nil {
			return err
		}
		for changed := false; !changed; {
			if over, err := s.nextLook(ctx, out); over || err != nil {
				return err
			}
			if stored, err = s.readSession(ctx, tenant); err != nil {
				return s.endOfStream(ctx, err)
			}
			changed = last != s.streamedOf(&stored)
		}
		if shown, stored, err = s.session(ctx, tenant); err != nil {
			return s.endOfStream(ctx, err)
		}
	}
}

// openStream begins to stream, unless too many do; every so often there is to be looked for something new. The caller ends it.
func (s *Server) openStream(c echo.Context, every time.Duration) (*eventStream, error) {
	leave, err := s.streams.Take(callOf(c).holder())
	if err != nil {
		return nil, noPlace(err, gateway.CodeTooManyWaiters, "streams are open")
	}
	out := &eventStream{c: c, poll: time.NewTicker(every), beat: time.NewTicker(s.opts.Heartbeat), leave: leave}
	if err := out.begin(); err != nil {
		out.end()
		return nil, err
	}
	return out, nil
}

// nextLook waits until it is time to look for something new, and shows meanwhile that the stream is alive; over: nobody reads on, or the
// server stops.
func (s *Server) nextLook(ctx context.Context, out *eventStream) (over bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return true, nil // the reader has gone, or the hour is over
		case <-s.stopping:
			return true, nil
		case <-out.beat.C:
			if err := out.send(": still here\n\n"); err != nil {
				return true, err
			}
		case <-out.poll.C:
			return false, nil
		}
	}
}

// endOfStream tells the end of a stream by its reader from one by an error.
func (s *Server) endOfStream(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// streamed is what a stream's reader knows.
type streamed struct {
	state       gateway.SessionState
	reason      gateway.SessionReason
	jid         string
	restriction gateway.RestrictionKind
	code        string
}

func (s *Server) streamedOf(session *gateway.Session) streamed {
	now := streamed{state: session.State, reason: session.Reason, jid: session.JID, restriction: session.Restriction.Kind}
	if s.showsCode(session) {
		now.code = session.PairingCode
	}
	return now
}

// stream sends what is new.
func (s *Server) stream(out *eventStream, last *streamed, shown spec.Session, stored gateway.Session) error {
	now := s.streamedOf(&stored)
	before, after := *last, now
	*last = now
	before.code, after.code = "", ""
	if before != after {
		if err := out.event("state", shown); err != nil {
			return err
		}
	}
	if now.code != "" {
		return out.event("code", codeOf(&stored))
	}
	return nil
}

// eventStream writes server-sent events (WHATWG HTML, 9.2).
type eventStream struct {
	c          echo.Context
	poll, beat *time.Ticker
	leave      func() // gives its place among the streams back
}

func (e *eventStream) begin() error {
	h := e.c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	e.c.Response().WriteHeader(http.StatusOK)
	return e.send("retry: 2000\n\n")
}

func (e *eventStream) event(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("render the event: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, data)
	return e.send(b.String())
}

// end lets the server write what closes the stream, though the deadline of the last event has passed.
func (e *eventStream) end() {
	e.poll.Stop()
	e.beat.Stop()
	e.leave()
	_ = e.deadline()
}

func (e *eventStream) deadline() error {
	err := http.NewResponseController(e.c.Response()).SetWriteDeadline(time.Now().Add(writeTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set the stream's deadline: %w", err)
	}
	return nil
}

// send fails when the stream is over: a slow reader's events are not to be sent on to somebody who may not have them any more.
func (e *eventStream) send(text string) error {
	if err := e.c.Request().Context().Err(); err != nil {
		return fmt.Errorf("go on with the stream: %w", err)
	}
	if err := e.deadline(); err != nil {
		return err
	}
	if _, err := e.c.Response().Write([]byte(text)); err != nil {
		return fmt.Errorf("write to the stream: %w", err)
	}
	if err := http.NewResponseController(e.c.Response()).Flush(); err != nil {
		return fmt.Errorf("flush the stream: %w", err)
	}
	return nil
}
