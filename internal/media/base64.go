package media

import (
	"bytes"
	"errors"
	"io"

	"github.com/wapro/hub/internal/gateway"
)

// maxPrefix bounds what may stand before the comma of a data URL.
const maxPrefix = 512

// NewBase64Reader decodes base64 as people send it: the standard or the URL alphabet, padded or not, with line breaks,
// and with a data URL's prefix ("data:image/png;base64,") in front of it. Anything else is CodeInvalidMedia. An error
// of r comes through as it is.
func NewBase64Reader(r io.Reader) io.Reader { return &base64Reader{from: r} }

type base64Reader struct {
	from    io.Reader
	in      []byte // read and not decoded yet
	buf     [8 << 10]byte
	started bool // the prefix has been dealt with

	quantum [4]byte // sextets that wait for their group to fill
	have    int
	padding int // '=' seen
	out     []byte
	err     error
}

func (b *base64Reader) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		b.fill()
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// fill reads once and decodes what came.
func (b *base64Reader) fill() {
	n, err := b.from.Read(b.buf[:])
	chunk := b.buf[:n]
	if !b.started {
		// The prefix may come in pieces.
		b.in = append(b.in, chunk...)
		rest, ready, perr := cutPrefix(b.in, err != nil)
		if perr != nil {
			b.err = perr
			return
		}
		chunk = nil
		if ready {
			b.started, b.in, chunk = true, nil, rest
		}
	}
	b.out = b.out[:0]
	for _, c := range chunk {
		if derr := b.decode(c); derr != nil {
			b.err = derr
			return
		}
	}
	if err == nil {
		return
	}
	b.err = err
	if errors.Is(err, io.EOF) {
		if ferr := b.finish(); ferr != nil {
			b.err = ferr
		}
	}
}

// cutPrefix takes the prefix of a data URL off. It is not ready when more has to be read first.
func cutPrefix(in []byte, last bool) (rest []byte, ready bool, err error) {
	const scheme = "data:"
	if !bytes.EqualFold(in[:min(len(in), len(scheme))], []byte(scheme)[:min(len(in), len(scheme))]) {
		return in, true, nil
	}
	head, rest, found := bytes.Cut(in, []byte(","))
	if len(head) > maxPrefix {
		return nil, false, invalidBase64("the data URL has no comma where one belongs")
	}
	if !found {
		if last && len(in) >= len(scheme) {
			return nil, false, invalidBase64("the data URL has no comma where one belongs")
		}
		return in, last, nil
	}
	if !bytes.HasSuffix(bytes.ToLower(head), []byte(";base64")) {
		return nil, false, invalidBase64("the data URL is not in base64")
	}
	return rest, true, nil
}

func (b *base64Reader) decode(c byte) error {
	var v byte
	switch {
	case c >= 'A' && c <= 'Z':
		v = c - 'A'
	case c >= 'a' && c <= 'z':
		v = c - 'a' + 26
	case c >= '0' && c <= '9':
		v = c - '0' + 52
	case c == '+' || c == '-':
		v = 62
	case c == '/' || c == '_':
		v = 63
	case c == '\r' || c == '\n':
		return nil
	case c == '=':
		b.padding++
		if b.have < 2 || b.have+b.padding > 4 {
			return invalidBase64("the padding of the base64 is wrong")
		}
		return nil
	default:
		return invalidBase64("a character is not base64")
	}
	if b.padding > 0 {
		return invalidBase64("the base64 goes on after its padding")
	}
	b.quantum[b.have] = v
	b.have++
	if b.have == 4 {
		b.flush(3)
	}
	return nil
}

// flush puts out the first n bytes of the group.
func (b *base64Reader) flush(n int) {
	q := b.quantum
	group := [3]byte{q[0]<<2 | q[1]>>4, q[1]<<4 | q[2]>>2, q[2]<<6 | q[3]}
	b.out = append(b.out, group[:n]...)
	b.quantum, b.have = [4]byte{}, 0
}

func (b *base64Reader) finish() error {
	switch {
	case b.have == 1:
		return invalidBase64("the base64 is cut off")
	case b.padding > 0 && b.have+b.padding != 4:
		return invalidBase64("the padding of the base64 is wrong")
	case b.have > 0:
		b.flush(b.have - 1)
	}
	return nil
}

func invalidBase64(why string) error {
	return gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media/data", "%s", why)
}
