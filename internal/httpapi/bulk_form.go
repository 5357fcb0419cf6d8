package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime/multipart"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
)

const maxParts = 32

// bulkForm reads a bulk that is sent as a form.
type bulkForm struct {
	s    *Server
	ctx  context.Context //nolint:containedctx // that of the request, which the form is read for
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
		if err := f.field(name, part, in); err != nil && refused == nil {
			refused = err
		}
		if _, err := io.Copy(io.Discard, in); err != nil { // what it has left
			return badForm(err)
		}
		_ = binary.Write(f.hash, binary.BigEndian, uint64(len(name))) // a hash takes everything
		_, _ = io.WriteString(f.hash, name)
		f.hash.Write(content.Sum(nil))
		if name == "media" { // what it is called and said to be is sent along
			described := sha256.Sum256([]byte(part.FileName() + "\x00" + part.Header.Get(echo.HeaderContentType)))
			f.hash.Write(described[:])
		}
	}
	switch {
	case refused != nil:
		return refused
	case f.req.At == "":
		return missing("/file")
	case !f.seen["message"] && f.req.Media == nil:
		return missing("/message")
	}
	return nil
}

func (f *bulkForm) field(name string, part *multipart.Part, in io.Reader) (err error) {
	if f.seen[name] {
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/"+name, "/%s is given twice", name)
	}
	f.seen[name] = true
	req := f.req
	switch name {
	case "file":
		req.At = "/file"
		return f.s.bulks.ReadCSV(in, req.Rows)
	case "media":
		return f.media(part, in)
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
	case "linkPreview":
		var text string
		if text, err = f.text(name, in, maxKeyword); err == nil {
			if req.LinkPreview = text == "true"; !req.LinkPreview && text != "" && text != "false" {
				err = gateway.FieldErrorf(gateway.CodeInvalidBody, "/linkPreview", "/linkPreview must be true or false")
			}
		}
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

// media stores the one file of all messages, of the type and with the name that its part says.
func (f *bulkForm) media(part *multipart.Part, in io.Reader) error {
	mimeType, filename := part.Header.Get(echo.HeaderContentType), part.FileName()
	switch {
	case mimeType == "":
		return gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media", "the part media needs a Content-Type")
	case len(mimeType) > maxMimeType:
		return gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media", "the Content-Type of the part media is longer than %d bytes", maxMimeType)
	}
	arriving := &formPart{r: in}
	blob, err := f.s.media.Put(f.ctx, arriving)
	switch e, ok := errors.AsType[*gateway.Error](err); {
	case arriving.err != nil:
		return badForm(arriving.err)
	case ok && len(e.Fields) > 0: // a form has the file in one part
		return gateway.FieldErrorf(e.Code, "/media", "%s", e.Message)
	case err != nil:
		return err
	}
	f.req.Media = &gateway.BulkMedia{MimeType: mimeType, Filename: filename, Blob: blob}
	return nil
}

// formPart remembers why it could not be read, to tell that apart from a store that does not work.
type formPart struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (p *formPart) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
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
