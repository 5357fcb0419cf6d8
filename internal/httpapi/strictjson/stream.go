package strictjson

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// stream is the inside of a string: io.EOF at the closing quote.
type stream struct {
	d       *Decoder
	err     error // sticky; io.EOF behind the closing quote
	pending [utf8.UTFMax]byte
	left    int // bytes of pending not read yet
	start   int
}

// longestEscape is the longest escape sequence: a surrogate pair.
const longestEscape = len(`\ud83d\ude00`)

// Read implements io.Reader. What has been read goes on at once; it never waits for more of the source with something
// in hand.
func (s *stream) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if s.left > 0 {
			c := copy(p[n:], s.pending[s.start:s.start+s.left])
			n, s.start, s.left = n+c, s.start+c, s.left-c
			continue
		}
		if s.err != nil || n > 0 && s.d.r.Buffered() == 0 {
			break
		}
		run, err := s.run(p[n:])
		n += run
		switch {
		case err != nil:
			s.err = err
		case run > 0:
		case n > 0 && s.d.r.Buffered() < longestEscape:
			return n, nil
		default:
			s.err = s.special()
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, s.err
}

// run copies the plain bytes that come next to p; none when a quote, an escape or a control character is next.
func (s *stream) run(p []byte) (int, error) {
	if s.d.r.Buffered() == 0 {
		if _, err := s.d.r.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, s.d.fail(Syntax, "ends too early")
			}
			return 0, fmt.Errorf("read body: %w", err)
		}
	}
	ahead, err := s.d.r.Peek(min(s.d.r.Buffered(), len(p)))
	if err != nil {
		return 0, fmt.Errorf("read body: %w", err)
	}
	n := 0
	for n < len(ahead) && ahead[n] != '"' && ahead[n] != '\\' && ahead[n] >= ' ' {
		n++
	}
	copy(p, ahead[:n])
	if _, err := s.d.r.Discard(n); err != nil {
		return 0, fmt.Errorf("read body: %w", err)
	}
	return n, nil
}

// special reads what run stopped at.
func (s *stream) special() error {
	c, err := s.d.byte()
	if err != nil {
		return err
	}
	switch {
	case c == '"':
		return io.EOF
	case c < ' ':
		return s.d.fail(Syntax, "holds a control character that is not escaped")
	}
	if c, err = s.d.byte(); err != nil {
		return err
	}
	switch c {
	case '"', '\\', '/':
		s.put(rune(c))
	case 'b':
		s.put('\b')
	case 'f':
		s.put('\f')
	case 'n':
		s.put('\n')
	case 'r':
		s.put('\r')
	case 't':
		s.put('\t')
	case 'u':
		return s.unicode()
	default:
		return s.d.fail(Syntax, `holds an escape JSON does not have`)
	}
	return nil
}

func (s *stream) unicode() error {
	r, err := s.hex4()
	if err != nil {
		return err
	}
	if utf16.IsSurrogate(r) {
		for _, want := range []byte{'\\', 'u'} {
			c, err := s.d.byte()
			if err != nil {
				return err
			}
			if c != want {
				return s.d.fail(Syntax, "holds half a surrogate pair")
			}
		}
		low, err := s.hex4()
		if err != nil {
			return err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return s.d.fail(Syntax, "holds half a surrogate pair")
		}
	}
	s.put(r)
	return nil
}

func (s *stream) hex4() (rune, error) {
	var r rune
	for range 4 {
		c, err := s.d.byte()
		if err != nil {
			return 0, err
		}
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, s.d.fail(Syntax, `holds a \u escape without four hexadecimal digits`)
		}
	}
	return r, nil
}

func (s *stream) put(r rune) {
	s.start, s.left = 0, utf8.EncodeRune(s.pending[:], r)
}
