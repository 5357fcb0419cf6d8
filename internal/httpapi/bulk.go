package httpapi

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	bulkTime        = 15 * time.Minute // for the upload of a bulk, and for its results
	defaultBulkPage = 20
	maxBulkPage     = 50
	mimeResults     = "text/csv"
)

// Bulks are sends to many. A missing bulk is gateway.CodeNotFound.
type Bulks interface {
	// NewRows makes room for the rows of one request; the caller closes it.
	NewRows() (gateway.BulkRows, error)
	// ReadCSV reads rows from a CSV file.
	ReadCSV(r io.Reader, rows gateway.BulkRows) error
	// Create accepts a bulk, or nothing of it; what answer returns is replayed for the key of done.
	Create(ctx context.Context, t gateway.Tenant, r gateway.BulkRequest, done *gateway.IdempotencyCompletion,
		answer func(gateway.BulkProgress) gateway.IdempotencyAnswer) (gateway.BulkProgress, error)
	// Preview tells what Create would accept, and stores nothing.
	Preview(ctx context.Context, t gateway.Tenant, r gateway.BulkRequest) (gateway.BulkPreview, error)
	// Retry accepts a new bulk of what failed.
	Retry(ctx context.Context, t gateway.Tenant, id string, force bool, done *gateway.IdempotencyCompletion,
		answer func(gateway.BulkProgress) gateway.IdempotencyAnswer) (gateway.BulkProgress, error)

	Get(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error)
	// Progress is Get without the invalid rows.
	Progress(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error)
	// List lists newest first, without invalid rows; with before those older than that id.
	List(ctx context.Context, tenantKey int64, before string, limit int) ([]gateway.BulkProgress, error)
	// Results writes a bulk as CSV; an error after its first write leaves it cut off.
	Results(ctx context.Context, b gateway.Bulk, out io.Writer) error

	// These are idempotent; gateway.CodeConflict when the bulk has ended.
	Pause(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error)
	Resume(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error)
	Cancel(ctx context.Context, tenantKey int64, id string) (gateway.BulkProgress, error)
}

// CreateBulk accepts a send to many.
func (s *Server) CreateBulk(c echo.Context, _ string, _ spec.CreateBulkParams) error {
	return s.withBulk(c, func(req gateway.BulkRequest, done *gateway.IdempotencyCompletion) (*answer, error) {
		return s.acceptBulk(done, func(answer func(gateway.BulkProgress) gateway.IdempotencyAnswer) (gateway.BulkProgress, error) {
			return s.bulks.Create(c.Request().Context(), callOf(c).tenant, req, done, answer)
		})
	})
}

// withBulk reads the request for a bulk and answers with what act makes of it. The rows go to disk while the body arrives, and are
// looked at when it has.
func (s *Server) withBulk(c echo.Context, act func(gateway.BulkRequest, *gateway.IdempotencyCompletion) (*answer, error)) error {
	if _, _, err := idempotencyKey(c.Request()); err != nil {
		return err
	}
	leave, err := s.uploads.Take(callOf(c).holder())
	if err != nil {
		return noPlace(err, gateway.CodeUnavailable, "bulk sends are arriving")
	}
	defer leave()
	rows, err := s.bulks.NewRows()
	if err != nil {
		return wrap(err, "make room for the rows")
	}
	defer rows.Close()
	body := newBody(c, gateway.MaxBulkBytes)
	req := gateway.BulkRequest{Rows: rows}
	sum, refused := s.readBulk(c, body, &req)
	if refused != nil && !body.drain() {
		return refused // without the whole body there is no hash, so nothing to replay
	}
	return s.once(c, sum, func(done *gateway.IdempotencyCompletion) (*answer, error) {
		if refused != nil {
			return nil, refused
		}
		return act(req, done)
	})
}

// acceptBulk answers for an accepted bulk. With a key, the answer was rendered inside the accepting transaction.
func (s *Server) acceptBulk(done *gateway.IdempotencyCompletion,
	do func(func(gateway.BulkProgress) gateway.IdempotencyAnswer) (gateway.BulkProgress, error),
) (*answer, error) {
	p, err := do(func(p gateway.BulkProgress) gateway.IdempotencyAnswer { return s.acceptedBulk(&p).IdempotencyAnswer })
	if err != nil {
		return nil, wrap(err, "accept the bulk")
	}
	a := s.acceptedBulk(&p)
	a.kept = done != nil
	return a, nil
}

func (s *Server) acceptedBulk(p *gateway.BulkProgress) *answer {
	shown := s.bulk(p)
	shown.Invalid = invalidRows(p)
	a := jsonAnswer(http.StatusAccepted, shown)
	a.Header["Location"] = "/api/" + p.TenantID + "/bulk/" + p.ID
	return a
}

// ListBulks answers with one page of bulks, newest first.
func (s *Server) ListBulks(c echo.Context, _ string, p spec.ListBulksParams) error {
	if err := onlyQuery(c, "cursor", "limit"); err != nil {
		return err
	}
	limit := defaultBulkPage
	if p.Limit != nil {
		if limit = *p.Limit; limit < 1 || limit > maxBulkPage {
			return gateway.Errorf(gateway.CodeInvalidParameter, "limit must be 1 to %d", maxBulkPage)
		}
	}
	found, err := s.bulks.List(c.Request().Context(), callOf(c).tenant.Key, value(p.Cursor), limit+1)
	if err != nil {
		return wrap(err, "list the bulks")
	}
	var list spec.BulkList
	if len(found) > limit {
		found = found[:limit]
		list.NextCursor = &found[limit-1].ID
	}
	list.Data = make([]spec.Bulk, len(found))
	for i := range found {
		list.Data[i] = s.bulk(&found[i])
	}
	return sendJSON(c, list)
}

