package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	mimeForm = "multipart/form-data"

	// A recipient or a reference up to this is read, and makes an invalid row when it is too long.
	maxRowField = 4096
	maxParts    = 32
)

// readBulk reads the body of a bulk, rows to disk. sum is the hash of the body once it is read: a form's is that of its parts,
// because the boundary between them differs from one request to the next.
func (s *Server) readBulk(c echo.Context, body *hashedBody, req *gateway.BulkRequest) (sum func() [32]byte, err error) {
	kind, params, _ := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if kind != mimeForm {
		return body.sum, s.decodeBulk(c, body, req)
	}
	form := &bulkForm{s: s, req: req, hash: sha256.New()}
	err = body.tooLong()
	if err == nil {
		err = form.read(multipart.NewReader(body, params["boundary"]))
	}
	return func() [32]byte { return [32]byte(form.hash.Sum(nil)) }, err
}

func (s *Server) decodeBulk(c echo.Context, body *hashedBody, req *gateway.BulkRequest) error {
	if err := requireJSON(c.Request()); err != nil {
		e := gateway.Errorf(gateway.CodeUnsupportedType, "Content-Type must be application/json or multipart/form-data")
		return e
	}
	if err := body.tooLong(); err != nil {
		return err
	}
	d := strictjson.NewDecoder(body, mediaBuffer)
	var text bool
	err := d.Object(func(name string) (err error) {
		switch name {
		case "name":
			return optional(d, &req.Name, gateway.MaxBulkNameBytes, gateway.CodeInvalidBody)
		case "message":
			text = true
			return optional(d, &req.Text, gateway.MaxTextBytes, gateway.CodeInvalidMessage)
		case "media":
			return s.decodeBulkMedia(c.Request().Context(), d, req)
		case "recipients", "messages":
			if req.At != "" {
				return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "there can be recipients or messages, not both")
			}
			req.At, req.OwnTexts = d.Pointer(), name == "messages"
			return d.Array(gateway.MaxBulkRows, func() error { return decodeRow(d, req) })
		case "onInvalid":
			return optional(d, (*string)(&req.OnInvalid), maxKeyword, gateway.CodeInvalidBody)
		case "maxFailureRate":
			null, err := d.Null()
			if err != nil || null {
				return err
			}
			if req.MaxFailureRate, err = d.Float(); err == nil && req.MaxFailureRate <= 0 {
				err = badRate()
			}
			return err
		}
		return option(d, name, &req.SendOptions)
	})
	switch {
	case err != nil:
		return err
	case req.At == "":
		return missing("/recipients")
	case req.OwnTexts && (text || req.Media != nil):
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/messages", "messages have their own texts; message and media go with recipients")
	case !req.OwnTexts && !text && req.Media == nil:
		return missing("/message")
	}
	return d.End()
}

func (s *Server) decodeBulkMedia(ctx context.Context, d *strictjson.Decoder, req *gateway.BulkRequest) error {
	var file gateway.MediaRequest
	if err := s.decodeFile(ctx, d, &file); err != nil {
		return err
	}
	req.Media = &gateway.BulkMedia{MimeType: file.MimeType, Filename: file.Filename, Blob: file.Blob}
	return nil
}

// decodeRow reads one recipient or message.
func decodeRow(d *strictjson.Decoder, req *gateway.BulkRequest) error {
	var row gateway.BulkRow
	err := d.Object(func(name string) error {
		switch {
		case name == "to":
			return required(d, &row.To, maxRowField, gateway.CodeInvalidRecipient)
		case name == "reference":
			return optional(d, &row.Reference, maxRowField, gateway.CodeInvalidBody)
		case name == "message" && req.OwnTexts:
			return required(d, &row.Text, gateway.MaxTextBytes, gateway.CodeInvalidMessage)
		case name == "vars" && !req.OwnTexts:
			return decodeVars(d, &row)
		}
		return d.UnknownField()
	})
	if err != nil {
		return err
	}
	return req.Rows.Add(row)
}

