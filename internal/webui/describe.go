package webui

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// description is the API's own description in the form that pages show. It is made once from OpenAPI 3.1.
type description struct {
	root   *node
	Title  string
	About  string
	Groups []*group
	byID   map[string]*operation
}

// group is the operations with one tag.
type group struct {
	Name, About string
	Operations  []*operation
}

// operation is one route.
type operation struct {
	ID, Method, Path string // Path as the description has it: /api/{tenantId}/message
	Summary, About   string
	Access           string // "open", "tenant" or "admin"
	Scope            string
	Planned, Sandbox bool
	Parameters       []parameter
	Body             *body
	Responses        []response
}

// Colons is the path as the original documentation wrote it: /api/:tenantId/message.
func (o *operation) Colons() string { return strings.NewReplacer("{", ":", "}", "").Replace(o.Path) }

type parameter struct {
	Name, In, About, Type string
	Required              bool
	Example               string
}

type body struct {
	Required bool
	About    string
	Contents []content
}

type content struct {
	Type     string // of media
	Fields   []property
	Examples []example
	schema   *node
}

type example struct {
	Name string
	JSON string
	node *node
}

type response struct {
	Status   int
	About    string
	Headers  []parameter
	Contents []content
}

// Good tells an answer from a refusal.
func (r response) Good() bool { return r.Status < http.StatusBadRequest }

// property is one field of a body.
type property struct {
	Name, Type, About string // Name with dots below the top
	Required          bool
}

func readDescription(raw []byte) (*description, error) {
	root, err := parseNode(raw)
	if err != nil {
		return nil, err
	}
	d := &description{root: root, Title: root.at("/info/title").text(), About: root.at("/info/description").text(), byID: map[string]*operation{}}
	groups := map[string]*group{}
	if tags := root.get("tags"); tags != nil {
		for _, tag := range tags.items {
			g := &group{Name: tag.get("name").text(), About: tag.get("description").text()}
			groups[g.Name] = g
			d.Groups = append(d.Groups, g)
		}
	}
	paths := root.get("paths")
	if paths == nil {
		return nil, fmt.Errorf("the description has no paths")
	}
	for _, path := range paths.fields {
		shared := path.value.get("parameters")
		for _, method := range path.value.fields {
			if method.name == "parameters" {
				continue
			}
			o := d.operation(path.name, method, shared)
			if d.byID[o.ID] != nil || o.ID == "" {
				return nil, fmt.Errorf("%s %s has no operationId of its own", o.Method, o.Path)
			}
			d.byID[o.ID] = o
			for _, tag := range method.value.get("tags").texts() {
				g := groups[tag]
				if g == nil {
					g = &group{Name: tag}
					groups[tag] = g
					d.Groups = append(d.Groups, g)
				}
				g.Operations = append(g.Operations, o)
			}
		}
	}
	d.Groups = slices.DeleteFunc(d.Groups, func(g *group) bool { return len(g.Operations) == 0 })
	return d, nil
}

func (d *description) operation(path string, method field, shared *node) *operation {
	m := method.value
	tags := m.get("tags").texts()
	o := &operation{
		ID: m.get("operationId").text(), Method: strings.ToUpper(method.name), Path: path,
		Summary: m.get("summary").text(), About: m.get("description").text(), Scope: m.get("x-scope").text(),
		Planned: m.get("x-not-implemented").is("true"), Sandbox: slices.Contains(tags, "sandbox"), Access: "admin",
	}
	switch security := m.get("security"); {
	case security != nil && len(security.items) == 0:
		o.Access = "open"
	case strings.HasPrefix(path, "/api/{tenantId}/"):
		o.Access = "tenant"
	}
	for _, list := range []*node{shared, m.get("parameters")} {
		if list == nil {
			continue
		}
		for _, p := range list.items {
			o.Parameters = append(o.Parameters, d.parameter(d.resolve(p)))
		}
	}
	if b := d.resolve(m.get("requestBody")); b != nil {
		o.Body = &body{Required: b.get("required").is("true"), About: b.get("description").text(), Contents: d.contents(b.get("content"))}
	}
	if responses := m.get("responses"); responses != nil {
		for _, r := range responses.fields {
			status, err := strconv.Atoi(r.name)
			if err != nil {
				continue // default
			}
			value := d.resolve(r.value)
			answer := response{Status: status, About: value.get("description").text(), Contents: d.contents(value.get("content"))}
			if headers := value.get("headers"); headers != nil {
				for _, h := range headers.fields {
					header := d.parameter(d.resolve(h.value))
					header.Name, header.In = h.name, "header"
					answer.Headers = append(answer.Headers, header)
				}
			}
			o.Responses = append(o.Responses, answer)
		}
	}
	return o
}

func (d *description) parameter(p *node) parameter {
	schema := d.resolve(p.get("schema"))
	out := parameter{
		Name: p.get("name").text(), In: p.get("in").text(), About: p.get("description").text(), Type: d.typeOf(schema),
		Required: p.get("required").is("true"), Example: p.get("example").plain(),
	}
	if out.Example == "" && out.Required {
		out.Example = d.example(schema, out.Name, 0).plain()
	}
	return out
}

// resolve follows a $ref.
func (d *description) resolve(n *node) *node {
	for n != nil {
		ref := n.get("$ref").text()
		if ref == "" {
			return n
		}
		n = d.root.at(strings.TrimPrefix(ref, "#"))
	}
	return nil
}

