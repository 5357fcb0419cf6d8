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
		return s.streamEvents(c, tenant, after, filters)
	}
	found, err := s.store.Notices(ctx, tenant, after, filters, limit)
	if err != nil {
		return wrap(err, "read the events")
	}
	page := struct {
		Data       []json.RawMessage `json:"data"`
		NextCursor *string           `json:"nextCursor"`
	}{make([]json.RawMessage, len(found)), orNull(cursor)}
	for i, n := range found {
		page.Data[i], page.NextCursor = n.Body(), &found[i].ID
	}
	return sendJSON(c, page)
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

// streamEvents sends what lies behind a place, and then what happens.
func (s *Server) streamEvents(c echo.Context, tenantKey, after int64, filters []string) error {
	out, err := s.openStream(c, s.opts.StreamPoll)
	if err != nil {
		return err
	}
	defer out.end()
	ctx := c.Request().Context()
	for {
		found, err := s.store.Notices(ctx, tenantKey, after, filters, defaultEvents)
		if err != nil {
			return s.endOfStream(ctx, err)
		}
		for _, n := range found {
			if err := out.send(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", n.ID, n.Kind, n.Body())); err != nil {
				return err
			}
			after = n.Pos
		}
		if len(found) == defaultEvents {
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
	}
}
