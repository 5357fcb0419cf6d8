package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	defaultPage = 50
	maxPage     = 200
	maxIDs      = 1000
)

// PostMessage accepts a message without a file.
func (s *Server) PostMessage(c echo.Context, _ string, _ spec.PostMessageParams) error {
	var req gateway.TextRequest
	return s.post(c, func(d *strictjson.Decoder) error { return decodeText(d, &req) },
		func(ctx context.Context, done *gateway.IdempotencyCompletion) (*answer, error) {
			return accept(done, func() (gateway.Message, error) { return s.intake.Text(ctx, callOf(c).tenant, req, done) })
		})
}

func decodeText(d *strictjson.Decoder, req *gateway.TextRequest) error {
	if d == nil {
		return noBody()
	}
	var to, text bool
	err := d.Object(func(name string) error {
		switch name {
		case "to":
			to = true
			return required(d, &req.To, maxRecipient, gateway.CodeInvalidRecipient)
		case "message":
			text = true
			return required(d, &req.Text, gateway.MaxTextBytes, gateway.CodeInvalidMessage)
		}
		if known, err := content(d, name, req); known {
			return err
		}
		return option(d, name, &req.SendOptions)
	})
	switch {
	case err != nil:
		return err
	case !to:
		return missing("/to")
	case !text && req.Location == nil && req.Contacts == nil && req.Reaction == nil:
		return missing("/message")
	}
	return nil
}

// accept answers for an accepted message. With a key, the answer was rendered inside the accepting transaction.
func accept(done *gateway.IdempotencyCompletion, do func() (gateway.Message, error)) (*answer, error) {
	var kept *answer
	if done != nil {
		done.Answer = func(messages []*gateway.Message) (gateway.IdempotencyAnswer, error) {
			kept = accepted(messages[0])
			return kept.IdempotencyAnswer, nil
		}
	}
	m, err := do()
	if err != nil {
		return nil, wrap(err, "accept the message")
	}
	if kept != nil {
		kept.kept = true
		return kept, nil
	}
	return accepted(&m), nil
}

func accepted(m *gateway.Message) *answer {
	return &answer{IdempotencyAnswer: gateway.IdempotencyAnswer{
		Status: http.StatusAccepted,
		Header: map[string]string{"Content-Type": mimeJSON, "Location": "/api/" + m.TenantID + "/messages/" + m.ID},
		Body:   appendMessage(make([]byte, 0, 1024+len(m.Text)), m),
	}}
}

// GetMessage answers with a message, at once or when it has come as far as asked.
func (s *Server) GetMessage(c echo.Context, _ string, id string, params spec.GetMessageParams) error {
	if err := onlyQuery(c, "wait", "until"); err != nil {
		return err
	}
	wait, until, err := waitParams(params)
	if err != nil {
		return err
	}
	ctx, tenant := c.Request().Context(), callOf(c).tenant.Key
	m, err := s.store.Message(ctx, tenant, id)
	if err != nil {
		return wrap(err, "read the message")
	}
	if wait > 0 && !reached(m.Status, until) {
		if err := s.waits.wait(ctx, s.stopping, callOf(c).holder(), m.ID, until, wait); err != nil {
			return err
		}
		if m, err = s.store.Message(ctx, tenant, id); err != nil {
			return wrap(err, "read the message again")
		}
	}
	shown := message(&m)
	if shown.Queue, err = s.place(ctx, &m); err != nil {
		return err
	}
	return sendJSON(c, shown)
}

func waitParams(p spec.GetMessageParams) (wait time.Duration, until gateway.Status, err error) {
	until = gateway.StatusDelivered
	if p.Until != nil {
		if !p.Until.Valid() {
			return 0, "", gateway.Errorf(gateway.CodeInvalidParameter, "until must be sending, sent, delivered or read")
		}
		until = gateway.Status(*p.Until)
	}
	if p.Wait == nil {
		return 0, until, nil
	}
	if seconds, atoiErr := strconv.Atoi(*p.Wait); atoiErr == nil && seconds >= 0 && seconds <= int(maxWait/time.Second) {
		return time.Duration(seconds) * time.Second, until, nil
	}
	if wait, err = time.ParseDuration(*p.Wait); err != nil || wait < 0 || wait > maxWait {
		return 0, "", gateway.Errorf(gateway.CodeInvalidParameter, "wait must be a duration such as 30s, %s at most", maxWait)
	}
	return wait, until, nil
}

