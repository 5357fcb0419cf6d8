package bulk

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/wapro/hub/internal/gateway"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"name": "Asha", "first name": "A", "braces": "{{name}}", "empty": ""}
	for text, want := range map[string]string{
		"plain":                        "plain",
		"{{name}}":                     "Asha",
		"a {{ name }}{{first name}} b": "a AshaA b",
		"{{braces}} {single} }}":       "{{name}} {single} }}",
		"[{{empty}}]":                  "[]",
	} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, missing := tmpl.render(vars); got != want || missing != "" {
			t.Errorf("%q became %q, missing %q", text, got, missing)
		}
	}
	tmpl, err := parseTemplate("{{name}} {{Name}}")
	if err != nil {
		t.Fatal(err)
	}
	if got, missing := tmpl.render(vars); got != "" || missing != "Name" {
		t.Errorf("became %q, missing %q", got, missing)
	}
	for _, text := range []string{"{{", "a {{name}", "{{}}", "{{ }}", "{{{name}}}", "{{a\nb}}", "{{a {{b}}"} {
		if _, err := parseTemplate(text); err == nil {
			t.Errorf("%q is a template", text)
		}
	}
}

// FuzzTemplate: what a template is made of comes out of it again, whatever the values hold.
func FuzzTemplate(f *testing.F) {
	f.Add("Hello {{name}}", "Asha")
	f.Add("{{a}}{{ a }}", "}}{{a}}")
	f.Fuzz(func(t *testing.T, text, value string) {
		tmpl, err := parseTemplate(text)
		if err != nil {
			return
		}
		vars := map[string]string{}
		for _, name := range tmpl.names {
			vars[name] = value
		}
		got, missing := tmpl.render(vars)
		if missing != "" {
			t.Fatalf("%q is missing %q", text, missing)
		}
		if want := strings.Join(tmpl.texts, value); got != want {
			t.Fatalf("%q became %q, want %q", text, got, want)
		}
	})
}

func TestFormulasAreTexts(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"": "", "a=b": "a=b", "919876543210": "919876543210", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx",
	} {
		if got := plain(given); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
}

func readCSV(t *testing.T, r io.Reader) (rows []gateway.BulkRow, err error) {
	t.Helper()
	s := New(Deps{Dir: t.TempDir()})
	spool, err := s.NewRows()
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	if err := s.ReadCSV(r, spool); err != nil {
		return nil, err
	}
	if err := spool.Each(func(n int, row gateway.BulkRow) error {
		if rows = append(rows, row); len(rows) != n {
			t.Errorf("row %d is the %dth", n, len(rows))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows, nil
}

func TestCSVIsBounded(t *testing.T) {
	t.Parallel()
	var e *gateway.Error
	endless := io.MultiReader(strings.NewReader("to,a\n919876543210,\""), endlessReader{})
	if _, err := readCSV(t, endless); !errors.As(err, &e) || !strings.Contains(e.Message, "longer than") {
		t.Errorf("a quote that never closes: %v", err)
	}
	if _, err := readCSV(t, io.MultiReader(strings.NewReader("to,"), endlessReader{})); !errors.As(err, &e) {
		t.Errorf("a header that never ends: %v", err)
	}
	header := "to"
	for i := range gateway.MaxBulkVars + 2 {
		header += fmt.Sprintf(",v%d", i)
	}
	if _, err := readCSV(t, strings.NewReader(header+"\n")); !errors.As(err, &e) {
		t.Errorf("too many columns: %v", err)
	}
	many := strings.NewReader("to\n" + strings.Repeat("919876543210\n", gateway.MaxBulkRows+1))
	if _, err := readCSV(t, many); !errors.As(err, &e) || !strings.Contains(e.Message, "more than 100000 rows") {
		t.Errorf("too many rows: %v", err)
	}
	if _, err := readCSV(t, io.MultiReader(strings.NewReader("to\n1\n"), iotest.ErrReader(io.ErrUnexpectedEOF))); !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &e) {
		t.Errorf("a client that goes away: %v", err)
	}
	rows, err := readCSV(t, strings.NewReader("to,a\n1,"+strings.Repeat("x", gateway.MaxVarBytes+1)+"\n2,y\n"))
	if err != nil || len(rows) != 2 || rows[0].Fault == "" || rows[1].Vars["a"] != "y" || rows[1].Vars["to"] != "2" {
		t.Errorf("rows %+v, %v", rows, err)
	}
}

// TestWhatSpreadsheetsAddIsPassedOver: columns without a name and rows without a value; a row has the number that the spreadsheet shows, less the header's.
func TestWhatSpreadsheetsAddIsPassedOver(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"trailing commas":    "to,name,,\n1,\"A\nB\",,\n,,,\n , ,,\n2,C,,a note\n,,,\n",
		"shorter rows":       "to,name,\n1,\"A\nB\"\n,\n\n2,C,,,\n,\n",
		"empty lines":        "to;name\r\n1;\"A\r\nB\"\r\n\r\n;\r\n2;C\r\n\r\n\r\n",
		"an unnamed column":  "to,,name\n1,x,\"A\nB\"\n,,\n,,\n2,\xff,C\n",
		"one column too few": "to,name\n1,\"A\nB\"\n\"\"\n\n2,C",
	} {
		rows, err := readCSV(t, strings.NewReader(file))
		if err != nil || len(rows) != 4 {
			t.Errorf("%s: %+v, %v", name, rows, err)
			continue
		}
		for i, want := range []gateway.BulkRow{{To: "1", Vars: map[string]string{"to": "1", "name": "A\nB"}}, {Empty: true}, {Empty: true}, {To: "2", Vars: map[string]string{"to": "2", "name": "C"}}} {
			if !reflect.DeepEqual(rows[i], want) {
				t.Errorf("%s: row %d is %+v, want %+v", name, i+1, rows[i], want)
			}
		}
	}
	rows, err := readCSV(t, strings.NewReader("to,name\n1\n1,A,x\n"))
	if err != nil || len(rows) != 2 || rows[0].Fault == "" || rows[1].Fault == "" {
		t.Errorf("a value too few and one too many: %+v, %v", rows, err)
	}
	if rows, err := readCSV(t, strings.NewReader("to,name\n,\n\n,,\n")); err != nil || len(rows) > 0 {
		t.Errorf("no rows: %+v, %v", rows, err)
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzCSV: no file panics, and what is read fits its bounds.
func FuzzCSV(f *testing.F) {
	f.Add("\ufeffto;name\n1;\"a\nb\"\n")
	f.Add("to\tname\r\n1\t2\r\n3\r\n")
	f.Add("to,name,\n1,\"A\n\",\n\n,,\n2,B,\n")
	f.Fuzz(func(t *testing.T, file string) {
		rows, err := readCSV(t, iotest.OneByteReader(strings.NewReader(file)))
		if err != nil {
			return
		}
		for _, row := range rows {
			if row.Fault == "" && len(row.Vars) == 0 != row.Empty {
				t.Fatalf("%q has the row %+v", file, row)
			}
		}
	})
}
