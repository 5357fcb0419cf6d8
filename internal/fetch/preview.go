package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/gateway"
)

// Limits of one preview.
const (
	previewTime  = 5 * time.Second // page and picture together
	maxPage      = 512 << 10       // bytes of a page that are looked at: what it says about itself is at its beginning
	maxPicture   = 2 << 20         // bytes
	maxPreviews  = 512             // that are remembered: some 10 KiB each
	previewAgent = "WA-Pro-Hub (link preview)"
)

// without is why there is no preview, for the log: in words that hold nothing of the link, which is something that people wrote.
type without string

func (w without) Error() string { return string(w) }

// why is err if it may be logged; what the network says holds names and addresses.
func why(err error) error {
	if known, ok := errors.AsType[without](err); ok {
		return known
	}
	switch {
	case errors.Is(err, egress.ErrRefused):
		return without("the hub does not call that address")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, egress.ErrTooLarge):
		return without("it is too slow or too large")
	}
	return without("it could not be fetched")
}

// Previews makes previews of links. It is safe for concurrent use.
type Previews struct {
	client *http.Client
	jobs   *jobs[*gateway.LinkPreview]
	log    *slog.Logger
	decode chan struct{} // held while a picture is decoded: one at a time, for it takes much memory
}

// NewPreviews makes a Previews that calls what guard lets through.
func NewPreviews(guard *egress.Guard, log *slog.Logger) *Previews {
	client := guard.Client(egress.Options{Time: previewTime, ConnsPerHost: perTenant})
	return &Previews{client: client, jobs: newJobs[*gateway.LinkPreview](maxPreviews), log: log, decode: make(chan struct{}, 1)}
}

// Close ends what is being fetched and lets go of connections that are kept open.
func (p *Previews) Close() {
	p.jobs.stop()
	p.client.CloseIdleConnections()
}

// Preview gives m a preview of the first link of its text; none when there is no link, or no preview to be had. The only error is a *gateway.SendError
// with gateway.CausePreviewing: the page is still being fetched, m is to come again soon. A message that comes again so gets no such error a second
// time, so nothing holds it up for longer than the bound of a fetch. One page is fetched at a time for all of a tenant's messages that link to it.
func (p *Previews) Preview(ctx context.Context, m *gateway.Message) error {
	link := gateway.FirstLink(m.Text)
	if link == "" {
		return nil
	}
	job := p.jobs.start(strconv.FormatInt(m.TenantKey, 10)+" "+link, m, func(ctx context.Context) (*gateway.LinkPreview, error) {
		ctx, cancel := context.WithTimeout(ctx, previewTime)
		defer cancel()
		return p.make(ctx, link)
	})
	if job == nil { // too many at once: a preview is worth no queue
		p.log.DebugContext(ctx, "a text goes out without its preview", "tenant", m.TenantID, "messageId", m.ID, "error", without("too many are being made"))
		return nil
	}
	again := m.Error != nil && m.Error.Code == gateway.CodePreviewPending
	wait := patience
	if again {
		wait = previewTime
	}
	switch {
	case !job.ended(ctx, wait):
		if again {
			return nil
		}
		return &gateway.SendError{Cause: gateway.CausePreviewing, Err: errors.New("the page of the link is being fetched")}
	case job.err != nil:
		p.log.DebugContext(ctx, "a text goes out without its preview", "tenant", m.TenantID, "messageId", m.ID, "error", why(job.err))
	default:
		m.Preview = job.value
	}
	return nil
}

func (p *Previews) make(ctx context.Context, link string) (*gateway.LinkPreview, error) {
	body, kind, err := p.get(ctx, link, "text/html, application/xhtml+xml")
	if err != nil {
		return nil, fmt.Errorf("fetch the page: %w", err)
	}
	defer body.Close()
	if name, _, err := mime.ParseMediaType(kind); err != nil || name != "text/html" && name != "application/xhtml+xml" {
		return nil, without("the link leads to no page")
	}
	page, err := readPage(io.LimitReader(body, maxPage), kind)
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	if page.title == "" {
		return nil, without("the page has no title")
	}
	preview := &gateway.LinkPreview{Link: link, Title: page.title, Description: page.description}
	if source := page.pictureURL(link); source != "" {
		if preview.JPEG, err = p.picture(ctx, source); err != nil { // the words are worth showing
			p.log.DebugContext(ctx, "a preview has no picture", "error", why(err))
		}
	}
	return preview, nil
}

func (p *Previews) picture(ctx context.Context, source string) ([]byte, error) {
	body, _, err := p.get(ctx, source, "image/jpeg, image/png, image/gif")
	if err != nil {
		return nil, fmt.Errorf("fetch the picture: %w", err)
	}
	defer body.Close()
	raw, err := io.ReadAll(egress.Limit(body, maxPicture))
	if err != nil {
		return nil, fmt.Errorf("read the picture: %w", err)
	}
	select {
	case p.decode <- struct{}{}:
		defer func() { <-p.decode }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return thumbnail(raw)
}

// get asks for url; the caller closes the body. Nothing but 200 is an answer.
func (p *Previews) get(ctx context.Context, url, accept string) (body io.ReadCloser, kind string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", egress.ErrRefused
	}
	req.Header.Set("User-Agent", previewAgent)
	req.Header.Set("Accept", accept)
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // nothing of it is wanted
		return nil, "", without("the answer is " + strconv.Itoa(resp.StatusCode))
	}
	return resp.Body, resp.Header.Get("Content-Type"), nil
}