// ListMessageEvents answers with a message's history.
func (s *Server) ListMessageEvents(c echo.Context, _ string, id string) error {
	ctx, tenant := c.Request().Context(), callOf(c).tenant.Key
	if _, err := s.store.Message(ctx, tenant, id); err != nil {
		return wrap(err, "read the message")
	}
	events, err := s.store.Events(ctx, tenant, id)
	if err != nil {
		return wrap(err, "read the message's events")
	}
	list := spec.EventList{Data: make([]spec.Event, len(events))}
	for i, e := range events {
		list.Data[i] = spec.Event{Status: spec.Status(e.Status), At: e.At.UTC(), Detail: orNull(e.Detail)}
	}
	return sendJSON(c, list)
}

// ListMessages answers with one page of messages, newest first.
func (s *Server) ListMessages(c echo.Context, _ string, p spec.ListMessagesParams) error {
	if err := onlyQuery(c, "status", "to", "type", "bulkId", "reference", "from", "until", "cursor", "limit"); err != nil {
		return err
	}
	filter, err := messageFilter(p)
	if err != nil {
		return err
	}
	limit := filter.Limit
	filter.Limit++ // one more tells whether there is another page
	found, err := s.store.Messages(c.Request().Context(), callOf(c).tenant.Key, filter)
	if err != nil {
		return wrap(err, "list the messages")
	}
	var list spec.MessageList
	if len(found) > limit {
		found = found[:limit]
		next := writeCursor(found[limit-1].Seq)
		list.NextCursor = &next
	}
	list.Data = make([]spec.Message, len(found))
	for i := range found {
		list.Data[i] = message(&found[i])
	}
	return sendJSON(c, list)
}

func messageFilter(p spec.ListMessagesParams) (gateway.MessageFilter, error) {
	f := gateway.MessageFilter{
		To: recipientFilter(value(p.To)), BulkID: value(p.BulkId), Reference: value(p.Reference),
		From: value(p.From).UTC(), Until: value(p.Until).UTC(), Limit: defaultPage,
	}
	if p.Status != nil {
		if f.Status = gateway.Status(*p.Status); !p.Status.Valid() {
			return f, gateway.Errorf(gateway.CodeInvalidParameter, "status %q does not exist", *p.Status)
		}
	}
	if p.Type != nil {
		if f.Type = gateway.MessageType(*p.Type); !p.Type.Valid() {
			return f, gateway.Errorf(gateway.CodeInvalidParameter, "type %q does not exist", *p.Type)
		}
	}
	if p.Limit != nil {
		if f.Limit = *p.Limit; f.Limit < 1 || f.Limit > maxPage {
			return f, gateway.Errorf(gateway.CodeInvalidParameter, "limit must be 1 to %d", maxPage)
		}
	}
	if p.Cursor != nil {
		before, ok := readCursor(*p.Cursor)
		if !ok {
			return f, gateway.Errorf(gateway.CodeInvalidParameter, "cursor is not a nextCursor of this list")
		}
		f.Before = before
	}
	return f, nil
}

// recipientFilter brings a number to the digits that are stored; a + arrives as a space.
func recipientFilter(to string) string {
	if gateway.IsJID(to) {
		return to
	}
	return strings.NewReplacer("+", "", " ", "", "-", "").Replace(to)
}

const cursorPrefix = "s:"

func writeCursor(seq int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + strconv.FormatInt(seq, 10)))
}

