package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

const (
	defaultEvents, maxEvents = 100, 500
	headerLastEvent          = "Last-Event-ID"
)

// Notices is what has happened, in the order of the stream of a tenant.
type Notices interface {
	// Listen begins the stream, or goes on with it, and returns the place of its last event.
	Listen(ctx context.Context, tenantKey int64) (last int64, err error)
	// Notices reads those behind a place, oldest first, that one of filters names; none of them name all.
	Notices(ctx context.Context, tenantKey, after int64, filters []string, limit int) ([]gateway.Notice, error)
	// NoticesFrom is the place behind which all are kept.
	NoticesFrom(ctx context.Context, tenantKey int64) (pos int64, err error)
}

// ListEvents answers with a page of what has happened, or streams what does.
func (s *Server) ListEvents(c echo.Context, _ string, p spec.ListEventsParams) error {
	if err := onlyQuery(c, "after", "types", "limit"); err != nil {
		return err
	}
	ctx, tenant := c.Request().Context(), callOf(c).tenant.Key
	limit, filters, err := eventParams(p)
	if err != nil {
		return err
	}
	stream := strings.Contains(c.Request().Header.Get(echo.HeaderAccept), "text/event-stream")
	cursor := ""
	if p.After != nil {
		cursor = *p.After
	}
	if last := c.Request().Header.Get(headerLastEvent); stream && last != "" {
		cursor = last
	}
	var after int64
	if cursor != "" {
		if after, err = gateway.NoticePos(cursor); err != nil {
			return err
		}
	}
	last, err := s.store.Listen(ctx, tenant)
	if err != nil {
		return wrap(err, "listen to events")
	}
	if stream {
		if cursor == "" {
			after = last
		}
		return s.streamEvents(c, tenant, after, last, filters)
	}
	begin, ahead := beginning(after, last)
	next, err := s.lookForEvents(ctx, tenant, begin, last, filters, limit)
	if err != nil {
		return err
	}
	page := struct {
		Data       []json.RawMessage `json:"data"`
		NextCursor string            `json:"nextCursor"`
		Gap        bool              `json:"gap"`
	}{make([]json.RawMessage, len(next.found)), cursor, false}
	for i, n := range next.found {
		page.Data[i], page.NextCursor = n.Body(), n.ID
	}
	if n := len(next.found); cursor == "" && n == 0 || next.pos != after && (n == 0 || next.pos > next.found[n-1].Pos) {
		page.NextCursor = gateway.NoticeID(next.pos)
	}
	if page.Gap, err = s.eventsAreGone(ctx, tenant, begin, next); err != nil {
		return err
	}
	page.Gap = page.Gap || ahead
	return sendJSON(c, page)
}

// beginning is where a reader goes on that has come to the place after: there, or, when the stream has not come so far, with the oldest that is kept. Then
// the database is a restored one, and has forgotten what the reader has seen last.
func beginning(after, last int64) (begin int64, ahead bool) {
	if after > last {
		return 0, true
	}
	return after, false
}

// newEvents are the events behind a place that somebody wants.
type newEvents struct {
	found []gateway.Notice
	pos   int64 // nobody wants what lies between the last of them and this place
	full  bool  // there may be more already
}

// lookForEvents reads what lies behind a place. last was the place of the stream's last event before: when all that is wanted was found, the next
// look begins behind it, however rarely an event is wanted.
func (s *Server) lookForEvents(ctx context.Context, tenantKey, after, last int64, filters []string, limit int) (newEvents, error) {
	if after == last {
		return newEvents{pos: after}, nil
	}
	found, err := s.store.Notices(ctx, tenantKey, after, filters, limit)
	if err != nil {
		return newEvents{}, wrap(err, "read the events")
	}
	next := newEvents{found: found, pos: after, full: len(found) == limit}
	if len(found) > 0 {
		next.pos = found[len(found)-1].Pos
	}
	if !next.full {
		next.pos = max(next.pos, last)
	}
	return next, nil
}

// eventsAreGone tells whether events that follow a place were removed before they were asked for. It is asked after next was read from there, so that none
// that is removed meanwhile is missed silently.
func (s *Server) eventsAreGone(ctx context.Context, tenantKey, after int64, next newEvents) (bool, error) {
	if after == 0 || next.pos == after {
		return false, nil
	}
	from, err := s.store.NoticesFrom(ctx, tenantKey)
	if err != nil {
		return false, wrap(err, "look for the oldest event")
	}
	return after < from, nil
}

func eventParams(p spec.ListEventsParams) (limit int, filters []string, err error) {
	limit = defaultEvents
	if p.Limit != nil {
		if limit = *p.Limit; limit < 1 || limit > maxEvents {
			return 0, nil, gateway.Errorf(gateway.CodeInvalidParameter, "limit must be 1 to %d", maxEvents)
		}
	}
	if p.Types != nil {
		if filters = strings.Split(*p.Types, ","); len(filters) > gateway.MaxWebhookEvents {
			return 0, nil, gateway.Errorf(gateway.CodeInvalidParameter, "types names at most %d kinds", gateway.MaxWebhookEvents)
		}
		for _, f := range filters {
			if !gateway.ValidEventFilter(f) {
				return 0, nil, gateway.Errorf(gateway.CodeInvalidParameter, "%q is no kind of event; kinds are such as message.sent, message.* or *", f)
			}
		}
	}
	return limit, filters, nil
}

// streamEvents sends what lies behind a place, and then what happens. An id without an event tells its reader where to go on after what it did not want.
func (s *Server) streamEvents(c echo.Context, tenantKey, after, last int64, filters []string) error {
	out, err := s.openStream(c, s.opts.StreamPoll)
	if err != nil {
		return err
	}
	defer out.end()
	ctx := c.Request().Context()
	gap := func(after int64) error { return out.event("gap", map[string]string{"after": gateway.NoticeID(after)}) }
	if begin, ahead := beginning(after, last); ahead {
		if err := gap(after); err != nil {
			return err
		}
		after = begin
	}
	if after == last {
		if err := out.send("id: " + gateway.NoticeID(after) + "\n\n"); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		next, err := s.lookForEvents(ctx, tenantKey, after, last, filters, defaultEvents)
		if err != nil {
			return s.endOfStream(ctx, err)
		}
		if first {
			gone, err := s.eventsAreGone(ctx, tenantKey, after, next)
			if err != nil {
				return s.endOfStream(ctx, err)
			}
			if gone {
				if err := gap(after); err != nil {
					return err
				}
			}
		}
		for _, n := range next.found {
			if err := out.send(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", n.ID, n.Kind, n.Body())); err != nil {
				return err
			}
			after = n.Pos
		}
		if next.pos != after {
			after = next.pos
			if err := out.send("id: " + gateway.NoticeID(after) + "\n\n"); err != nil {
				return err
			}
		}
		if next.full {
			select {
			case <-s.stopping:
				return nil
			default:
				continue // there may be more already
			}
		}
		if over, err := s.nextLook(ctx, out); over || err != nil {
			return err
		}
		if last, err = s.store.Listen(ctx, tenantKey); err != nil {
			return s.endOfStream(ctx, err)
		}
		if _, ahead := beginning(after, last); ahead {
			return nil // the database was restored meanwhile: the reader comes again, and is told
		}
	}
}
