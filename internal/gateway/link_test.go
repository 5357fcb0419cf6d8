package gateway_test

import (
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

func TestTheFirstLinkOfATextIsFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                         "",
		"no link, http is none, nor https://":      "",
		"https://example.com":                      "https://example.com",
		"see https://example.com/a?b=c#d.":         "https://example.com/a?b=c#d",
		"HTTPS://Example.com/A and http://b.de":    "HTTPS://Example.com/A",
		"(https://example.com/a)":                  "https://example.com/a",
		"https://en.example.org/wiki/A_(b)":        "https://en.example.org/wiki/A_(b)",
		"*https://example.com/x*, \"http://y\"":    "https://example.com/x",
		"first http:// then\nhttp://later.example": "http://later.example",
		"xhttp://example.com https://y.example":    "https://y.example",
		"über http://müller.example/ü!":            "http://müller.example/ü",
		"ftp://example.com":                        "",
	} {
		if got := gateway.FirstLink(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
