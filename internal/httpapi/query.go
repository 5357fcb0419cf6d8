package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// Questions are what only WhatsApp knows, asked through the owner of the session.
type Questions interface {
	Ask(ctx context.Context, q gateway.Query) error // gateway.CodeRateLimited: too many wait already
	Query(ctx context.Context, tenantKey int64, id string) (gateway.Query, error)
	// LastQuery is nil when none of the kind was answered since.
	LastQuery(ctx context.Context, tenantKey int64, kind gateway.QueryKind, since time.Time) (*gateway.Query, error)
	// NumberChecks reads what is known about numbers since, and how many were asked about in the last hour.
	NumberChecks(ctx context.Context, tenantKey int64, numbers []string, since time.Time) (map[string]gateway.NumberCheck, int, error)
}

// question asks the owner of the tenant's session and waits for its answer. The session must be online: nothing waits for it to become so.
func (s *Server) question(ctx context.Context, k *call, kind gateway.QueryKind, question string, patience time.Duration) (string, error) {
	stored, err := s.readSession(ctx, k.tenant.Key)
	if err != nil {
		return "", err
	}
	if stored.State != gateway.SessionOnline {
		return "", gateway.Errorf(gateway.CodeSessionOffline, "the session is %s; GET .../session says why", stored.State)
	}
	leave, err := s.streams.Take(k.holder()) // it looks at its question like a stream does
	if err != nil {
		return "", noPlace(err, gateway.CodeTooManyWaiters, "requests follow sessions")
	}
	defer leave()
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	q := gateway.Query{ID: id.String(), TenantKey: k.tenant.Key, Kind: kind, Question: question}
	if err := s.store.Ask(ctx, q); err != nil {
		return "", wrap(err, "ask the session's owner")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	poll := time.NewTicker(s.opts.PollInterval)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
		case <-s.stopping:
			return "", noAnswer()
		case <-ctx.Done():
			return "", noAnswer()
		}
		q, err := s.store.Query(ctx, k.tenant.Key, q.ID)
		switch {
		case ctx.Err() != nil:
			return "", noAnswer()
		case err != nil:
			return "", wrap(err, "read the answer")
		case q.Answered.IsZero():
		case q.Code != "":
			return "", gateway.Errorf(q.Code, "%s", q.Detail)
		default:
			return q.Answer, nil
		}
	}
}

func noAnswer() error {
	return gateway.Errorf(gateway.CodeUnavailable, "the session's owner did not answer in time; ask again")
}

// CheckNumbers tells which numbers are on WhatsApp.
func (s *Server) CheckNumbers(c echo.Context, _ string, _ spec.CheckNumbersParams) error {
	var numbers []string
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return noBody()
		}
		err := d.Object(func(name string) error {
			if name != "numbers" {
				return d.UnknownField()
			}
			return d.Array(gateway.MaxNumberCheck, func() error {
				var given string
				if err := required(d, &given, maxRecipient, gateway.CodeInvalidRecipient); err != nil {
					return err
				}
				number, err := s.number(given)
				if err != nil {
					return gateway.FieldErrorf(gateway.CodeInvalidRecipient, d.Pointer(), "%s", err.Error())
				}
				if !slices.Contains(numbers, number) {
					numbers = append(numbers, number)
				}
				return nil
			})
		})
		if err == nil && len(numbers) == 0 {
			err = gateway.FieldErrorf(gateway.CodeInvalidBody, "/numbers", "/numbers must hold 1 to %d numbers", gateway.MaxNumberCheck)
		}
		return err
	}
	return s.post(c, decode, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		checks, err := s.checkNumbers(ctx, callOf(c), numbers)
		if err != nil {
			return nil, err
		}
		list := spec.NumberList{Data: make([]spec.Number, len(checks))}
		for i, check := range checks {
			list.Data[i] = numberModel(check)
		}
		return jsonAnswer(http.StatusOK, list), nil
	})
}

// GetNumber tells whether one number is on WhatsApp.
func (s *Server) GetNumber(c echo.Context, _, given string) error {
	if raw, err := url.PathUnescape(given); err == nil {
		given = raw
	}
	number, err := s.number(given)
	if err != nil {
		return gateway.Errorf(gateway.CodeInvalidRecipient, "%s", err.Error())
	}
	checks, err := s.checkNumbers(c.Request().Context(), callOf(c), []string{number})
	if err != nil {
		return err
	}
	return sendJSON(c, numberModel(checks[0]))
}

// number normalises a phone number; its errors may be shown.
func (s *Server) number(given string) (string, error) {
	number, err := s.intake.Recipient(given)
	if err == nil && gateway.IsJID(number) {
		err = errors.New("this must be a phone number")
	}
	return number, err
}

func numberModel(c gateway.NumberCheck) spec.Number {
	return spec.Number{Number: c.Number, OnWhatsApp: c.OnWhatsApp, Jid: orNull(c.JID), CheckedAt: c.CheckedAt.UTC()}
}

