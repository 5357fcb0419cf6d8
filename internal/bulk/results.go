package bulk

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const resultsPage = 500

// columns of results.csv.
func columns() []string {
	return []string{
		"row", "to", "status", "code", "error", "reference", "id", "whatsappId", "attempts", "sentAt", "deliveredAt", "readAt", "failedAt",
	}
}

// Results writes one line per row of a bulk as CSV, in their order; rows that could not be sent have the status invalid. Values
// that a spreadsheet would take for a formula are made texts. Messages that are written while their status changes have one of
// the two. An error after the first write leaves the table cut off.
func (s *Service) Results(ctx context.Context, b gateway.Bulk, out io.Writer) error {
	w := csv.NewWriter(out)
	if err := w.Write(columns()); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	invalid := &invalidRows{s: s, bulk: b.ID}
	before := func(row int) error { return invalid.writeBefore(ctx, w, row) }
	for after := b.FirstSeq - 1; ; {
		page, err := s.Store.BulkMessages(ctx, b.TenantKey, b.ID, after, nil, resultsPage)
		if err != nil {
			return err
		}
		for i := range page {
			m := &page[i]
			after = m.Seq
			row := int(m.Seq-b.FirstSeq) + 1
			if err := before(row); err != nil {
				return err
			}
			if err := w.Write(line(row, m)); err != nil {
				return fmt.Errorf("write the results: %w", err)
			}
		}
		if w.Flush(); w.Error() != nil {
			return fmt.Errorf("write the results: %w", w.Error())
		}
		if len(page) < resultsPage {
			break
		}
	}
	if err := before(b.Rows + 1); err != nil {
		return err
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

func line(row int, m *gateway.Message) []string {
	var failure gateway.Failure
	if m.Error != nil {
		failure = *m.Error
	}
	return []string{
		strconv.Itoa(row), plain(m.To), string(m.Status), string(failure.Code), plain(failure.Message), plain(m.Reference), m.ID, m.WhatsAppID,
		strconv.Itoa(m.Attempts), at(m.SentAt), at(m.DeliveredAt), at(m.ReadAt), at(m.FailedAt),
	}
}

// plain puts an apostrophe before what a spreadsheet would take for a formula (OWASP, CSV injection).
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// invalidRows reads the invalid rows of a bulk page by page.
type invalidRows struct {
	s     *Service
	bulk  string
	page  []gateway.BulkInvalid
	after int
	end   bool
}

func (r *invalidRows) writeBefore(ctx context.Context, w *csv.Writer, row int) error {
	for {
		if len(r.page) == 0 && !r.end {
			var err error
			if r.page, err = r.s.Store.BulkInvalid(ctx, r.bulk, r.after, resultsPage); err != nil {
				return err
			}
			r.end = len(r.page) < resultsPage
		}
		if len(r.page) == 0 || r.page[0].Row >= row {
			return nil
		}
		next := r.page[0]
		r.page, r.after = r.page[1:], next.Row
		fields := make([]string, len(columns()))
		fields[0], fields[1], fields[2], fields[3] = strconv.Itoa(next.Row), plain(next.To), "invalid", string(next.Code)
		if err := w.Write(fields); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
}
