package fetch

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"github.com/wapro/hub/internal/gateway"
)

// page is what a web page says of itself: by the Open Graph protocol (https://ogp.me), else by HTML's own means.
type page struct {
	title       string
	description string
	picture     string // as written in the page
}

// maxToken bounds a tag or a text of a page in memory.
const maxToken = 64 << 10

// readPage reads the head of a page of the declared type. A page that breaks off is good for what it has said.
func readPage(r io.Reader, contentType string) (page, error) {
	decoded, err := charset.NewReader(r, contentType)
	if errors.Is(err, io.EOF) { // it is empty
		return page{}, nil
	}
	if err != nil {
		return page{}, fmt.Errorf("find out how it is encoded: %w", err)
	}
	var graph, plain page
	tokens := html.NewTokenizer(decoded)
	tokens.SetMaxBuf(maxToken)
	inTitle := false
	for {
		switch kind := tokens.Next(); kind {
		case html.ErrorToken:
			return merged(graph, plain), nil
		case html.TextToken:
			if inTitle && plain.title == "" {
				plain.title = string(tokens.Text())
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := tokens.TagName()
			switch atom.Lookup(name) {
			case atom.Body: // what it says of itself is over
				return merged(graph, plain), nil
			case atom.Title:
				inTitle = true
			case atom.Meta:
				if more {
					meta(tokens, &graph, &plain)
				}
			default:
			}
		case html.EndTagToken:
			if name, _ := tokens.TagName(); atom.Lookup(name) == atom.Title {
				inTitle = false
			}
		default:
		}
	}
}

// meta reads a meta element. The first of a name counts.
func meta(tokens *html.Tokenizer, graph, plain *page) {
	var name, content string
	for more := true; more; {
		var key, value []byte
		key, value, more = tokens.TagAttr()
		switch string(key) {
		case "property", "name":
			if name == "" {
				name = strings.ToLower(strings.TrimSpace(string(value)))
			}
		case "content":
			content = string(value)
		}
	}
	first := func(to *string) {
		if *to == "" {
			*to = content
		}
	}
	switch name {
	case "og:title":
		first(&graph.title)
	case "og:description":
		first(&graph.description)
	case "og:image", "og:image:url", "og:image:secure_url":
		first(&graph.picture)
	case "description":
		first(&plain.description)
	}
}

func merged(graph, plain page) page {
	out := page{
		title:       tidy(graph.title, gateway.MaxPreviewTitle),
		description: tidy(graph.description, gateway.MaxPreviewText),
		picture:     strings.TrimSpace(graph.picture),
	}
	if out.title == "" {
		out.title = tidy(plain.title, gateway.MaxPreviewTitle)
	}
	if out.description == "" {
		out.description = tidy(plain.description, gateway.MaxPreviewText)
	}
	return out
}

// tidy makes one line of at most limit bytes of s.
func tidy(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	const more = "…"
	return strings.TrimSpace(strings.ToValidUTF8(s[:limit-len(more)], "")) + more
}

// pictureURL is where the picture of the page at link is; empty: it names none.
func (p page) pictureURL(link string) string {
	base, err := url.Parse(link)
	if err != nil || p.picture == "" {
		return ""
	}
	at, err := base.Parse(p.picture)
	if err != nil {
		return ""
	}
	return at.String()
}