// checkNumbers answers from what is known, and asks WhatsApp about the rest.
func (s *Server) checkNumbers(ctx context.Context, k *call, numbers []string) ([]gateway.NumberCheck, error) {
	known, lastHour, err := s.store.NumberChecks(ctx, k.tenant.Key, numbers, s.opts.Clock().Add(-gateway.NumberCheckAge))
	if err != nil {
		return nil, wrap(err, "look up numbers")
	}
	var unknown []string
	for _, number := range numbers {
		if _, ok := known[number]; !ok {
			unknown = append(unknown, number)
		}
	}
	if len(unknown) > 0 {
		if lastHour+len(unknown) > gateway.NumbersPerHour {
			return nil, gateway.Errorf(gateway.CodeRateLimited, "WhatsApp is asked about %d numbers in an hour at most", gateway.NumbersPerHour)
		}
		question, err := json.Marshal(unknown)
		if err != nil {
			return nil, fmt.Errorf("write a question: %w", err)
		}
		answer, err := s.question(ctx, k, gateway.QueryNumbers, string(question), gateway.QueryPatience)
		if err != nil {
			return nil, err
		}
		var checks []gateway.NumberCheck
		if err := json.Unmarshal([]byte(answer), &checks); err != nil {
			return nil, fmt.Errorf("read an answer: %w", err)
		}
		for _, check := range checks {
			known[check.Number] = check
		}
	}
	list := make([]gateway.NumberCheck, len(numbers))
	for i, number := range numbers {
		check, ok := known[number]
		if !ok {
			return nil, noAnswer()
		}
		list[i] = check
	}
	return list, nil
}

// ListJoinedGroups tells which groups the number is in.
func (s *Server) ListJoinedGroups(c echo.Context, _ string) error {
	ctx, tenant := c.Request().Context(), callOf(c).tenant.Key
	last, err := s.store.LastQuery(ctx, tenant, gateway.QueryGroups, s.opts.Clock().Add(-gateway.GroupsAge))
	if err != nil {
		return wrap(err, "look up the groups")
	}
	found := ""
	if last != nil {
		found = last.Answer
	} else if found, err = s.question(ctx, callOf(c), gateway.QueryGroups, "", gateway.QueryPatience); err != nil {
		return err
	}
	var groups []gateway.Group
	if err := json.Unmarshal([]byte(found), &groups); err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	list := spec.GroupList{Data: make([]spec.JoinedGroup, len(groups))}
	for i, g := range groups {
		list.Data[i] = spec.JoinedGroup{Jid: g.JID, Name: g.Name, Participants: g.Participants, CreatedAt: g.CreatedAt.UTC(), AdminsOnly: g.AdminsOnly}
	}
	return sendJSON(c, list)
}

// GetInboundMedia answers with the file of a message that was received, which the session's owner fetches when the hub does not have it.
func (s *Server) GetInboundMedia(c echo.Context, _ string, id string) error {
	ctx, tenant := c.Request().Context(), callOf(c).tenant.Key
	m, err := s.store.Inbound(ctx, tenant, id)
	switch {
	case err != nil:
		return wrap(err, "read the inbound message")
	case m.Media == nil:
		return gateway.Errorf(gateway.CodeNotFound, "a message of type %s has no file", m.Type)
	case m.Media.SHA256 == "":
		return gateway.Errorf(gateway.CodeMediaExpired, "the message does not say where its file is")
	case m.Media.Size > gateway.MaxMediaBytes:
		return gateway.Errorf(gateway.CodeMediaTooLarge, "the file is larger than %d bytes", gateway.MaxMediaBytes)
	}
	// The hash is the sender's word, and another tenant may have that file (I7): until this message's own was fetched, nobody looks whether it is there.
	var file *os.File
	if m.HasFile(s.opts.Clock()) {
		file, _ = s.media.Open(ctx, m.Media.SHA256) // what is gone is fetched again
	}
	if file == nil {
		if _, err := s.question(ctx, callOf(c), gateway.QueryMedia, m.ID, gateway.MediaPatience); err != nil {
			return err
		}
		if file, err = s.media.Open(ctx, m.Media.SHA256); err != nil {
			return wrap(err, "open the file that was fetched")
		}
	}
	defer file.Close() //nolint:errcheck // only read
	return sendFile(c, &m, file)
}

// sendFile answers with bytes that a stranger made: no browser is to show them as a page of ours.
func sendFile(c echo.Context, m *gateway.Inbound, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("look at the file: %w", err)
	}
	kind := echo.MIMEOctetStream
	if parsed, _, err := mime.ParseMediaType(m.Media.MimeType); err == nil {
		kind = parsed
	}
	name := m.Media.Filename
	if name == "" {
		name = m.ID
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, kind)
	h.Set(echo.HeaderContentLength, fmt.Sprint(info.Size()))
	h.Set(echo.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set(echo.HeaderContentSecurityPolicy, "sandbox; default-src 'none'")
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	c.Response().WriteHeader(http.StatusOK)
	if _, err := io.Copy(c.Response(), file); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	return nil
}
