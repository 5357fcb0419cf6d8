package webui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

//go:embed templates
var templateFiles embed.FS

// view is what a page's template gets. A page fills in Title, Data and what of the rest it needs.
type view struct {
	Title   string   // of the document and the heading
	Nav     string   // which entry of the navigation is the present one: channels, docs, reference, workers, phones
	Channel string   // the channel that the page is about; shows the channel's own navigation
	Tab     string   // which entry of that is the present one: overview, messages, ...
	Scripts []string // assets that the page needs besides app.js: "htmx.min.js"
	Wide    bool     // use the whole width of the window
	Data    any

	// Filled in by render.
	SignedIn bool
	Who      gateway.Visitor
	Sandbox  bool
	Path     string
}

// templates are the pages of templates/pages, each with the layout and the parts that they share.
type templates struct{ pages map[string]*template.Template }

func loadTemplates(assetPath func(string) (string, error)) (*templates, error) {
	shared, err := template.New("layout").Funcs(template.FuncMap{
		"asset": assetPath, "count": count, "moment": moment, "words": words, "lines": lines, "dict": dict,
		"person": person, "duration": duration, "many": many, "age": age, "percent": percent, "bytes": byteSize, "minutes": minutes,
		"prose": prose, "inline": inline,
	}).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/pages/*.html")
	if err != nil {
		return nil, err
	}
	t := &templates{pages: map[string]*template.Template{}}
	for _, name := range names {
		page, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if page, err = page.ParseFS(templateFiles, name); err != nil {
			return nil, err
		}
		t.pages[strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".html")] = page
	}
	return t, nil
}

// render answers with the page of that name.
func (v *visit) render(name string, shown view) error {
	return v.renderStatus(http.StatusOK, name, shown)
}

func (v *visit) renderStatus(status int, name string, shown view) error {
	shown.SignedIn, shown.Who, shown.Sandbox, shown.Path = v.signedIn, v.who, v.sandbox, v.r.URL.RequestURI()
	page := v.templates.pages[name]
	if page == nil {
		return fmt.Errorf("there is no template %s", name)
	}
	var b bytes.Buffer // nothing is sent of a page that breaks in its middle
	if err := page.ExecuteTemplate(&b, "layout.html", shown); err != nil {
		return fmt.Errorf("render the page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	if _, err := v.w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// count writes a number with a thin space between thousands.
func count(n any) string {
	digits := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return sign + digits
}

// moment shows a time, in UTC until app.js writes it in the browser's time zone. It takes a time.Time, or the API's text, which may be
// empty or null.
func moment(given any) (template.HTML, error) {
	var at time.Time
	switch t := given.(type) {
	case time.Time:
		at = t
	case *time.Time:
		if t != nil {
			at = *t
		}
	default:
		return "", fmt.Errorf("moment of %T", given)
	}
	if at.IsZero() {
		return `<span class="quiet">–</span>`, nil
	}
	at = at.UTC()
	return template.HTML(`<time datetime="` + at.Format(time.RFC3339Nano) + `">` + at.Format("2006-01-02 15:04:05 UTC") + `</time>`), nil //nolint:gosec // digits only
}

// words is a name of the API as people read it: logged_out is "logged out".
func words(name any) string { return strings.ReplaceAll(fmt.Sprint(name), "_", " ") }

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// dict makes the data of a part that needs more than one value: {{template "part" dict "Name" .X "Other" .Y}}.
func dict(pairs ...any) (map[string]any, error) {
	d := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: name %d is %s", i, strconv.Quote(fmt.Sprint(pairs[i])))
		}
		d[name] = pairs[i+1]
	}
	return d, nil
}
