package gateway

import "strings"

// Bounds of a preview.
const (
	MaxPreviewTitle = 256       // bytes
	MaxPreviewText  = 512       // bytes of its description
	MaxPreviewImage = 16 * 1024 // bytes of its picture
)

// LinkPreview is what a phone shows above a text with a link. The sender makes it: phones fetch nothing.
type LinkPreview struct {
	Link        string // as it stands in the text
	Title       string
	Description string // may be empty
	JPEG        []byte // small; empty: no picture
}

// WantsPreview tells whether m goes out with a preview of its first link, if one can be had.
func (m *Message) WantsPreview() bool {
	return m.Type == TypeText && m.Content != nil && m.Content.LinkPreview
}

// FirstLink is the first http or https URL of a text, as it stands there; empty when there is none.
func FirstLink(text string) string {
	lower := asciiLower(text) // as long as text, byte for byte
	for at := 0; ; {
		next := strings.Index(lower[at:], "http")
		if next < 0 {
			return ""
		}
		at += next
		rest := strings.TrimPrefix(strings.TrimPrefix(lower[at:], "http"), "s")
		if inWord := at > 0 && isWord(lower[at-1]); !inWord && strings.HasPrefix(rest, "://") {
			if link := cutLink(text[at:]); len(link) > len(text)-at-len(rest)+len("://") {
				return link
			}
		}
		at += len("http")
	}
}

// cutLink is text up to where its URL ends. What ends a sentence or closes a bracket around the URL is not of it.
func cutLink(text string) string {
	if end := strings.IndexAny(text, " \t\r\n\v\f<>\"\u00a0\u2028\u2029"); end >= 0 {
		text = text[:end]
	}
	for text != "" {
		last := text[len(text)-1]
		open, closes := map[byte]string{')': "(", ']': "[", '}': "{"}[last]
		if closes && strings.Count(text, open) >= strings.Count(text, string(last)) {
			return text
		}
		if !closes && !strings.ContainsRune(".,;:!?'*_~", rune(last)) {
			return text
		}
		text = text[:len(text)-1]
	}
	return text
}

func isWord(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' }

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
