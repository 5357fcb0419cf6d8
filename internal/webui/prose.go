package webui

import (
	"html/template"
	"regexp"
	"strings"
)

// prose writes the little Markdown that the description and the catalogue of errors use: paragraphs, lists, code, links as text.
func prose(text string) template.HTML {
	var b strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var paragraph []string
		list := false
		flush := func() {
			if len(paragraph) == 0 {
				return
			}
			tag := "p"
			if list {
				tag = "li"
			}
			b.WriteString("<" + tag + ">" + string(inline(strings.Join(paragraph, " "))) + "</" + tag + ">")
			paragraph = nil
		}
		for line := range strings.SplitSeq(block, "\n") {
			if item, ok := strings.CutPrefix(line, "- "); ok {
				flush()
				if !list {
					b.WriteString("<ul>")
					list = true
				}
				line = item
			}
			if line = strings.TrimSpace(line); line != "" {
				paragraph = append(paragraph, line)
			}
		}
		flush()
		if list {
			b.WriteString("</ul>")
		}
	}
	return template.HTML(b.String()) //nolint:gosec // inline escapes
}

var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)

// inline writes code between backticks as such; links keep their text alone, for they lead to files of the repository.
func inline(text string) template.HTML {
	text = link.ReplaceAllString(text, "$1")
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			b.WriteString("<code>" + template.HTMLEscapeString(part) + "</code>")
		} else {
			b.WriteString(template.HTMLEscapeString(part))
		}
	}
	return template.HTML(strings.ReplaceAll(b.String(), "**", "")) //nolint:gosec // escaped above
}
