package webui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wapro/hub/docs"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// alone is the pages without a hub behind them.
func alone(t *testing.T) *Site {
	t.Helper()
	s, err := New(Deps{
		API: http.NotFoundHandler(), Cookie: "session", Description: spec.JSON(), Errors: docs.Errors(), Statuses: docs.Statuses(),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, s *Site, path string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// TestThePagesNameEveryRouteAndEveryCode: what the description and the catalogue of errors hold is on the pages, and each operation has
// a page with an example of every answer and, unless it is not built, a call in every language.
func TestThePagesNameEveryRouteAndEveryCode(t *testing.T) {
	t.Parallel()
	s := alone(t)
	page, reference, refusals := get(t, s, "/docs"), get(t, s, "/docs/reference"), get(t, s, "/docs/reference/errors")
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(spec.JSON(), &doc); err != nil {
		t.Fatal(err)
	}
	operations := 0
	for path, methods := range doc.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			operations++
			var o struct {
				OperationID string                     `json:"operationId"`
				Planned     bool                       `json:"x-not-implemented"`
				Responses   map[string]json.RawMessage `json:"responses"`
			}
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
			route := fmt.Sprintf(`<span class="method" data-method="%s">%s</span> <code>%s</code>`,
				strings.ToUpper(method), strings.ToUpper(method), strings.NewReplacer("{", ":", "}", "").Replace(path))
			own := get(t, s, "/docs/reference/"+o.OperationID)
			for name, text := range map[string]string{"docs": page, "reference": reference, "its own page": own} {
				if !strings.Contains(text, route) {
					t.Errorf("%s %s is not on %s", method, path, name)
				}
			}
			for status := range o.Responses {
				if !strings.Contains(own, `>`+status+`</span>`) {
					t.Errorf("%s %s: the answer %s is not on its page", method, path, status)
				}
			}
			if n := strings.Count(own, `class="code sample"`); !o.Planned && n != 4 {
				t.Errorf("%s %s: %d samples", method, path, n)
			}
			if len(own) > 110_000 { // the rest of the weight is styles and scripts
				t.Errorf("the page of %s has %d bytes", o.OperationID, len(own))
			}
		}
	}
	if operations < 40 {
		t.Errorf("only %d operations", operations)
	}
	codes := regexp.MustCompile(`(?m)^### ([a-z0-9_]+)$`).FindAllStringSubmatch(string(docs.Errors()), -1)
	for _, m := range codes {
		if !strings.Contains(page, `<tr id="error-`+m[1]+`">`) {
			t.Errorf("%s is not on the documentation's page", m[1])
		}
		if s.remedies[m[1]].Do == "" || s.remedies[m[1]].Means == "" {
			t.Errorf("%s is without meaning or remedy: %+v", m[1], s.remedies[m[1]])
		}
		if s.remedies[m[1]].Status != 0 && !strings.Contains(refusals, `id="`+m[1]+`"`) {
			t.Errorf("%s has no example", m[1])
		}
	}
	for _, status := range []string{"scheduled", "queued", "sending", "unknown", "sent", "delivered", "read", "canceled", "failed", "expired"} {
		if !strings.Contains(page, `data-state="`+status+`"`) {
			t.Errorf("the status %s is not explained", status)
		}
	}
}

// TestEveryExampleFitsItsSchema holds each example that a page shows, the description's own and those made from it, against its schema.
func TestEveryExampleFitsItsSchema(t *testing.T) {
	t.Parallel()
	const at = "https://hub.test/openapi.json"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(spec.JSON()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource(at, doc); err != nil {
		t.Fatal(err)
	}
	s := alone(t)
	checked := 0
	check := func(what string, pointer string, e example) {
		schema, err := compiler.Compile(at + "#" + (&url.URL{Path: pointer}).EscapedPath())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(e.JSON))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", what, err, e.JSON)
		}
		checked++
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1").Replace
	for _, o := range s.documentation.byID {
		base := "/paths/" + escape(o.Path) + "/" + strings.ToLower(o.Method)
		raw := s.documentation.root.at(base)
		// follow finds where a body or a response is described.
		follow := func(n *node, pointer string) string {
			if ref := n.get("$ref").text(); ref != "" {
				return strings.TrimPrefix(ref, "#")
			}
			return pointer
		}
		examine := func(what, pointer string, contents []content) {
			for _, c := range contents {
				for _, e := range c.Examples {
					if strings.HasSuffix(c.Type, "json") {
						check(what+" "+c.Type, pointer+"/content/"+escape(c.Type)+"/schema", e)
					}
				}
			}
		}
		if o.Body != nil {
			examine("the body of "+o.ID, follow(raw.get("requestBody"), base+"/requestBody"), o.Body.Contents)
		}
		for _, r := range o.Responses {
			name := fmt.Sprint(r.Status)
			pointer := follow(raw.get("responses").get(name), base+"/responses/"+name)
			examine(name+" of "+o.ID, pointer, r.Contents)
			if a := s.documentation.answer(r); !r.Good() && len(r.Contents) > 0 {
				if len(a.Examples) == 0 {
					t.Errorf("%s of %s has no example", name, o.ID)
				}
			}
		}
	}
	for _, e := range s.documentation.errors {
		if e.Status != 0 {
			check("the refusal "+e.Code, "/components/schemas/Problem", example{JSON: e.problem().json()})
		}
	}
	if checked < 100 {
		t.Errorf("only %d examples were checked", checked)
	}
}

// TestNobodyIsSentToAnotherSite: where to go after signing in is a path of ours, whatever a link says.
func TestNobodyIsSentToAnotherSite(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"/channels/algo?status=failed": "/channels/algo?status=failed", "/docs#errors": "/docs", "": "/",
		"https://elsewhere.example/x": "/x", "//elsewhere.example/x": "/x", "//elsewhere.example": "/", `/\elsewhere.example`: "/",
		"/%2felsewhere.example": "/", "/%5celsewhere.example": "/", "javascript:alert(1)": "/", "elsewhere.example": "/", "http:/x": "/x", "\t//x": "/",
	} {
		if got := local(given); got != want {
			t.Errorf("local(%q) = %q, want %q", given, got, want)
		}
	}
}

// TestCodeIsWrittenAsEachLanguageWantsIt: text of every kind arrives as it was meant.
func TestCodeIsWrittenAsEachLanguageWantsIt(t *testing.T) {
	t.Parallel()
	n, err := parseNode([]byte(`{"it's": "a \"b\" $c \\ \n", "list": [1, 2.5, true, null], "none": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		in   syntax
		want string
	}{
		{"JavaScript", javascript(), `{` + "\n" + `  'it\'s': 'a "b" $c \\ \n',` + "\n" + `  list: [1, 2.5, true, null],` + "\n  none: {}\n}"},
		{"Python", python(), `{` + "\n" + `  "it's": "a \"b\" $c \\ \n",` + "\n" + `  "list": [1, 2.5, True, None],` + "\n  \"none\": {}\n}"},
		{"PHP", php(), `[` + "\n" + `  "it's" => "a \"b\" \$c \\ \n",` + "\n" + `  "list" => [1, 2.5, true, null],` + "\n  \"none\" => new stdClass()\n]"},
	} {
		if got := literal(n, tc.in, ""); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
	var all []string
	for _, f := range n.fields {
		all = append(all, f.name)
	}
	if !slices.Equal(all, []string{"it's", "list", "none"}) {
		t.Errorf("fields in the order %v", all)
	}
}
