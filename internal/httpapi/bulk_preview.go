package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// PreviewBulk tells what a send to many would be. It reads the request as CreateBulk does.
func (s *Server) PreviewBulk(c echo.Context, _ string, _ spec.PreviewBulkParams) error {
	return s.withBulk(c, func(req gateway.BulkRequest, _ *gateway.IdempotencyCompletion) (*answer, error) {
		p, err := s.bulks.Preview(c.Request().Context(), callOf(c).tenant, req)
		if err != nil {
			return nil, wrap(err, "preview the bulk")
		}
		return jsonAnswer(http.StatusOK, previewModel(p)), nil
	})
}

func previewModel(p gateway.BulkPreview) spec.BulkPreview {
	shown := spec.BulkPreview{
		Rows: p.Rows, Valid: p.Valid, InvalidCount: p.Rows - p.Valid, InvalidByCode: make(map[string]int, len(p.ByCode)),
		Type: spec.MessageType(p.Type), Invalid: make([]spec.BulkPreviewInvalid, len(p.Rejected)), Messages: make([]spec.BulkPreviewMessage, len(p.Messages)),
	}
	for code, n := range p.ByCode {
		shown.InvalidByCode[string(code)] = n
	}
	for i, r := range p.Rejected {
		shown.Invalid[i] = spec.BulkPreviewInvalid{Row: r.Row, To: r.To, Code: string(r.Code), Detail: r.Detail}
	}
	for i, m := range p.Messages {
		shown.Messages[i] = spec.BulkPreviewMessage{Row: m.Row, To: m.To, Message: m.Text, Reference: orNull(m.Reference)}
	}
	return shown
}
