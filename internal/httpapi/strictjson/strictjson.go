// Package strictjson reads one JSON document as a stream and refuses what a lenient decoder would let pass: names given
// twice, null where a value is due, lone surrogates, invalid UTF-8, and anything behind the document. It allocates no
// more than the strings it is asked for, and hands a string of any length to a reader while it arrives.
package strictjson

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says what is wrong.
type Kind int

// The kinds.
const (
	Syntax    Kind = iota // not JSON
	WrongType             // JSON, but not what is due here
	Unknown               // a name nobody asked for; made by UnknownField
	Duplicate             // a name given twice in one object
	TooLong               // a string or an array over its bound
)

// Error is a refusal. Pointer is a JSON pointer (RFC 6901) to what is wrong.
type Error struct {
	Kind    Kind
	Pointer string
	Detail  string
}

func (e *Error) Error() string { return fmt.Sprintf("json at %q: %s", e.Pointer, e.Detail) }

// maxName bounds a field's name in bytes.
const maxName = 256

// Decoder reads one document. It is not safe for concurrent use.
type Decoder struct {
	r    *bufio.Reader
	path []string // names and indexes down to the current value
}

// NewDecoder reads from r, up to size bytes ahead.
func NewDecoder(r io.Reader, size int) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, size)}
}

// Pointer is the JSON pointer of the current value.
func (d *Decoder) Pointer() string {
	if len(d.path) == 0 {
		return ""
	}
	var b strings.Builder
	for _, name := range d.path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}

// UnknownField is the refusal of the current field.
func (d *Decoder) UnknownField() error { return d.fail(Unknown, "this field does not exist") }

// Object reads an object and calls field for each name; field must read the value.
func (d *Decoder) Object(field func(name string) error) error {
	if err := d.open('{', "must be an object"); err != nil {
		return err
	}
	var seen []string
	for first := true; ; first = false {
		c, err := d.token()
		if err != nil {
			return err
		}
		if c == '}' && first {
			return nil
		}
		if !first {
			if c == '}' {
				return nil
			}
			if c != ',' {
				return d.fail(Syntax, "expected , or } and found %s", show(c))
			}
			if c, err = d.token(); err != nil {
				return err
			}
		}
		if c != '"' {
			return d.fail(Syntax, "expected a field name and found %s", show(c))
		}
		name, err := d.text(maxName)
		if err != nil {
			return err
		}
		d.path = append(d.path, name)
		for _, s := range seen {
			if s == name {
				return d.fail(Duplicate, "this field is given twice")
			}
		}
		seen = append(seen, name)
		if c, err = d.token(); err != nil {
			return err
		}
		if c != ':' {
			return d.fail(Syntax, "expected : and found %s", show(c))
		}
		if err := field(name); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
	}
}

// Array reads an array of at most limit items and calls item for each; item must read the value.
func (d *Decoder) Array(limit int, item func() error) error {
	if err := d.open('[', "must be an array"); err != nil {
		return err
	}
	c, err := d.token()
	if err != nil {
		return err
	}
	if c == ']' {
		return nil
	}
	if err := d.r.UnreadByte(); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	for i := 0; ; i++ {
		if i == limit {
			return d.fail(TooLong, "has more than %d items", limit)
		}
		d.path = append(d.path, strconv.Itoa(i))
		if err := item(); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
		c, err := d.token()
		switch {
		case err != nil:
			return err
		case c == ']':
			return nil
		case c != ',':
			return d.fail(Syntax, "expected , or ] and found %s", show(c))
		}
	}
}

// Null reads null when it is next and reports whether it was.
func (d *Decoder) Null() (bool, error) {
	c, err := d.token()
	if err != nil {
		return false, err
	}
	if c == 'n' {
		return true, d.rest("null"[1:])
	}
	if err := d.r.UnreadByte(); err != nil {
		return false, fmt.Errorf("read body: %w", err)
	}
	return false, nil
}

// Bool reads true or false.
func (d *Decoder) Bool() (bool, error) {
	c, err := d.token()
	if err != nil {
		return false, err
	}
	switch c {
	case 't':
		return true, d.rest("true"[1:])
	case 'f':
		return false, d.rest("false"[1:])
	}
	return false, d.notA(c, "must be true or false")
}

// String reads a string of at most limit bytes of UTF-8.
func (d *Decoder) String(limit int) (string, error) {
	if err := d.open('"', "must be a string"); err != nil {
		return "", err
	}
	return d.text(limit)
}

// Stream reads a string of any length: read gets its bytes, escapes undone, as they arrive. What read leaves is
// skipped. The bytes are not checked for UTF-8. An error of the document or its source goes before read's own.
func (d *Decoder) Stream(read func(io.Reader) error) error {
	if err := d.open('"', "must be a string"); err != nil {
		return err
	}
	s := &stream{d: d}
	err := read(s)
	if s.err == nil && err == nil {
		_, err = io.Copy(io.Discard, s)
	}
	if s.err != nil && !errors.Is(s.err, io.EOF) {
		return s.err
	}
	return err
}

// End refuses anything but white space behind the document.
func (d *Decoder) End() error {
	for {
		c, err := d.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		if !space(c) {
			return d.fail(Syntax, "expected the end and found %s", show(c))
		}
	}
}

func (d *Decoder) fail(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Pointer: d.Pointer(), Detail: fmt.Sprintf(format, args...)}
}

func (d *Decoder) open(want byte, otherwise string) error {
	c, err := d.token()
	if err != nil {
		return err
	}
	if c != want {
		return d.notA(c, otherwise)
	}
	return nil
}

// notA tells a value of another type from no value at all, by its first byte.
func (d *Decoder) notA(c byte, detail string) error {
	if strings.IndexByte(`{["tfn-0123456789`, c) >= 0 {
		return d.fail(WrongType, "%s", detail)
	}
	return d.fail(Syntax, "expected a value and found %s", show(c))
}

// token returns the next byte that is not white space.
func (d *Decoder) token() (byte, error) {
	for {
		c, err := d.byte()
		if err != nil || !space(c) {
			return c, err
		}
	}
}

func (d *Decoder) byte() (byte, error) {
	c, err := d.r.ReadByte()
	if errors.Is(err, io.EOF) {
		return 0, d.fail(Syntax, "ends too early")
	}
	if err != nil {
		return 0, fmt.Errorf("read body: %w", err)
	}
	return c, nil
}

func (d *Decoder) rest(word string) error {
	for i := range len(word) {
		c, err := d.byte()
		if err != nil {
			return err
		}
		if c != word[i] {
			return d.fail(Syntax, "is not a value")
		}
	}
	return nil
}

// text reads the rest of a string behind its opening quote.
func (d *Decoder) text(limit int) (string, error) {
	s := &stream{d: d}
	var small [256]byte
	buf := small[:0]
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := s.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return "", d.fail(TooLong, "is longer than %d bytes", limit)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if !utf8.Valid(buf) {
		return "", d.fail(Syntax, "is not valid UTF-8")
	}
	return string(buf), nil
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func show(c byte) string { return strconv.QuoteRuneToASCII(rune(c)) }
