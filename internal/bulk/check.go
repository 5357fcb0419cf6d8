package bulk

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wapro/hub/internal/gateway"
)

// draft is a request that was checked as a whole: what all its messages have in common.
type draft struct {
	req    gateway.BulkRequest
	tenant gateway.Tenant
	now    time.Time
	text   template
	model  gateway.Message // without what is a row's own
}

// fault is what is wrong with a row.
type fault struct {
	code    gateway.Code
	pointer string // below the row
	detail  string
}

// check checks what all messages have in common; errors are *gateway.Error with a pointer for each field that is wrong.
func (s *Service) check(ctx context.Context, tenant gateway.Tenant, req gateway.BulkRequest) (*draft, error) {
	d := &draft{req: req, tenant: tenant, now: s.Clock().UTC()}
	var refusal *gateway.Error
	refuse := func(code gateway.Code, pointer, format string, args ...any) {
		e := gateway.FieldErrorf(code, pointer, format, args...)
		if refusal == nil {
			refusal = e
			return
		}
		refusal.Fields = append(refusal.Fields, e.Fields...)
	}
	if len(req.Name) > gateway.MaxBulkNameBytes || !storable(req.Name) {
		refuse(gateway.CodeInvalidBody, "/name", "name must be a text of %d bytes at most", gateway.MaxBulkNameBytes)
	}
	if wrong := gateway.CheckSchedule(req.SendAt, d.now); wrong != "" {
		refuse(gateway.CodeInvalidBody, "/sendAt", "%s", wrong)
	}
	from := d.now // the expiry counts from here
	if req.SendAt.After(from) {
		from = req.SendAt
	}
	if req.Priority == "" {
		d.req.Priority = gateway.PriorityBulk
	} else if !req.Priority.Valid() {
		refuse(gateway.CodeInvalidBody, "/priority", "priority must be high, normal or bulk")
	}
	if len(req.Reference) > gateway.MaxReferenceBytes || !storable(req.Reference) {
		refuse(gateway.CodeInvalidBody, "/reference", "reference must be a text of %d bytes at most", gateway.MaxReferenceBytes)
	}
	switch {
	case req.ExpiresAt.IsZero():
		d.req.ExpiresAt = from.Add(tenant.Settings.ExpiryOf(d.req.Priority))
	case !req.ExpiresAt.After(from):
		refuse(gateway.CodeInvalidBody, "/expiresAt", "expiresAt must be in the future, and after sendAt")
	}
	switch req.OnInvalid {
	case gateway.RefuseInvalid, gateway.SkipInvalid:
	case "":
		d.req.OnInvalid = gateway.RefuseInvalid
	default:
		refuse(gateway.CodeInvalidBody, "/onInvalid", "onInvalid must be refuse or skip")
	}
	if req.MaxFailureRate == 0 {
		d.req.MaxFailureRate = gateway.DefaultMaxFailureRate
	} else if math.IsNaN(req.MaxFailureRate) || req.MaxFailureRate < 0 || req.MaxFailureRate > 1 {
		refuse(gateway.CodeInvalidBody, "/maxFailureRate", "maxFailureRate must be above 0 and at most 1")
	}
	if req.Rows.Len() == 0 {
		refuse(gateway.CodeInvalidBody, req.At, "there must be 1 to %d rows", gateway.MaxBulkRows)
	}
	d.checkText(refuse)
	if req.LinkPreview && req.Media != nil {
		refuse(gateway.CodeInvalidBody, "/linkPreview", "only a text shows a preview of its link")
	}
	media := s.checkMedia(ctx, req.Media, refuse)
	if refusal != nil {
		return nil, refusal
	}
	d.model = gateway.Message{
		TenantKey: tenant.Key, TenantID: tenant.ID, Type: gateway.TypeText, Media: media, Priority: d.req.Priority,
		Status: gateway.StatusQueued, Phase: gateway.PhaseStaged, CreatedAt: d.now, UpdatedAt: d.now, SendAt: d.req.SendAt, ExpiresAt: d.req.ExpiresAt,
	}
	switch {
	case req.LinkPreview:
		d.model.Content = &gateway.Content{LinkPreview: true}
	case media != nil:
		d.model.Type = media.Type()
	case req.Media != nil: // fetched when the first of them goes out
		file := &gateway.RemoteFile{URL: req.Media.URL, MimeType: req.Media.MimeType, Filename: req.Media.Filename}
		d.model.Content, d.model.Type = &gateway.Content{File: file}, gateway.GuessType(file)
	}
	return d, nil
}

