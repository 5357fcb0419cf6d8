package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	mimeCSV        = "text/csv"
	maxOptOutCSV   = 8 << 20 // bytes; some 500,000 numbers
	maxInvalidRows = 1000    // rows that an answer names
	defaultOptOuts = 100
)

// OptOuts is the list of those who get no bulk messages.
type OptOuts interface {
	// AddOptOuts takes at most gateway.MaxOptOuts at a time and returns how many were new.
	AddOptOuts(ctx context.Context, tenantKey int64, list []gateway.OptOut) (added int, err error)
	RemoveOptOut(ctx context.Context, tenantKey int64, recipient string) error // gateway.CodeNotFound
	OptOut(ctx context.Context, tenantKey int64, recipient string) (gateway.OptOut, error)
	// OptOuts lists by recipient, those behind after.
	OptOuts(ctx context.Context, tenantKey int64, after string, limit int) ([]gateway.OptOut, error)
}

// ListOptOuts answers with one page of the list.
func (s *Server) ListOptOuts(c echo.Context, _ string, p spec.ListOptOutsParams) error {
	if err := onlyQuery(c, "cursor", "limit"); err != nil {
		return err
	}
	limit, after := defaultOptOuts, ""
	if p.Limit != nil {
		if limit = *p.Limit; limit < 1 || limit >= gateway.MaxOptOuts+1 {
			return gateway.Errorf(gateway.CodeInvalidParameter, "limit must be 1 to %d", gateway.MaxOptOuts)
		}
	}
	if p.Cursor != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*p.Cursor)
		if err != nil || len(raw) == 0 {
			return gateway.Errorf(gateway.CodeInvalidParameter, "cursor is not a nextCursor of this list")
		}
		after = string(raw)
	}
	found, err := s.store.OptOuts(c.Request().Context(), callOf(c).tenant.Key, after, limit)
	if err != nil {
		return wrap(err, "list the opt-outs")
	}
	list := spec.OptOutList{Data: make([]spec.OptOut, len(found))}
	for i, o := range found {
		list.Data[i] = optOutModel(o)
	}
	if len(found) == limit { // the next page may be empty
		next := base64.RawURLEncoding.EncodeToString([]byte(found[limit-1].Recipient))
		list.NextCursor = &next
	}
	return sendJSON(c, list)
}

func optOutModel(o gateway.OptOut) spec.OptOut {
	return spec.OptOut{Recipient: o.Recipient, Source: spec.OptOutSource(o.Source), CreatedAt: o.CreatedAt.UTC()}
}

// GetOptOut tells whether somebody is on the list.
func (s *Server) GetOptOut(c echo.Context, _, recipient string) error {
	name, err := s.optOutName(recipient)
	if err != nil {
		return err
	}
	o, err := s.store.OptOut(c.Request().Context(), callOf(c).tenant.Key, name)
	if err != nil {
		return wrap(err, "read the opt-out")
	}
	return sendJSON(c, optOutModel(o))
}

// DeleteOptOut takes somebody off the list.
func (s *Server) DeleteOptOut(c echo.Context, _, recipient string) error {
	name, err := s.optOutName(recipient)
	if err != nil {
		return err
	}
	if err := s.store.RemoveOptOut(c.Request().Context(), callOf(c).tenant.Key, name); err != nil {
		return wrap(err, "remove the opt-out")
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) optOutName(raw string) (string, error) {
	recipient, err := url.PathUnescape(raw)
	if err != nil {
		recipient = raw
	}
	to, err := s.intake.Recipient(recipient)
	if err != nil {
		return "", gateway.Errorf(gateway.CodeInvalidRecipient, "%s", err.Error())
	}
	return gateway.OptOutName(to), nil
}

// AddOptOuts adds people to the list.
func (s *Server) AddOptOuts(c echo.Context, _ string, _ spec.AddOptOutsParams) error {
	if kind, _, _ := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType)); kind == mimeCSV {
		return s.addOptOutsFromCSV(c)
	}
	var rows []optOutRow
	return s.post(c, func(d *strictjson.Decoder) (err error) {
		rows, err = decodeOptOuts(d)
		return err
	}, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		return s.addOptOuts(ctx, callOf(c).tenant.Key, rows, gateway.OptOutByAPI)
	})
}