func readCursor(cursor string) (seq int64, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, false
	}
	digits, ok := strings.CutPrefix(string(raw), cursorPrefix)
	if !ok {
		return 0, false
	}
	seq, err = strconv.ParseInt(digits, 10, 64)
	return seq, err == nil && seq > 0
}

// onlyQuery refuses query parameters that do not exist: a misspelt filter would list everything.
func onlyQuery(c echo.Context, known ...string) error {
	for name := range c.QueryParams() {
		exists := false
		for _, k := range known {
			exists = exists || k == name
		}
		if !exists {
			return gateway.Errorf(gateway.CodeInvalidParameter, "there is no parameter %q", name)
		}
	}
	return nil
}

// PostMessageStatuses answers with the statuses of many messages.
func (s *Server) PostMessageStatuses(c echo.Context, _ string, _ spec.PostMessageStatusesParams) error {
	var ids []string
	return s.post(c, func(d *strictjson.Decoder) (err error) { ids, err = decodeIDs(d); return err },
		func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
			found, err := s.store.MessagesByID(ctx, callOf(c).tenant.Key, ids)
			if err != nil {
				return nil, wrap(err, "read the messages")
			}
			return jsonAnswer(http.StatusOK, statusList(ids, found)), nil
		})
}

// decodeIDs reads {"ids": [...]} and leaves out repetitions.
func decodeIDs(d *strictjson.Decoder) ([]string, error) {
	if d == nil {
		return nil, noBody()
	}
	var ids []string
	seen := map[string]bool{}
	err := d.Object(func(name string) error {
		if name != "ids" {
			return d.UnknownField()
		}
		return d.Array(maxIDs, func() error {
			var id string
			if err := required(d, &id, maxID, gateway.CodeInvalidBody); err != nil {
				return err
			}
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
			return nil
		})
	})
	if err == nil && len(ids) == 0 {
		err = gateway.FieldErrorf(gateway.CodeInvalidBody, "/ids", "/ids must hold 1 to %d ids", maxIDs)
	}
	return ids, err
}

func statusList(ids []string, found []gateway.Message) spec.StatusList {
	byID := make(map[string]*gateway.Message, len(found))
	for i := range found {
		byID[found[i].ID] = &found[i]
	}
	list := spec.StatusList{Data: make([]spec.MessageStatus, 0, len(found)), Missing: []string{}}
	for _, id := range ids {
		m := byID[id]
		if m == nil {
			list.Missing = append(list.Missing, id)
			continue
		}
		list.Data = append(list.Data, spec.MessageStatus{
			Id: m.ID, Status: spec.Status(m.Status), UpdatedAt: m.UpdatedAt.UTC(), Error: failure(m.Error),
		})
	}
	return list
}

// CancelMessage ends a message that nobody has claimed.
func (s *Server) CancelMessage(c echo.Context, _ string, id string, _ spec.CancelMessageParams) error {
	return s.post(c, nothing, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		m, err := s.ledger.Cancel(ctx, callOf(c).tenant.Key, id)
		if err != nil {
			return nil, wrap(err, "cancel the message")
		}
		return jsonAnswer(http.StatusOK, message(&m)), nil
	})
}

// RetryMessage accepts a new message in place of one that ended without success.
func (s *Server) RetryMessage(c echo.Context, _ string, id string, _ spec.RetryMessageParams) error {
	var force bool
	decode := func(d *strictjson.Decoder) (err error) { force, err = decodeForce(d); return err }
	return s.post(c, decode, func(ctx context.Context, done *gateway.IdempotencyCompletion) (*answer, error) {
		return accept(done, func() (gateway.Message, error) {
			return s.intake.Retry(ctx, callOf(c).tenant, id, force, done)
		})
	})
}

func decodeForce(d *strictjson.Decoder) (force bool, err error) {
	if d == nil {
		return false, nil
	}
	err = d.Object(func(name string) (err error) {
		if name != "force" {
			return d.UnknownField()
		}
		force, err = d.Bool()
		return err
	})
	return force, err
}
