package httpapi

import (
	"context"
	"crypto/sha256"
	"mime"
	"mime/multipart"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	mimeForm = "multipart/form-data"

	// A recipient or a reference up to this is read, and makes an invalid row when it is too long.
	maxRowField = 4096
)

// readBulk reads the body of a bulk, rows to disk. sum is the hash of the body once it is read: a form's is that of its parts,
// because the boundary between them differs from one request to the next.
func (s *Server) readBulk(c echo.Context, body *hashedBody, req *gateway.BulkRequest) (sum func() [32]byte, err error) {
	kind, params, _ := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if kind != mimeForm {
		return body.sum, s.decodeBulk(c, body, req)
	}
	form := &bulkForm{s: s, ctx: c.Request().Context(), req: req, hash: sha256.New()}
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
		case "linkPreview":
			return flag(d, &req.LinkPreview)
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
	req.Media = &gateway.BulkMedia{MimeType: file.MimeType, Filename: file.Filename, Blob: file.Blob, URL: file.URL}
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
