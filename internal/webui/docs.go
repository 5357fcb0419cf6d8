package webui

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// documentation is what the pages about the API are made of, read once.
type documentation struct {
	*description
	core     []coreSample
	snippets map[string][]code // by operation
	statuses []statusRow
	errors   []remedy // in the catalogue's order
}

// coreSample is one of the calls that most readers come for.
type coreSample struct {
	Title string
	*operation
	Codes []code
}

// statusRow is a line of the table of statuses.
type statusRow struct{ Name, Means, Ends string }

func readDocumentation(deps Deps, remedies map[string]remedy) (*documentation, error) {
	api, err := readDescription(deps.Description)
	if err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	d := &documentation{description: api, snippets: map[string][]code{}, statuses: readStatuses(deps.Statuses)}
	for _, core := range []struct{ id, title string }{{"postMessage", "Send Text Message"}, {"postMedia", "Send Image/PDF/Audio"}} {
		o := api.byID[core.id]
		if o == nil {
			return nil, fmt.Errorf("the description has no operation %s", core.id)
		}
		codes, err := readSamples(o)
		if err != nil {
			return nil, fmt.Errorf("read the samples: %w", err)
		}
		d.core = append(d.core, coreSample{core.title, o, codes})
	}
	for id, o := range api.byID {
		if !o.Planned {
			d.snippets[id] = snippets(o)
		}
	}
	for _, r := range remedies {
		d.errors = append(d.errors, r)
	}
	slices.SortFunc(d.errors, func(a, b remedy) int { return cmp.Compare(a.Order, b.Order) })
	return d, nil
}

// readStatuses reads the first table of docs/message-status.md.
func readStatuses(page []byte) []statusRow {
	_, table, _ := strings.Cut(string(page), "\n| status | means | ends? |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []statusRow
	for _, line := range strings.Split(table, "\n")[1:] {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			rows = append(rows, statusRow{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])})
		}
	}
	return rows
}

func (s *Site) docsRoutes() []route {
	return []route{
		{"GET /docs", forAnybody, (*visit).docs},
		{"GET /docs/reference", forAnybody, (*visit).reference},
		{"GET /docs/reference/errors", forAnybody, (*visit).referenceErrors},
		{"GET /docs/reference/{operation}", forAnybody, (*visit).operation},
	}
}

// reader is what pages with code know of who reads them.
type reader struct {
	Fill     fill
	Language string
	Channels []string // to choose from; empty: the reader types one
}

// reader begins with the address that the page was asked for, and with the visitor's channel.
func (v *visit) reader() (reader, error) {
	r := reader{Language: v.r.FormValue("lang"), Fill: fill{Base: v.base(), Channel: v.r.FormValue("channel"), Token: "YOUR_TOKEN"}}
	if !slices.ContainsFunc(languages(), func(l language) bool { return l.Name == r.Language }) {
		r.Language = languages()[0].Name
	}
	if v.signedIn {
		list, err := v.channelList()
		if err != nil {
			return r, err
		}
		for _, c := range list {
			r.Channels = append(r.Channels, c.ID)
		}
		if !slices.Contains(r.Channels, r.Fill.Channel) {
			r.Fill.Channel = ""
		}
	}
	if !gateway.ValidTenantID(r.Fill.Channel) {
		r.Fill.Channel = "algo"
		if len(r.Channels) > 0 && !slices.Contains(r.Channels, "algo") {
			r.Fill.Channel = r.Channels[0]
		}
	}
	return r, nil
}

// base is the hub's address as the reader's browser knows it.
func (v *visit) base() string {
	scheme := "http"
	if v.r.TLS != nil || strings.EqualFold(v.r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: v.r.Host}).String()
}