func (s *Server) addOptOutsFromCSV(c echo.Context) error {
	if c.Request().ContentLength > maxOptOutCSV {
		discard(c.Request())
		return &http.MaxBytesError{Limit: maxOptOutCSV}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response().Writer, c.Request().Body, maxOptOutCSV))
	if err != nil {
		discard(c.Request())
		return brokenBody(err)
	}
	return s.once(c, func() [32]byte { return sha256.Sum256(body) }, func(*gateway.IdempotencyCompletion) (*answer, error) {
		rows, err := optOutColumn(body)
		if err != nil {
			return nil, err
		}
		return s.addOptOuts(c.Request().Context(), callOf(c).tenant.Key, rows, gateway.OptOutByCSV)
	})
}

// optOutRow is a recipient as it was given, and where.
type optOutRow struct {
	row int // from 1
	to  string
}

func decodeOptOuts(d *strictjson.Decoder) (rows []optOutRow, err error) {
	if d == nil {
		return nil, noBody()
	}
	err = d.Object(func(field string) error {
		if field != "recipients" {
			return d.UnknownField()
		}
		return d.Array(gateway.MaxOptOuts, func() error {
			r := optOutRow{row: len(rows) + 1}
			err := required(d, &r.to, maxRecipient, gateway.CodeInvalidRecipient)
			rows = append(rows, r)
			return err
		})
	})
	if err == nil && len(rows) == 0 {
		err = missing("/recipients")
	}
	return rows, err
}

// optOutColumn reads the column named to, or the first when the first row does not name it. Empty cells are passed over.
func optOutColumn(body []byte) (rows []optOutRow, err error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	r := csv.NewReader(bytes.NewReader(body))
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, true
	if first, _, _ := bytes.Cut(body, []byte("\n")); !bytes.ContainsRune(first, ',') && bytes.ContainsRune(first, ';') {
		r.Comma = ';' // as spreadsheets write it in much of Europe
	}
	column := 0
	for n := 1; ; n++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, gateway.Errorf(gateway.CodeInvalidBody, "row %d is not CSV", n)
		}
		if n == 1 {
			if i := slices.IndexFunc(record, func(name string) bool { return strings.EqualFold(strings.TrimSpace(name), "to") }); i >= 0 {
				column = i
				continue
			}
		}
		if column < len(record) && strings.TrimSpace(record[column]) != "" {
			rows = append(rows, optOutRow{row: n, to: strings.Clone(record[column])})
		}
	}
}

func (s *Server) addOptOuts(ctx context.Context, tenantKey int64, rows []optOutRow, source gateway.OptOutSource) (*answer, error) {
	var list []gateway.OptOut
	a := spec.OptOutAnswer{Invalid: []spec.InvalidRecipient{}}
	now := s.opts.Clock().UTC()
	seen := make(map[string]bool, len(rows))
	for _, row := range rows {
		to, err := s.intake.Recipient(row.to)
		if err != nil {
			if len(a.Invalid) < maxInvalidRows {
				a.Invalid = append(a.Invalid, spec.InvalidRecipient{
					Row: row.row, To: shorten(row.to, maxRecipient), Code: string(gateway.CodeInvalidRecipient),
				})
			}
			continue
		}
		name := gateway.OptOutName(to)
		if seen[name] {
			a.Known++
			continue
		}
		seen[name] = true
		list = append(list, gateway.OptOut{Recipient: name, Source: source, CreatedAt: now.Truncate(time.Microsecond)})
	}
	for part := range slices.Chunk(list, gateway.MaxOptOuts) {
		added, err := s.store.AddOptOuts(ctx, tenantKey, part)
		if err != nil {
			return nil, wrap(err, "add the opt-outs")
		}
		a.Added += added
		a.Known += len(part) - added
	}
	return jsonAnswer(http.StatusOK, a), nil
}

// shorten cuts text to at most limit bytes of whole characters.
func shorten(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "")
}