func (d *description) contents(n *node) []content {
	if n == nil {
		return nil
	}
	var all []content
	for _, c := range n.fields {
		schema := c.value.get("schema")
		out := content{Type: c.name, schema: schema}
		if examples := c.value.get("examples"); examples != nil {
			for _, e := range examples.fields {
				out.add(e.name, e.value.get("value"))
			}
		}
		if e := c.value.get("example"); e != nil {
			out.add("", e)
		}
		if strings.HasSuffix(c.name, "json") {
			out.Fields = d.fields(schema, "", 0)
			if len(out.Examples) == 0 && schema != nil {
				out.add("", d.example(schema, "", 0))
			}
		} else if c.name == "multipart/form-data" {
			out.Fields = d.fields(schema, "", 0)
		} else if len(out.Examples) == 0 {
			if examples := d.resolve(schema).get("examples"); examples != nil && len(examples.items) > 0 {
				out.add("", examples.items[0])
			}
		}
		all = append(all, out)
	}
	return all
}

func (c *content) add(name string, value *node) {
	if value == nil {
		return
	}
	text := value.json()
	if value.text() != "" { // a body that is no JSON
		text = value.text()
	}
	c.Examples = append(c.Examples, example{Name: name, JSON: text, node: value})
}

// maxDepth bounds how far schemas are unfolded.
const maxDepth = 4

// fields lists the properties of an object schema, those of objects in it with a dotted name.
func (d *description) fields(schema *node, prefix string, depth int) []property {
	schema = d.resolve(schema)
	properties := schema.get("properties")
	if properties == nil || depth > maxDepth {
		return nil
	}
	required := schema.get("required").texts()
	var all []property
	for _, p := range properties.fields {
		value := d.unwrap(p.value)
		about := p.value.get("description").text()
		if about == "" {
			about = value.get("description").text()
		}
		all = append(all, property{
			Name: prefix + p.name, Type: d.typeOf(p.value), About: about, Required: slices.Contains(required, p.name),
		})
		inner, name := value, prefix+p.name+"."
		if items := d.unwrap(value.get("items")); items != nil {
			inner, name = items, prefix+p.name+"[]."
		}
		all = append(all, d.fields(inner, name, depth+1)...)
	}
	return all
}

// unwrap resolves n, and of a choice between something and null the something.
func (d *description) unwrap(n *node) *node {
	n = d.resolve(n)
	for _, choice := range []string{"oneOf", "anyOf", "allOf"} {
		options := n.get(choice)
		if options == nil {
			continue
		}
		for _, o := range options.items {
			if o = d.resolve(o); o.get("type").text() != "null" {
				return d.unwrap(o)
			}
		}
	}
	return n
}

// typeOf names a schema's type for people: "string or null", "array of integer", "one of high, normal, bulk".
func (d *description) typeOf(schema *node) string {
	n := d.unwrap(schema)
	if n == nil {
		return ""
	}
	var kinds []string
	if t := n.get("type"); t != nil {
		kinds = t.texts()
		if len(kinds) == 0 {
			kinds = []string{t.text()}
		}
	}
	if n != d.resolve(schema) && !slices.Contains(kinds, "null") && d.nullable(schema) {
		kinds = append(kinds, "null")
	}
	for i, kind := range kinds {
		switch {
		case kind == "array":
			kinds[i] = "array of " + d.typeOf(n.get("items"))
		case kind == "string" && n.get("enum") != nil:
			kinds[i] = "one of " + strings.Join(n.get("enum").texts(), ", ")
		case kind == "string" && n.get("format").text() == "date-time":
			kinds[i] = "time"
		}
	}
	return strings.Join(kinds, " or ")
}

func (d *description) nullable(schema *node) bool {
	options := d.resolve(schema).get("oneOf")
	if options == nil {
		return false
	}
	return slices.ContainsFunc(options.items, func(o *node) bool { return o.get("type").text() == "null" })
}

// example makes a value that fits the schema: its own example when it has one.
func (d *description) example(schema *node, name string, depth int) *node {
	own := d.resolve(schema)
	for _, n := range []*node{schema, own, d.unwrap(schema)} {
		if e := n.get("example"); e != nil {
			return e
		}
		if e := n.get("examples"); e != nil && len(e.items) > 0 {
			return e.items[0]
		}
		if e := n.get("default"); e != nil {
			return e
		}
		if e := n.get("enum"); e != nil && len(e.items) > 0 {
			return e.items[0]
		}
	}
	n := d.unwrap(schema)
	kind := n.get("type").text()
	if kinds := n.get("type").texts(); len(kinds) > 0 {
		kind = kinds[0]
	}
	null := &node{kind: 's', scalar: []byte("null")}
	switch {
	case n == nil, d.nullable(schema), slices.Contains(n.get("type").texts(), "null"):
		return null // what may be null often is
	case kind == "object":
		out := &node{kind: '{'}
		if properties := n.get("properties"); properties != nil && depth <= maxDepth {
			for _, p := range properties.fields {
				out.fields = append(out.fields, field{p.name, d.example(p.value, p.name, depth+1)})
			}
		}
		return out
	case kind == "array":
		out := &node{kind: '['}
		if depth <= maxDepth {
			out.items = append(out.items, d.example(n.get("items"), name, depth+1))
		}
		return out
	case kind == "integer", kind == "number":
		if low := n.get("minimum"); low != nil {
			return low
		}
		return numberNode(0)
	case kind == "boolean":
		return &node{kind: 's', scalar: []byte("false")}
	case n.get("format").text() == "date-time":
		return stringNode("2026-08-22T09:30:00Z")
	case strings.HasSuffix(strings.ToLower(name), "id"):
		return stringNode("0199f2b4-7c1e-7a53-9d1b-0c5e9d6f2a11")
	}
	return stringNode(name)
}
