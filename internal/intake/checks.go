package intake

import (
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wapro/hub/internal/gateway"
)

// checks collects what is wrong with a request, so that its sender learns all of it at once. The code and the message
// are those of the first.
type checks struct{ first *gateway.Error }

func (c *checks) add(code gateway.Code, pointer, format string, args ...any) {
	e := gateway.FieldErrorf(code, pointer, format, args...)
	if c.first == nil {
		c.first = e
		return
	}
	c.first.Fields = append(c.first.Fields, e.Fields...)
}

func (c *checks) err() error {
	if c.first == nil {
		return nil
	}
	return c.first
}

func (c *checks) recipient(s string) string {
	to, err := ParseRecipient(s)
	if err != nil {
		c.add(gateway.CodeInvalidRecipient, "/to", "%s", err.Error())
	}
	return to
}

func (c *checks) text(s string, required bool) {
	switch {
	case len(s) > gateway.MaxTextBytes:
		c.add(gateway.CodeInvalidMessage, "/message", "message is %d bytes long; %d are allowed", len(s), gateway.MaxTextBytes)
	case !utf8.ValidString(s):
		c.add(gateway.CodeInvalidMessage, "/message", "message is not UTF-8")
	case required && strings.TrimSpace(s) == "":
		c.add(gateway.CodeInvalidMessage, "/message", "message must not be empty")
	}
}

func (c *checks) filename(s string) {
	switch {
	case len(s) > gateway.MaxFilenameBytes:
		c.add(gateway.CodeInvalidMedia, "/media/filename", "filename is %d bytes long; %d are allowed", len(s), gateway.MaxFilenameBytes)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsAny(s, `/\`):
		c.add(gateway.CodeInvalidMedia, "/media/filename", "filename must be a plain name without slashes and control characters")
	}
}

func (c *checks) priority(p gateway.Priority) gateway.Priority {
	if p == "" {
		return gateway.PriorityNormal
	}
	if !p.Valid() {
		c.add(gateway.CodeInvalidBody, "/priority", "priority must be high, normal or bulk")
	}
	return p
}

func (c *checks) reference(s string) string {
	switch {
	case len(s) > gateway.MaxReferenceBytes:
		c.add(gateway.CodeInvalidBody, "/reference", "reference is %d bytes long; %d are allowed", len(s), gateway.MaxReferenceBytes)
	case !utf8.ValidString(s):
		c.add(gateway.CodeInvalidBody, "/reference", "reference is not UTF-8")
	}
	return s
}

// schedule checks sendAt; the zero time means now.
func (c *checks) schedule(at, now time.Time) time.Time {
	if wrong := gateway.CheckSchedule(at, now); wrong != "" {
		c.add(gateway.CodeInvalidBody, "/sendAt", "%s", wrong)
	}
	return at.UTC().Truncate(precision)
}

// expiry checks expiresAt, or counts the tenant's default from the time at which the message may first go out.
func (c *checks) expiry(at time.Time, s gateway.Settings, p gateway.Priority, from time.Time) time.Time {
	if at.IsZero() {
		return from.Add(s.ExpiryOf(p))
	}
	if !at.After(from) {
		c.add(gateway.CodeInvalidBody, "/expiresAt", "expiresAt must be in the future, and after sendAt")
	}
	return at.UTC()
}

// url checks where a file is to be fetched from, and what it is said to be.
func (c *checks) url(r gateway.MediaRequest, check func(string) error) {
	if err := check(r.URL); err != nil {
		c.add(gateway.CodeMediaURLRefused, "/media/url", "%s", err)
	}
	if r.MimeType == "" {
		return
	}
	if kind, _, err := mime.ParseMediaType(r.MimeType); err != nil || strings.Count(kind, "/") != 1 {
		c.add(gateway.CodeInvalidMedia, "/media/mimetype", "mimetype must look like image/jpeg")
	}
}
