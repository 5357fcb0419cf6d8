package webui

import (
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

//go:embed samples
var sampleFiles embed.FS

// What a reader's page fills into code: the hub's address, the channel, the key. In a source they are these private characters.
const (
	fillBase    = "\uE000"
	fillChannel = "\uE001"
	fillToken   = "\uE002"
)

// adminToken stands where a call needs the admin key, which no page ever fills in.
const adminToken = "YOUR_ADMIN_KEY"

// code is a sample as it is shown, in one language.
type code struct {
	Language string // node, python, php or curl
	Label    string
	source   string
}

// HTML is the sample for a reader, with what the page's script may replace in elements of its own.
func (c code) HTML(f fill) template.HTML {
	text := template.HTMLEscapeString(c.source)
	mark := func(name, value string) string {
		return `<span data-fill="` + name + `">` + template.HTMLEscapeString(value) + `</span>`
	}
	return template.HTML(strings.NewReplacer( //nolint:gosec // everything in it is escaped above
		fillBase, mark("base", f.Base), fillChannel, mark("channel", f.Channel), fillToken, mark("token", f.Token),
	).Replace(text))
}

// fill is what a reader's page begins with.
type fill struct{ Base, Channel, Token string }

// language is one that samples are in.
type language struct{ Name, Label, suffix string }

func languages() []language {
	return []language{{"node", "Node.js", ".js"}, {"python", "Python", ".py"}, {"php", "PHP", ".php"}, {"curl", "cURL", ".sh"}}
}

// readSamples reads the samples of one operation from samples/, where they are as the first documentation had them.
func readSamples(o *operation) ([]code, error) {
	var all []code
	for _, l := range languages() {
		raw, err := sampleFiles.ReadFile("samples/" + o.ID + l.suffix)
		if err != nil {
			return nil, err
		}
		source := strings.NewReplacer("http://localhost:3001", fillBase, "/api/algo/", "/api/"+fillChannel+"/", "YOUR_TOKEN", fillToken).
			Replace(strings.TrimSpace(string(raw)))
		if path := fillBase + strings.ReplaceAll(o.Path, "{tenantId}", fillChannel); !strings.Contains(source, path) {
			return nil, fmt.Errorf("the sample of %s in %s does not call %s", o.ID, l.Label, o.Path)
		}
		all = append(all, code{l.Name, l.Label, source})
	}
	return all, nil
}

// snippets writes a call of the operation, with the description's own example, in every language.
func snippets(o *operation) []code {
	c := newCaller(o)
	return []code{
		{"node", "Node.js", c.node()},
		{"python", "Python", c.python()},
		{"php", "PHP", c.php()},
		{"curl", "cURL", c.curl()},
	}
}

// caller is one call of an operation.
type caller struct {
	method, url string
	key         string // of the channel, or the admin; empty: none is needed
	body        *node  // nil: none
	json        bool   // the answer is
	stream      bool
	empty       bool // the answer is
}

func newCaller(o *operation) *caller {
	c := &caller{method: o.Method, url: fillBase + o.Path, key: map[string]string{"tenant": fillToken, "admin": adminToken}[o.Access]}
	query := url.Values{}
	for _, p := range o.Parameters {
		switch {
		case p.In == "path" && (p.Name == "tenantId" || p.Name == "id" && strings.HasPrefix(o.Path, "/admin/tenants/")):
			c.url = strings.ReplaceAll(c.url, "{"+p.Name+"}", fillChannel)
		case p.In == "path":
			c.url = strings.ReplaceAll(c.url, "{"+p.Name+"}", url.PathEscape(p.Example))
		case p.In == "query" && p.Example != "":
			query.Set(p.Name, p.Example)
		}
	}
	if len(query) > 0 {
		c.url += "?" + query.Encode()
	}
	if o.Body != nil && len(o.Body.Contents) > 0 && o.Body.Contents[0].Type == "application/json" && len(o.Body.Contents[0].Examples) > 0 {
		c.body = o.Body.Contents[0].Examples[0].node
	}
	for _, r := range o.Responses {
		if !r.Good() {
			continue
		}
		c.empty = len(r.Contents) == 0
		for _, content := range r.Contents {
			c.json = c.json || content.Type == "application/json"
			c.stream = c.stream || content.Type == "text/event-stream"
		}
		c.stream = c.stream && !c.json // what can be both is JSON unless it is asked for otherwise
		break
	}
	return c
}

func (c *caller) node() string {
	var b strings.Builder
	options := []string{}
	if c.method != "GET" {
		options = append(options, "method: '"+c.method+"'")
	}
	headers := []string{}
	if c.key != "" {
		headers = append(headers, "'x-api-key': '"+c.key+"'")
	}
	if c.body != nil {
		headers = append(headers, "'Content-Type': 'application/json'")
	}
	if len(headers) > 0 {
		options = append(options, "headers: { "+strings.Join(headers, ", ")+" }")
	}
	if c.body != nil {
		options = append(options, "body: JSON.stringify("+literal(c.body, javascript(), "  ")+")")
	}
	b.WriteString("const response = await fetch('" + c.url + "'")
	if len(options) > 0 {
		b.WriteString(", {\n  " + strings.Join(options, ",\n  ") + "\n}")
	}
	b.WriteString(");\n")
	switch {
	case c.stream:
		b.WriteString("for await (const chunk of response.body) {\n  process.stdout.write(chunk);\n}")
	case c.empty:
		b.WriteString("console.log(response.status);")
	case c.json:
		b.WriteString("console.log(response.status, await response.json());")
	default:
		b.WriteString("console.log(response.status, await response.text());")
	}
	return b.String()
}

func (c *caller) python() string {
	var b strings.Builder
	b.WriteString("import requests\n\nresponse = requests." + strings.ToLower(c.method) + "(\n    \"" + c.url + "\",\n")
	if c.key != "" {
		b.WriteString("    headers={\"x-api-key\": \"" + c.key + "\"},\n")
	}
	if c.body != nil {
		b.WriteString("    json=" + literal(c.body, python(), "    ") + ",\n")
	}
	if c.stream {
		b.WriteString("    stream=True,\n")
	}
	b.WriteString(")\n")
	switch {
	case c.stream:
		b.WriteString("for line in response.iter_lines(decode_unicode=True):\n    print(line, flush=True)")
	case c.empty:
		b.WriteString("print(response.status_code)")
	case c.json:
		b.WriteString("print(response.status_code, response.json())")
	default:
		b.WriteString("print(response.status_code, response.text)")
	}
	return b.String()
}

func (c *caller) php() string {
	var b strings.Builder
	b.WriteString("<?php\n$curl = curl_init();\ncurl_setopt_array($curl, [\n  CURLOPT_URL => \"" + c.url + "\",\n")
	if !c.stream { // a stream is printed as it comes
		b.WriteString("  CURLOPT_RETURNTRANSFER => true,\n")
	}
	if c.method != "GET" {
		b.WriteString("  CURLOPT_CUSTOMREQUEST => \"" + c.method + "\",\n")
	}
	headers := []string{}
	if c.body != nil {
		b.WriteString("  CURLOPT_POSTFIELDS => json_encode(" + literal(c.body, php(), "  ") + "),\n")
		headers = append(headers, "\"Content-Type: application/json\"")
	}
	if c.key != "" {
		headers = append(headers, "\"x-api-key: "+c.key+"\"")
	}
	if len(headers) > 0 {
		b.WriteString("  CURLOPT_HTTPHEADER => [\n    " + strings.Join(headers, ",\n    ") + "\n  ],\n")
	}
	b.WriteString("]);\n\n")
	if c.stream {
		b.WriteString("curl_exec($curl);\ncurl_close($curl);")
	} else {
		b.WriteString("$response = curl_exec($curl);\necho curl_getinfo($curl, CURLINFO_RESPONSE_CODE), \" \", $response;\ncurl_close($curl);")
	}
	return b.String()
}

func (c *caller) curl() string {
	parts := []string{}
	first := "curl"
	switch {
	case c.stream:
		first += " -N"
	default:
		first += " -i"
	}
	if c.method != "GET" {
		first += " -X " + c.method
	}
	parts = append(parts, first+" '"+c.url+"'")
	if c.key != "" {
		parts = append(parts, "-H 'x-api-key: "+c.key+"'")
	}
	if c.body != nil {
		parts = append(parts, "-H 'Content-Type: application/json'", "-d '"+strings.ReplaceAll(c.body.json(), "'", `'\''`)+"'")
	}
	return strings.Join(parts, " \\\n  ")
}

// syntax is how a language writes literals.
type syntax struct {
	object, array [2]string
	separator     string // between a name and its value
	null, yes, no string
	quote         func(string) string
	bareNames     bool
}

func javascript() syntax {
	return syntax{
		object: [2]string{"{", "}"}, array: [2]string{"[", "]"}, separator: ": ", null: "null", yes: "true", no: "false", bareNames: true,
		quote: func(s string) string {
			q := strconv.Quote(s)
			return "'" + strings.ReplaceAll(strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`), "'", `\'`) + "'"
		},
	}
}

func python() syntax {
	return syntax{
		object: [2]string{"{", "}"}, array: [2]string{"[", "]"}, separator: ": ", null: "None", yes: "True", no: "False", quote: strconv.Quote,
	}
}

func php() syntax {
	return syntax{
		object: [2]string{"[", "]"}, array: [2]string{"[", "]"}, separator: " => ", null: "null", yes: "true", no: "false",
		quote: func(s string) string { return strings.ReplaceAll(strconv.Quote(s), "$", `\$`) },
	}
}

// literal writes a JSON value in another language.
func literal(n *node, s syntax, prefix string) string {
	switch n.kind {
	case '{', '[':
	default:
		switch text := string(n.scalar); text {
		case "null":
			return s.null
		case "true":
			return s.yes
		case "false":
			return s.no
		default:
			if text[0] == '"' {
				return s.quote(n.text())
			}
			return text
		}
	}
	brackets := s.array
	if n.kind == '{' {
		brackets = s.object
		if len(n.fields) == 0 && s.separator == " => " {
			return "new stdClass()" // an empty array would be []
		}
	}
	var parts []string
	inner := prefix + "  "
	for _, f := range n.fields {
		name := s.quote(f.name)
		if s.bareNames && identifier.MatchString(f.name) {
			name = f.name
		}
		parts = append(parts, name+s.separator+literal(f.value, s, inner))
	}
	for _, item := range n.items {
		parts = append(parts, literal(item, s, inner))
	}
	if len(parts) == 0 {
		return brackets[0] + brackets[1]
	}
	if flat := strings.Join(parts, ", "); len(prefix)+len(flat) < lineWidth-16 && !strings.Contains(flat, "\n") {
		if n.kind == '{' && s.bareNames {
			flat = " " + flat + " "
		}
		return brackets[0] + flat + brackets[1]
	}
	return brackets[0] + "\n" + inner + strings.Join(parts, ",\n"+inner) + "\n" + prefix + brackets[1]
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
