package bulk

import (
	"context"
	"errors"

	"github.com/wapro/hub/internal/gateway"
)

var errSeenEnough = errors.New("the first messages are known")

// Preview checks a request as Create does and tells what it would be. It stores nothing. Errors that concern the request as a whole
// are *gateway.Error; rows that cannot be sent are part of the answer.
func (s *Service) Preview(ctx context.Context, tenant gateway.Tenant, req gateway.BulkRequest) (gateway.BulkPreview, error) {
	d, err := s.check(ctx, tenant, req)
	if err != nil {
		return gateway.BulkPreview{}, err
	}
	v, err := s.checkRows(ctx, d)
	if err != nil {
		return gateway.BulkPreview{}, err
	}
	p := gateway.BulkPreview{
		Rows: len(v.to) - v.empty, Valid: len(v.to) - v.empty - len(v.invalid), Type: d.model.Type, ByCode: map[gateway.Code]int{},
		Rejected: v.invalid[:min(len(v.invalid), gateway.MaxPreviewRejected)],
	}
	for _, r := range v.invalid {
		p.ByCode[r.Code]++
	}
	err = d.req.Rows.Each(func(n int, row gateway.BulkRow) error {
		if len(p.Messages) == gateway.MaxPreviewMessages {
			return errSeenEnough
		}
		to := v.to[n-1]
		if to == "" {
			return nil
		}
		text, _ := d.render(row)
		reference := row.Reference
		if reference == "" {
			reference = d.req.Reference
		}
		p.Messages = append(p.Messages, gateway.BulkPreviewMessage{Row: n, To: to, Text: text, Reference: reference})
		return nil
	})
	if err != nil && !errors.Is(err, errSeenEnough) {
		return gateway.BulkPreview{}, err
	}
	return p, nil
}
