package httpapi_test

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wapro/hub/internal/httpapi/spec"
)

// contract checks answers against the description.
type contract struct {
	paths    []pathItem
	compiler *jsonschema.Compiler
	root     map[string]any

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

type pathItem struct {
	template string
	match    *regexp.Regexp
	literals int // the more, the better the match
	methods  map[string]any
}

const specURL = "https://hub.test/openapi.json"

var loadContract = sync.OnceValues(newContract)

func description(t *testing.T) *contract {
	t.Helper()
	c, err := loadContract()
	if err != nil {
		t.Fatalf("read the description: %v", err)
	}
	return c
}

func newContract() (*contract, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(spec.JSON()))
	if err != nil {
		return nil, err
	}
	c := &contract{compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(specURL, doc); err != nil {
		return nil, err
	}
	c.root = doc.(map[string]any)
	for template, methods := range c.root["paths"].(map[string]any) {
		parts := strings.Split(template, "/")
		literals := 0
		for i, p := range parts {
			if strings.HasPrefix(p, "{") {
				parts[i] = "[^/]+"
			} else {
				literals++
				parts[i] = regexp.QuoteMeta(p)
			}
		}
		c.paths = append(c.paths, pathItem{
			template: template, match: regexp.MustCompile("^" + strings.Join(parts, "/") + "$"), literals: literals,
			methods: methods.(map[string]any),
		})
	}
	return c, nil
}

// check says what about an answer is not as described.
func (c *contract) check(method, path string, status int, contentType string, body []byte) error {
	pointer, responses := c.responses(method, path)
	if responses == nil { // no such route: a problem all the same
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
			return fmt.Errorf("status %d for a route that is not described", status)
		}
		return c.validate("/components/schemas/Problem", body)
	}
	name := strconv.Itoa(status)
	if responses[name] == nil {
		name = "default"
	}
	response, ok := responses[name].(map[string]any)
	if !ok {
		return fmt.Errorf("status %d is not described", status)
	}
	pointer += "/responses/" + name
	if ref, ok := response["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		response = c.at(pointer)
	}
	content, _ := response["content"].(map[string]any)
	if content == nil {
		if len(body) > 0 {
			return fmt.Errorf("a body where none is described")
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || content[kind] == nil {
		return fmt.Errorf("content type %q is not described for status %d", contentType, status)
	}
	if kind != "application/json" && kind != "application/problem+json" {
		return nil
	}
	return c.validate(pointer+"/content/"+escape(kind)+"/schema", body)
}

func (c *contract) responses(method, path string) (pointer string, responses map[string]any) {
	best := -1
	for _, p := range c.paths {
		op, ok := p.methods[strings.ToLower(method)].(map[string]any)
		if ok && p.literals > best && p.match.MatchString(path) {
			best = p.literals
			pointer = "/paths/" + escape(p.template) + "/" + strings.ToLower(method)
			responses = op["responses"].(map[string]any)
		}
	}
	return pointer, responses
}

func (c *contract) at(pointer string) map[string]any {
	node := any(c.root)
	for _, part := range strings.Split(pointer, "/")[1:] {
		node = node.(map[string]any)[part]
	}
	return node.(map[string]any)
}

func (c *contract) validate(pointer string, body []byte) error {
	c.mu.Lock()
	schema := c.compiled[pointer]
	if schema == nil {
		var err error
		if schema, err = c.compiler.Compile(specURL + "#" + (&url.URL{Path: pointer}).EscapedPath()); err != nil {
			c.mu.Unlock()
			return fmt.Errorf("compile the schema %s: %w", pointer, err)
		}
		c.compiled[pointer] = schema
	}
	c.mu.Unlock()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("not JSON: %w: %s", err, body)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	return nil
}

func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }
