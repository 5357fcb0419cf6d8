package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// Bounds of fields that no other room bounds, in bytes.
const (
	maxRecipient = 128
	maxKeyword   = 64
	maxNameField = 200
	maxMimeType  = 255
	maxID        = 64
	maxURL       = 2048

	// maxDrain bounds what is read of a body that is refused anyway.
	maxDrain = 2 * maxMediaBody
)

// post reads a small body, decodes it with decode and answers with what act returns, once per Idempotency-Key.
// decode is given nil when there is no body; what it refuses is an answer like any other.
func (s *Server) post(c echo.Context, decode func(*strictjson.Decoder) error, act func(context.Context, *gateway.IdempotencyCompletion) (*answer, error)) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	sum := func() [32]byte { return sha256.Sum256(body) }
	return s.once(c, sum, func(done *gateway.IdempotencyCompletion) (*answer, error) {
		if err := decodeBody(c, body, decode); err != nil {
			return nil, err
		}
		return act(c.Request().Context(), done)
	})
}

func decodeBody(c echo.Context, body []byte, decode func(*strictjson.Decoder) error) error {
	if len(body) == 0 {
		return decode(nil)
	}
	if err := requireJSON(c.Request()); err != nil {
		return err
	}
	d := strictjson.NewDecoder(bytes.NewReader(body), min(len(body), 4<<10))
	if err := decode(d); err != nil {
		return err
	}
	return d.End()
}

// readBody reads a body of at most maxBody bytes.
func readBody(c echo.Context) ([]byte, error) {
	r := c.Request()
	if r.ContentLength > maxBody {
		discard(r)
		return nil, &http.MaxBytesError{Limit: maxBody}
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(c.Response().Writer, r.Body, maxBody)); err != nil {
		discard(r)
		return nil, brokenBody(err)
	}
	return buf.Bytes(), nil
}

// discard reads what is left of a refused body, up to maxDrain: a caller that is cut off while it sends seldom gets to
// read why. One that waits for a go-ahead (Expect) is not given it.
func discard(r *http.Request) {
	if r.Header.Get("Expect") == "" && r.ContentLength <= maxDrain {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain) // as far as it comes
	}
}

// brokenBody is an error of the connection while a body was read: the caller's, but for its limit.
func brokenBody(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	e := gateway.Errorf(gateway.CodeInvalidBody, "the request body did not arrive whole")
	e.Err = err
	return e
}

func requireJSON(r *http.Request) error {
	given := r.Header.Get(echo.HeaderContentType)
	if given == mimeJSON { // the common case, without parsing
		return nil
	}
	kind, params, err := mime.ParseMediaType(given)
	if err != nil || kind != mimeJSON {
		return gateway.Errorf(gateway.CodeUnsupportedType, "Content-Type must be application/json")
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return gateway.Errorf(gateway.CodeUnsupportedType, "the charset must be UTF-8")
	}
	return nil
}

// noBody is the refusal of a missing body.
func noBody() error { return gateway.Errorf(gateway.CodeInvalidBody, "the body is missing") }

// nothing decodes a body that has no fields.
func nothing(d *strictjson.Decoder) error {
	if d == nil {
		return nil
	}
	return d.Object(func(string) error { return d.UnknownField() })
}

// required reads a string of at most limit bytes; over it, code is the refusal.
func required(d *strictjson.Decoder, to *string, limit int, code gateway.Code) error {
	v, err := d.String(limit)
	if e, ok := errors.AsType[*strictjson.Error](err); ok && e.Kind == strictjson.TooLong {
		return gateway.FieldErrorf(code, e.Pointer, "%s %s", e.Pointer, e.Detail)
	}
	*to = v
	return err
}

// optional is required, with null as good as nothing.
func optional(d *strictjson.Decoder, to *string, limit int, code gateway.Code) error {
	null, err := d.Null()
	if err != nil || null {
		return err
	}
	return required(d, to, limit, code)
}

// instant reads an RFC 3339 time or null.
func instant(d *strictjson.Decoder, to *time.Time) error {
	var text string
	if err := optional(d, &text, maxKeyword, gateway.CodeInvalidBody); err != nil || text == "" {
		return err
	}
	t, err := time.Parse(time.RFC3339, text)
	t = t.UTC()
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be an RFC 3339 time such as 2030-01-31T15:04:05Z", d.Pointer())
	}
	*to = t
	return nil
}

// option reads one of the fields that every kind of message has. Any other name is an unknown field.
func option(d *strictjson.Decoder, name string, to *gateway.SendOptions) error {
	switch name {
	case "priority":
		return optional(d, (*string)(&to.Priority), maxKeyword, gateway.CodeInvalidBody)
	case "sendAt":
		return instant(d, &to.SendAt)
	case "expiresAt":
		return instant(d, &to.ExpiresAt)
	case "reference":
		return optional(d, &to.Reference, gateway.MaxReferenceBytes, gateway.CodeInvalidBody)
	default:
		return d.UnknownField()
	}
}

func missing(pointer string) error {
	return gateway.FieldErrorf(gateway.CodeInvalidBody, pointer, "%s is missing", pointer)
}

// wrap keeps a coded error as it is and says what was tried otherwise.
func wrap(err error, tried string) error {
	return fmt.Errorf("%s: %w", tried, err)
}