// GetBulk answers with a bulk and how far it has come.
func (s *Server) GetBulk(c echo.Context, _, id string) error {
	p, err := s.bulks.Get(c.Request().Context(), callOf(c).tenant.Key, id)
	if err != nil {
		return wrap(err, "read the bulk")
	}
	shown := s.bulk(&p)
	shown.Invalid = invalidRows(&p)
	return sendJSON(c, shown)
}

// PauseBulk stops a bulk for a while.
func (s *Server) PauseBulk(c echo.Context, _, id string, _ spec.PauseBulkParams) error {
	return s.steerBulk(c, id, s.bulks.Pause)
}

// ResumeBulk lets a paused bulk go on.
func (s *Server) ResumeBulk(c echo.Context, _, id string, _ spec.ResumeBulkParams) error {
	return s.steerBulk(c, id, s.bulks.Resume)
}

// CancelBulk ends what nobody has claimed of a bulk.
func (s *Server) CancelBulk(c echo.Context, _, id string, _ spec.CancelBulkParams) error {
	return s.steerBulk(c, id, s.bulks.Cancel)
}

func (s *Server) steerBulk(c echo.Context, id string, steer func(context.Context, int64, string) (gateway.BulkProgress, error)) error {
	return s.post(c, nothing, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		p, err := steer(ctx, callOf(c).tenant.Key, id)
		if err != nil {
			return nil, wrap(err, "steer the bulk")
		}
		shown := s.bulk(&p)
		shown.Invalid = invalidRows(&p)
		return jsonAnswer(http.StatusOK, shown), nil
	})
}

// RetryBulk accepts a new bulk in place of what failed of one.
func (s *Server) RetryBulk(c echo.Context, _, id string, _ spec.RetryBulkParams) error {
	var force bool
	decode := func(d *strictjson.Decoder) (err error) { force, err = decodeForce(d); return err }
	return s.post(c, decode, func(ctx context.Context, done *gateway.IdempotencyCompletion) (*answer, error) {
		return s.acceptBulk(done, func(answer func(gateway.BulkProgress) gateway.IdempotencyAnswer) (gateway.BulkProgress, error) {
			return s.bulks.Retry(ctx, callOf(c).tenant, id, force, done, answer)
		})
	})
}

// GetBulkResults answers with a line for each row of a bulk.
func (s *Server) GetBulkResults(c echo.Context, _, id string) error {
	ctx := c.Request().Context()
	p, err := s.bulks.Progress(ctx, callOf(c).tenant.Key, id)
	if err != nil {
		return wrap(err, "read the bulk")
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, mimeResults+"; charset=utf-8")
	h.Set(echo.HeaderContentDisposition, fmt.Sprintf(`attachment; filename="bulk-%s.csv"`, p.ID))
	err = s.bulks.Results(ctx, p.Bulk, c.Response())
	if err != nil && c.Response().Committed {
		s.log.WarnContext(ctx, "the results of a bulk broke off", "bulk", p.ID, "requestId", callOf(c).requestID, "err", err)
		panic(http.ErrAbortHandler) // an orderly end would make the table look whole
	}
	if err != nil {
		h.Del(echo.HeaderContentDisposition)
		return wrap(err, "write the results")
	}
	return nil
}

// bulk renders a bulk as the API shows it, without its invalid rows.
func (s *Server) bulk(p *gateway.BulkProgress) spec.Bulk {
	n := func(status gateway.Status) int { return p.Counts[status] }
	out := spec.Bulk{
		Id: p.ID, TenantId: p.TenantID, Name: orNull(p.Name), Status: spec.BulkStatus(p.Status), Reason: orNull(p.Reason),
		Priority: spec.Priority(p.Lane), Total: p.Total, InvalidCount: p.Invalid, MaxFailureRate: p.MaxFailureRate,
		RatePerSecond: math.Round(100*p.Rate) / 100, RetryOf: orNull(p.RetryOf),
		SendAt: timeOrNull(p.SendAt), CreatedAt: p.CreatedAt.UTC(), StartedAt: timeOrNull(p.StartedAt), FinishedAt: timeOrNull(p.FinishedAt),
		Counts: spec.BulkCounts{
			Scheduled: n(gateway.StatusScheduled), Queued: n(gateway.StatusQueued), Sending: n(gateway.StatusSending),
			Unknown: n(gateway.StatusUnknown), Sent: n(gateway.StatusSent), Delivered: n(gateway.StatusDelivered), Read: n(gateway.StatusRead),
			Canceled: n(gateway.StatusCanceled), Failed: n(gateway.StatusFailed), Expired: n(gateway.StatusExpired),
		},
	}
	if p.Status == gateway.BulkRunning && p.SendAt.After(s.opts.Clock()) {
		out.Status = spec.BulkStatusScheduled
	}
	if p.Rate > 0 {
		eta := int(math.Ceil(p.Remaining.Seconds()))
		out.EtaSeconds = &eta
	}
	return out
}

func invalidRows(p *gateway.BulkProgress) *[]spec.BulkInvalidRow {
	list := make([]spec.BulkInvalidRow, len(p.Rejected))
	for i, r := range p.Rejected {
		list[i] = spec.BulkInvalidRow{Row: r.Row, To: r.To, Code: string(r.Code)}
	}
	return &list
}