func (v *visit) docs() error {
	r, err := v.reader()
	if err != nil {
		return err
	}
	data := struct {
		reader
		Core      []coreSample
		Groups    []*group
		Statuses  []statusRow
		Refusals  []remedy
		OfMessage []remedy
		Languages []language
	}{reader: r, Core: v.documentation.core, Groups: v.documentation.Groups, Statuses: v.documentation.statuses, Languages: languages()}
	for _, e := range v.documentation.errors {
		if e.Status != 0 {
			data.Refusals = append(data.Refusals, e)
		} else {
			data.OfMessage = append(data.OfMessage, e)
		}
	}
	return v.render("docs", view{Title: "API Documentation", Nav: "docs", Scripts: []string{"docs.js"}, Data: data})
}

func (v *visit) reference() error {
	return v.render("reference", view{Title: "API reference", Nav: "reference", Data: v.documentation.description})
}

// errorExample is one refusal as the API sends it.
type errorExample struct {
	remedy
	JSON string
}

func (v *visit) referenceErrors() error {
	var all []errorExample
	for _, e := range v.documentation.errors {
		if e.Status != 0 {
			all = append(all, errorExample{e, e.problem().json()})
		}
	}
	return v.render("errors", view{Title: "Errors", Nav: "reference", Data: struct {
		Groups []*group
		Errors []errorExample
	}{v.documentation.Groups, all}})
}

// answerExample is one answer of an operation with what it looks like.
type answerExample struct {
	response
	Title    string
	Examples []example
	Codes    []string // of refusals with this status
}

func (v *visit) operation() error {
	o := v.documentation.byID[v.r.PathValue("operation")]
	if o == nil {
		return gateway.Errorf(gateway.CodeNotFound, "there is no operation %s", v.r.PathValue("operation"))
	}
	r, err := v.reader()
	if err != nil {
		return err
	}
	data := struct {
		reader
		*operation
		Groups    []*group
		Codes     []code
		Answers   []answerExample
		Languages []language
	}{reader: r, operation: o, Groups: v.documentation.Groups, Codes: v.documentation.snippets[o.ID], Languages: languages()}
	for _, answer := range o.Responses {
		data.Answers = append(data.Answers, v.documentation.answer(answer))
	}
	return v.render("operation", view{Title: o.Summary, Nav: "reference", Scripts: []string{"docs.js"}, Data: data})
}

// answer finds what an answer looks like: the description's example, and of a refusal one with a code that has this status.
func (d *documentation) answer(r response) answerExample {
	out := answerExample{response: r, Title: http.StatusText(r.Status)}
	for _, c := range r.Contents {
		out.Examples = append(out.Examples, c.Examples...)
	}
	if r.Good() {
		return out
	}
	for _, e := range d.errors {
		if e.Status != r.Status {
			continue
		}
		if len(out.Codes) == 0 {
			out.Examples = []example{{JSON: e.problem().json()}}
		}
		out.Codes = append(out.Codes, e.Code)
	}
	return out
}

// problem is a refusal with this code.
func (r remedy) problem() *node {
	pointer := map[string]string{
		"unknown_field": "/mesage", "invalid_body": "/message", "invalid_recipient": "/to", "invalid_message": "/message", "invalid_media": "/media/data",
		"media_type_mismatch": "/media/mimetype", "duplicate_recipient": "/recipients/1/to", "missing_variable": "/recipients/0/vars",
	}[r.Code]
	detail, _, _ := strings.Cut(strings.ReplaceAll(r.Means, "`", ""), ". ")
	detail = strings.TrimSuffix(detail, ".")
	errors := &node{kind: '['}
	if pointer != "" {
		errors.items = []*node{{kind: '{', fields: []field{{"pointer", stringNode(pointer)}, {"detail", stringNode(detail)}}}}
	}
	return &node{kind: '{', fields: []field{
		{"type", stringNode("https://github.com/wapro/hub/blob/main/docs/errors.md#" + r.Code)},
		{"title", stringNode(titleOf(r.Code))},
		{"status", numberNode(r.Status)},
		{"detail", stringNode(detail)},
		{"code", stringNode(r.Code)},
		{"requestId", stringNode("4f1c0e6a9b7d42d8")},
		{"errors", errors},
	}}
}
