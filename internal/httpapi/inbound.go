package httpapi

import (
	"context"
	"encoding/base64"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// Inbound is what a tenant's number has received.
type Inbound interface {
	Inbound(ctx context.Context, tenantKey int64, id string) (gateway.Inbound, error) // gateway.CodeNotFound
	Inbounds(ctx context.Context, tenantKey int64, f gateway.InboundFilter) ([]gateway.Inbound, error)
}

// ListInbound answers with one page of what was received, newest first.
func (s *Server) ListInbound(c echo.Context, _ string, p spec.ListInboundParams) error {
	if err := onlyQuery(c, "from", "chat", "type", "since", "until", "cursor", "limit"); err != nil {
		return err
	}
	f := gateway.InboundFilter{
		From: recipientFilter(value(p.From)), Chat: value(p.Chat), Since: value(p.Since).UTC(), Till: value(p.Until).UTC(), Limit: defaultPage,
	}
	if p.Type != nil {
		if f.Type = gateway.MessageType(*p.Type); !p.Type.Valid() {
			return gateway.Errorf(gateway.CodeInvalidParameter, "type %q does not exist", *p.Type)
		}
	}
	if p.Limit != nil {
		if f.Limit = *p.Limit; f.Limit < 1 || f.Limit > maxPage {
			return gateway.Errorf(gateway.CodeInvalidParameter, "limit must be 1 to %d", maxPage)
		}
	}
	if p.Cursor != nil {
		before, err := base64.RawURLEncoding.DecodeString(*p.Cursor)
		if err != nil || len(before) == 0 || len(before) > maxID {
			return gateway.Errorf(gateway.CodeInvalidParameter, "cursor is not a nextCursor of this list")
		}
		f.Before = string(before)
	}
	limit := f.Limit
	f.Limit++ // one more tells whether there is another page
	found, err := s.store.Inbounds(c.Request().Context(), callOf(c).tenant.Key, f)
	if err != nil {
		return wrap(err, "list the inbound messages")
	}
	list := struct {
		Data       []gateway.InboundShown `json:"data"`
		NextCursor *string                `json:"nextCursor"`
	}{Data: []gateway.InboundShown{}}
	if len(found) > limit {
		found = found[:limit]
		next := base64.RawURLEncoding.EncodeToString([]byte(found[limit-1].ID))
		list.NextCursor = &next
	}
	for i := range found {
		list.Data = append(list.Data, gateway.InboundView(&found[i]))
	}
	return sendJSON(c, list)
}

// GetInbound answers with one message that was received.
func (s *Server) GetInbound(c echo.Context, _ string, id string) error {
	m, err := s.store.Inbound(c.Request().Context(), callOf(c).tenant.Key, id)
	if err != nil {
		return wrap(err, "read the inbound message")
	}
	return sendJSON(c, gateway.InboundView(&m))
}