func decodeVars(d *strictjson.Decoder, row *gateway.BulkRow) error {
	null, err := d.Null()
	if err != nil || null {
		return err
	}
	row.Vars = map[string]string{}
	given := 0
	return d.Object(func(name string) error {
		if given++; given > gateway.MaxBulkVars {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "a recipient has at most %d variables", gateway.MaxBulkVars)
		}
		text, null, err := d.Scalar(gateway.MaxVarBytes)
		if err == nil && !null {
			row.Vars[name] = text
		}
		return err
	})
}

func badRate() error {
	return gateway.FieldErrorf(gateway.CodeInvalidBody, "/maxFailureRate", "maxFailureRate must be above 0 and at most 1")
}

// bulkForm reads a bulk that is sent as a form.
type bulkForm struct {
	s    *Server
	req  *gateway.BulkRequest
	hash hash.Hash
	seen map[string]bool
}

// read reads every part, also behind one that is refused: the first refusal is returned at the end.
func (f *bulkForm) read(parts *multipart.Reader) error {
	f.seen = map[string]bool{}
	var refused error
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || n == maxParts {
			return badForm(err)
		}
		name := part.FormName()
		content := sha256.New()
		in := io.TeeReader(part, content)
		if err := f.field(name, in); err != nil && refused == nil {
			refused = err
		}
		if _, err := io.Copy(io.Discard, in); err != nil { // what it has left
			return badForm(err)
		}
		_ = binary.Write(f.hash, binary.BigEndian, uint64(len(name))) // a hash takes everything
		_, _ = io.WriteString(f.hash, name)
		f.hash.Write(content.Sum(nil))
	}
	switch {
	case refused != nil:
		return refused
	case f.req.At == "":
		return missing("/file")
	case !f.seen["message"]:
		return missing("/message")
	}
	return nil
}

func (f *bulkForm) field(name string, in io.Reader) (err error) {
	if f.seen[name] {
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/"+name, "/%s is given twice", name)
	}
	f.seen[name] = true
	req := f.req
	switch name {
	case "file":
		req.At = "/file"
		return f.s.bulks.ReadCSV(in, req.Rows)
	case "message":
		req.Text, err = f.text(name, in, gateway.MaxTextBytes)
	case "name":
		req.Name, err = f.text(name, in, gateway.MaxBulkNameBytes)
	case "reference":
		req.Reference, err = f.text(name, in, gateway.MaxReferenceBytes)
	case "onInvalid":
		var text string
		text, err = f.text(name, in, maxKeyword)
		req.OnInvalid = gateway.OnInvalid(text)
	case "priority":
		var text string
		text, err = f.text(name, in, maxKeyword)
		req.Priority = gateway.Priority(text)
	case "expiresAt":
		req.ExpiresAt, err = f.time(name, in)
	case "sendAt":
		req.SendAt, err = f.time(name, in)
	case "maxFailureRate":
		var text string
		if text, err = f.text(name, in, maxKeyword); err == nil {
			if req.MaxFailureRate, err = strconv.ParseFloat(text, 64); err != nil || req.MaxFailureRate <= 0 {
				err = badRate()
			}
		}
	default:
		return gateway.FieldErrorf(gateway.CodeUnknownField, "/"+name, "there is no field %q", name)
	}
	return err
}

func (f *bulkForm) text(name string, in io.Reader, limit int) (string, error) {
	text, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return "", badForm(err)
	}
	if len(text) > limit {
		return "", gateway.FieldErrorf(gateway.CodeInvalidBody, "/"+name, "/%s is longer than %d bytes", name, limit)
	}
	return string(text), nil
}

func (f *bulkForm) time(name string, in io.Reader) (time.Time, error) {
	text, err := f.text(name, in, maxKeyword)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, gateway.FieldErrorf(gateway.CodeInvalidBody, "/"+name, "/%s must be an RFC 3339 time such as 2030-01-31T15:04:05Z", name)
	}
	return t.UTC(), nil
}

// badForm tells a form that is none, or has too many parts (nil), from one that did not arrive.
func badForm(err error) error {
	if coded(err).Code != gateway.CodeInternal {
		return err
	}
	e := gateway.Errorf(gateway.CodeInvalidBody, "the form is not multipart/form-data of at most %d parts", maxParts)
	e.Err = fmt.Errorf("read the form: %w", err)
	return e
}
