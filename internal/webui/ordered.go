package webui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// node is a JSON value that keeps the order of its fields, as the description's author chose it.
type node struct {
	fields []field // of an object
	items  []*node // of an array
	scalar json.RawMessage
	kind   byte // '{', '[' or 's'
}

type field struct {
	name  string
	value *node
}

func parseNode(raw []byte) (*node, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	n, err := decodeNode(d)
	if err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return n, nil
}

func decodeNode(d *json.Decoder) (*node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n := &node{kind: byte(t)}
		for d.More() {
			var name string
			if t == '{' {
				key, err := d.Token()
				if err != nil {
					return nil, err
				}
				name, _ = key.(string) // the decoder has seen to it
			}
			value, err := decodeNode(d)
			if err != nil {
				return nil, err
			}
			if t == '{' {
				n.fields = append(n.fields, field{name, value})
			} else {
				n.items = append(n.items, value)
			}
		}
		_, err := d.Token() // the closing one
		return n, err
	default:
		raw, err := marshal(t)
		return &node{kind: 's', scalar: raw}, err
	}
}

func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// get is a field of an object; nil when there is none, also of nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// at follows a JSON pointer (RFC 6901).
func (n *node) at(pointer string) *node {
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		n = n.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
	}
	return n
}

// text is a string's value, and empty of anything else.
func (n *node) text() string {
	var s string
	if n == nil || n.kind != 's' || json.Unmarshal(n.scalar, &s) != nil {
		return ""
	}
	return s
}

// is reports whether this is the scalar with that JSON.
func (n *node) is(scalar string) bool { return n != nil && n.kind == 's' && string(n.scalar) == scalar }

// plain is a scalar without quotes.
func (n *node) plain() string {
	if n == nil {
		return ""
	}
	if s := n.text(); s != "" {
		return s
	}
	return string(n.scalar)
}

// texts are the strings of an array.
func (n *node) texts() []string {
	if n == nil {
		return nil
	}
	var all []string
	for _, item := range n.items {
		all = append(all, item.text())
	}
	return all
}

func stringNode(s string) *node {
	raw, _ := marshal(s) // a string can be rendered
	return &node{kind: 's', scalar: raw}
}

func numberNode(n int) *node { return &node{kind: 's', scalar: json.RawMessage(strconv.Itoa(n))} }

// json renders n; short objects and arrays stay on one line.
func (n *node) json() string {
	var b strings.Builder
	n.write(&b, "", "  ")
	return b.String()
}

const lineWidth = 76

func (n *node) write(b *strings.Builder, prefix, indent string) {
	flat := n.compact()
	if n.kind == 's' || len(prefix)+len(flat) <= lineWidth && (n.kind == '[' || prefix != "") {
		b.WriteString(flat)
		return
	}
	inner := prefix + indent
	opening, closing := "{", "}"
	if n.kind == '[' {
		opening, closing = "[", "]"
	}
	b.WriteString(opening)
	for i := range max(len(n.fields), len(n.items)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n" + inner)
		value := n.child(b, i)
		value.write(b, inner, indent)
	}
	b.WriteString("\n" + prefix + closing)
}

// child writes the name of the i-th part, if it has one, and returns its value.
func (n *node) child(b *strings.Builder, i int) *node {
	if n.kind == '[' {
		return n.items[i]
	}
	b.Write(stringNode(n.fields[i].name).scalar)
	b.WriteString(": ")
	return n.fields[i].value
}

func (n *node) compact() string {
	if n.kind == 's' {
		return string(n.scalar)
	}
	var b strings.Builder
	opening, closing := "{", "}"
	if n.kind == '[' {
		opening, closing = "[", "]"
	}
	b.WriteString(opening)
	for i := range max(len(n.fields), len(n.items)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(n.child(&b, i).compact())
	}
	b.WriteString(closing)
	return b.String()
}
