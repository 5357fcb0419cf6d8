package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const mediaBuffer = 64 << 10

// PostMedia accepts a media message. The file goes to the media room while the body arrives.
func (s *Server) PostMedia(c echo.Context, _ string, _ spec.PostMediaParams) error {
	if _, _, err := idempotencyKey(c.Request()); err != nil {
		return err
	}
	body := newBody(c, maxMediaBody)
	var req gateway.MediaRequest
	refused := s.decodeMedia(c, body, &req)
	if refused != nil && !body.drain() {
		return refused // without the whole body there is no hash, so nothing to replay
	}
	return s.once(c, body.sum, func(done *gateway.IdempotencyCompletion) (*answer, error) {
		if refused != nil {
			return nil, refused
		}
		return accept(done, func() (gateway.Message, error) {
			return s.intake.Media(c.Request().Context(), callOf(c).tenant, req, done)
		})
	})
}

func (s *Server) decodeMedia(c echo.Context, body *hashedBody, req *gateway.MediaRequest) error {
	if err := requireJSON(c.Request()); err != nil {
		return err
	}
	if err := body.tooLong(); err != nil {
		return err
	}
	d := strictjson.NewDecoder(body, mediaBuffer)
	var to, media bool
	err := d.Object(func(name string) error {
		switch name {
		case "to":
			to = true
			return required(d, &req.To, maxRecipient, gateway.CodeInvalidRecipient)
		case "message":
			return optional(d, &req.Caption, gateway.MaxTextBytes, gateway.CodeInvalidMessage)
		case "media":
			media = true
			return s.decodeFile(c.Request().Context(), d, req)
		}
		if known, err := relation(d, name, &req.Relation); known {
			return err
		}
		return option(d, name, &req.SendOptions)
	})
	switch {
	case err != nil:
		return err
	case !to:
		return missing("/to")
	case !media:
		return missing("/media")
	}
	return d.End()
}

// decodeFile reads the object media, its fields in any order.
func (s *Server) decodeFile(ctx context.Context, d *strictjson.Decoder, req *gateway.MediaRequest) error {
	var data, url bool
	err := d.Object(func(name string) error {
		switch name {
		case "mimetype":
			return required(d, &req.MimeType, maxMimeType, gateway.CodeInvalidMedia)
		case "filename":
			return optional(d, &req.Filename, gateway.MaxFilenameBytes, gateway.CodeInvalidMedia)
		case "data":
			data = true
			return d.Stream(func(r io.Reader) (err error) {
				req.Blob, err = s.media.PutBase64(ctx, r)
				return at("/media/data", err)
			})
		case "url":
			url = true
			return required(d, &req.URL, maxURL, gateway.CodeMediaURLRefused)
		}
		return d.UnknownField()
	})
	switch {
	case err != nil:
		return err
	case data && url:
		return gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media", "/media has data or url, not both")
	case url && req.URL == "":
		return gateway.FieldErrorf(gateway.CodeMediaURLRefused, "/media/url", "/media/url is empty")
	case url:
		return nil
	case req.MimeType == "":
		return gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media/mimetype", "/media/mimetype is missing")
	case !data:
		return gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media/data", "/media/data is missing, or /media/url")
	}
	return nil
}

// at points a refusal of the media room at the field it is about.
func at(pointer string, err error) error {
	e, ok := errors.AsType[*gateway.Error](err)
	if !ok || len(e.Fields) > 0 {
		return err
	}
	pointed := *e
	pointed.Fields = []gateway.FieldError{{Pointer: pointer, Detail: e.Message}}
	return &pointed
}

// hashedBody is a request body that is bounded and hashed while it is read.
type hashedBody struct {
	c       echo.Context
	limit   int64
	limited io.Reader
	hash    hash.Hash
	err     error // the first error, io.EOF included
}

func newBody(c echo.Context, limit int64) *hashedBody {
	return &hashedBody{c: c, limit: limit, limited: http.MaxBytesReader(c.Response().Writer, c.Request().Body, limit), hash: sha256.New()}
}

// tooLong refuses a body that is announced to be longer than its limit.
func (b *hashedBody) tooLong() error {
	if b.c.Request().ContentLength > b.limit {
		return &http.MaxBytesError{Limit: b.limit}
	}
	return nil
}

// Read implements io.Reader.
func (b *hashedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.limited.Read(p)
	b.hash.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		err = brokenBody(err)
	}
	b.err = err
	return n, err
}

// sum is the SHA-256 of the body that was read whole.
func (b *hashedBody) sum() [32]byte { return [32]byte(b.hash.Sum(nil)) }

// drain reads what is left and reports whether the whole body was within its limit.
func (b *hashedBody) drain() bool {
	r := b.c.Request()
	if r.Header.Get("Expect") != "" || b.tooLong() != nil {
		discard(r)
		return false
	}
	_, _ = io.Copy(io.Discard, b) // its error is in b.err
	if !errors.Is(b.err, io.EOF) {
		discard(r)
		return false
	}
	return true
}
