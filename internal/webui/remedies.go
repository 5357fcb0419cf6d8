package webui

import (
	"strconv"
	"strings"
)

// remedy is what the catalogue of errors says of one code.
type remedy struct {
	Code   string
	Status int // 0: only messages carry it
	Means  string
	Do     string
	Order  int
}

// readRemedies reads docs/errors.md: under each "### code" a paragraph that may begin with its status, and a line "Remedy: ...". That
// every code is there and has a remedy is held by a test of the API's.
func readRemedies(catalogue []byte) map[string]remedy {
	all := map[string]remedy{}
	for i, part := range strings.Split("\n"+string(catalogue), "\n### ")[1:] {
		code, text, _ := strings.Cut(part, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		means, do, _ := strings.Cut(text, "\nRemedy: ")
		r := remedy{Code: strings.TrimSpace(code), Means: paragraph(means), Do: paragraph(do), Order: i}
		if rest, ok := strings.CutPrefix(r.Means, "HTTP "); ok {
			number, rest, _ := strings.Cut(rest, ".")
			r.Status, _ = strconv.Atoi(number) // 0 when it is none
			r.Means = strings.TrimSpace(rest)
		} else {
			r.Means = strings.TrimSpace(strings.TrimPrefix(r.Means, "Message."))
		}
		all[r.Code] = r
	}
	return all
}

func paragraph(text string) string { return strings.Join(strings.Fields(text), " ") }