type refuser func(code gateway.Code, pointer, format string, args ...any)

func (d *draft) checkText(refuse refuser) {
	text := d.req.Text
	switch {
	case d.req.OwnTexts:
		return
	case len(text) > gateway.MaxTextBytes:
		refuse(gateway.CodeInvalidMessage, "/message", "message is %d bytes long; %d are allowed", len(text), gateway.MaxTextBytes)
		return
	case !utf8.ValidString(text):
		refuse(gateway.CodeInvalidMessage, "/message", "message is not UTF-8")
		return
	case d.req.Media == nil && strings.TrimSpace(text) == "":
		refuse(gateway.CodeInvalidMessage, "/message", "message must not be empty")
		return
	}
	var err error
	if d.text, err = parseTemplate(text); err != nil {
		refuse(gateway.CodeInvalidMessage, "/message", "%s", err)
	}
}

func (s *Service) checkMedia(ctx context.Context, m *gateway.BulkMedia, refuse refuser) *gateway.Media {
	if m == nil {
		return nil
	}
	if len(m.Filename) > gateway.MaxFilenameBytes || !utf8.ValidString(m.Filename) ||
		strings.ContainsFunc(m.Filename, unicode.IsControl) || strings.ContainsAny(m.Filename, `/\`) {
		refuse(gateway.CodeInvalidMedia, "/media/filename", "filename must be a plain name of %d bytes at most", gateway.MaxFilenameBytes)
	}
	if m.URL != "" {
		if err := s.CheckURL(m.URL); err != nil {
			refuse(gateway.CodeMediaURLRefused, "/media/url", "%s", err)
		}
		if kind, _, err := mime.ParseMediaType(m.MimeType); m.MimeType != "" && (err != nil || strings.Count(kind, "/") != 1) {
			refuse(gateway.CodeInvalidMedia, "/media/mimetype", "mimetype must look like image/jpeg")
		}
		return nil
	}
	media, err := s.Media.Describe(ctx, m.MimeType, m.Blob)
	if err != nil {
		code, detail := gateway.CodeOf(err), "the file cannot be used"
		if refused(err) {
			detail = err.Error()
		}
		refuse(code, "/media", "%s", detail)
		return nil
	}
	media.Filename = m.Filename
	return &media
}

// storable reports whether every database takes s as a short text.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// verdicts are what the check of the rows found.
type verdicts struct {
	to      []string // by row, from 0: the recipient as it is stored; "" when the row is invalid or empty
	empty   int      // of the rows
	invalid []gateway.BulkInvalid
	faulty  int                  // of them, those that the request is to blame for
	fields  []gateway.FieldError // for the first MaxRejected of invalid
}

// checkRows checks every row.
func (s *Service) checkRows(ctx context.Context, d *draft) (*verdicts, error) {
	v := &verdicts{to: make([]string, 0, d.req.Rows.Len())}
	seen := make(map[string]struct{}, d.req.Rows.Len())
	err := d.req.Rows.Each(func(n int, row gateway.BulkRow) error {
		if n%gateway.StageBatch == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if row.Empty {
			v.to = append(v.to, "")
			v.empty++
			return nil
		}
		to, f := s.checkRow(d, row, seen)
		v.to = append(v.to, to)
		if f == nil {
			return nil
		}
		v.invalid = append(v.invalid, gateway.BulkInvalid{Row: n, To: shown(row.To), Code: f.code, Detail: f.detail})
		if len(v.fields) < gateway.MaxRejected {
			v.fields = append(v.fields, gateway.FieldError{
				Pointer: d.req.At + "/" + strconv.Itoa(n-1) + f.pointer, Detail: fmt.Sprintf("row %d: %s (%s)", n, f.detail, f.code),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	v.faulty = len(v.invalid)
	return v, s.leaveOut(ctx, d.tenant.Key, v)
}

// leaveOut takes those who opted out from the rows. That is no mistake of the request: they are listed, and the others sent.
func (s *Service) leaveOut(ctx context.Context, tenantKey int64, v *verdicts) error {
	if any, err := s.Store.OptOuts(ctx, tenantKey, "", 1); err != nil || len(any) == 0 {
		return err
	}
	names := make([]string, 0, len(v.to))
	for _, to := range v.to {
		if to != "" {
			names = append(names, gateway.OptOutName(to))
		}
	}
	out, err := s.Store.OptedOut(ctx, tenantKey, names)
	if err != nil {
		return err
	}
	for i, to := range v.to {
		if to != "" && out[gateway.OptOutName(to)] {
			v.to[i] = ""
			v.invalid = append(v.invalid, gateway.BulkInvalid{Row: i + 1, To: to, Code: gateway.CodeOptedOut, Detail: "the recipient wants no bulk messages"})
		}
	}
	slices.SortFunc(v.invalid, func(a, b gateway.BulkInvalid) int { return cmp.Compare(a.Row, b.Row) })
	return nil
}

func (s *Service) checkRow(d *draft, row gateway.BulkRow, seen map[string]struct{}) (to string, f *fault) {
	if row.Fault != "" {
		return "", &fault{gateway.CodeInvalidBody, "", row.Fault}
	}
	to, err := s.ParseRecipient(row.To)
	if err != nil {
		return "", &fault{gateway.CodeInvalidRecipient, "/to", err.Error()}
	}
	if len(row.Reference) > gateway.MaxReferenceBytes || !storable(row.Reference) {
		return "", &fault{gateway.CodeInvalidBody, "/reference", fmt.Sprintf("reference must be a text of %d bytes at most", gateway.MaxReferenceBytes)}
	}
	text, missing := d.render(row)
	switch {
	case missing != "":
		return "", &fault{gateway.CodeMissingVariable, "/vars/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(missing), "there is no value for {{" + missing + "}}"}
	case d.req.Media == nil && strings.TrimSpace(text) == "":
		return "", &fault{gateway.CodeInvalidMessage, d.textPointer(), "its message is empty"}
	case len(text) > gateway.MaxTextBytes:
		return "", &fault{gateway.CodeInvalidMessage, d.textPointer(), fmt.Sprintf("its message is %d bytes long; %d are allowed", len(text), gateway.MaxTextBytes)}
	case !utf8.ValidString(text):
		return "", &fault{gateway.CodeInvalidMessage, d.textPointer(), "its message is not UTF-8"}
	}
	// The JID of a number is the number.
	key := gateway.OptOutName(to)
	if d.req.OwnTexts { // two different messages to one recipient are no mistake
		sum := sha256.Sum256([]byte(text))
		key += string(sum[:])
	}
	if _, twice := seen[key]; twice {
		return "", &fault{gateway.CodeDuplicateRecipient, "/to", "an earlier row has this recipient"}
	}
	seen[key] = struct{}{}
	return to, nil
}

func (d *draft) render(row gateway.BulkRow) (text, missing string) {
	if d.req.OwnTexts {
		return row.Text, ""
	}
	return d.text.render(row.Vars)
}

// textPointer points at a row's own text, or at the row.
func (d *draft) textPointer() string {
	if d.req.OwnTexts {
		return "/message"
	}
	return ""
}

// maxShown bounds a recipient that is none, in bytes.
const maxShown = 64

// shown is a recipient as it was given, as far as it can be stored and shown.
func shown(to string) string {
	to = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(to, ""))
	if len(to) > maxShown {
		to = strings.ToValidUTF8(to[:maxShown], "")
	}
	return to
}

// refusal is the answer to a request with rows that cannot be sent.
func (v *verdicts) refusal(of int) error {
	if v.faulty == 0 {
		return gateway.Errorf(gateway.CodeInvalidRecipient, "all %d recipients want no bulk messages", of)
	}
	first := v.invalid[slices.IndexFunc(v.invalid, func(r gateway.BulkInvalid) bool { return r.Code != gateway.CodeOptedOut })]
	e := gateway.Errorf(first.Code, "%d of %d rows cannot be sent, the first is row %d: %s", v.faulty, of, first.Row, first.Detail)
	e.Fields = v.fields
	return e
}
