package bulk

import (
	"errors"
	"strings"
)

// template is a text with {{placeholders}}. A placeholder is what stands between two pairs of braces, without the white space
// around it; values are put in as they are, so that what they hold is never taken for a placeholder.
type template struct {
	texts []string // one more than names; they alternate, beginning with a text
	names []string
}

// parseTemplate reads a template. Its error may be shown.
func parseTemplate(text string) (template, error) {
	var t template
	for {
		before, rest, found := strings.Cut(text, "{{")
		t.texts = append(t.texts, before)
		if !found {
			return t, nil
		}
		name, after, closed := strings.Cut(rest, "}}")
		name = strings.TrimSpace(name)
		if !closed {
			return t, errors.New("a placeholder that begins with {{ does not end with }}")
		}
		if name == "" || strings.ContainsAny(name, "{}\n") {
			return t, errors.New("a placeholder is a name between {{ and }}")
		}
		t.names = append(t.names, name)
		text = after
	}
}

// render puts vars in. When one is missing it returns its name instead.
func (t template) render(vars map[string]string) (text, missing string) {
	if len(t.names) == 0 {
		return t.texts[0], ""
	}
	var b strings.Builder
	for i, name := range t.names {
		value, ok := vars[name]
		if !ok {
			return "", name
		}
		b.WriteString(t.texts[i])
		b.WriteString(value)
	}
	b.WriteString(t.texts[len(t.names)])
	return b.String(), ""
}
