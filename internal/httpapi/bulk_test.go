package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

const bulkPath = "/api/algo/bulk"

type bulkBody struct {
	ID, Status, Priority string
	Name, RetryOf        *string
	Total, InvalidCount  int
	Counts               map[string]int
	Invalid              []struct {
		Row      int
		To, Code string
	}
	FinishedAt *time.Time
}

func (h *hub) bulk(body string) bulkBody {
	h.t.Helper()
	got := h.do(request{path: bulkPath, body: body}).want(http.StatusAccepted)
	b := decode[bulkBody](got)
	if got.header.Get("Location") != bulkPath+"/"+b.ID {
		h.t.Errorf("Location %q", got.header.Get("Location"))
	}
	return b
}

// texts are the texts of a bulk by recipient.
func (h *hub) texts(id string) map[string]string {
	h.t.Helper()
	list, err := h.store.BulkMessages(h.t.Context(), h.algo.Key, id, 0, nil, 1000)
	must(h.t, err)
	texts := map[string]string{}
	for _, m := range list {
		texts[m.To] = m.Text
	}
	return texts
}

// bulks is how many bulks the tenant has, hidden ones included.
func (h *hub) bulks() int {
	h.t.Helper()
	var n int
	must(h.t, h.store.Writer().QueryRowContext(h.t.Context(), `SELECT COUNT(*) FROM bulks`).Scan(&n))
	return n
}

func TestBulkIsAcceptedWithItsFieldsInAnyOrder(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	b := h.bulk(`{"recipients":[{"to":"+91 98765 43210","vars":{"name":"Asha","n":1.50,"ok":true},"reference":"r1"},
		{"vars":{"ok":false,"n":-2e3,"name":"{{n}}"},"to":"919876543211@s.whatsapp.net"}],
		"reference":"all","priority":"normal","onInvalid":"refuse","maxFailureRate":0.5,"name":"spring","message":"{{name}}: {{ n }} {{ok}}"}`)
	if b.Status != "running" || b.Priority != "normal" || *b.Name != "spring" || b.Total != 2 || b.Counts["queued"] != 2 || len(b.Invalid) != 0 {
		t.Errorf("bulk %+v", b)
	}
	texts := h.texts(b.ID)
	if texts["919876543210"] != "Asha: 1.50 true" || texts["919876543211@s.whatsapp.net"] != "{{n}}: -2e3 false" {
		t.Errorf("texts %q", texts)
	}
	list := decode[struct{ Data []messageBody }](h.do(request{path: "/api/algo/messages?bulkId=" + b.ID}).want(http.StatusOK))
	if len(list.Data) != 2 || *list.Data[1].Reference != "r1" || *list.Data[0].Reference != "all" || list.Data[0].Status != "queued" {
		t.Errorf("messages %+v", list.Data)
	}
	if one := h.do(request{path: "/api/algo/messages/" + list.Data[0].ID}).want(http.StatusOK); !strings.Contains(string(one.body), `"phase":"waiting"`) {
		t.Errorf("message %s", one.body)
	}
	own := h.bulk(`{"messages":[{"to":"919876543210","message":"one {{name}}"},{"to":"919876543210","message":"two"}]}`)
	if own.Total != 2 || own.Priority != "bulk" {
		t.Errorf("bulk %+v", own)
	}
	page := decode[struct {
		Data       []bulkBody
		NextCursor *string
	}](h.do(request{path: bulkPath + "?limit=1"}).want(http.StatusOK))
	if len(page.Data) != 1 || page.Data[0].ID != own.ID || page.NextCursor == nil {
		t.Fatalf("page %+v", page)
	}
	rest := decode[struct{ Data []bulkBody }](h.do(request{path: bulkPath + "?cursor=" + *page.NextCursor}).want(http.StatusOK))
	if len(rest.Data) != 1 || rest.Data[0].ID != b.ID {
		t.Errorf("rest %+v", rest)
	}
}

func TestBulkMediaHaveACaptionEach(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	b := h.bulk(`{"media":{"mimetype":"text/csv","data":"YSxiCjEsMgo=","filename":"list.csv"},"message":"For {{name}}",
		"recipients":[{"to":"919876543210","vars":{"name":"Asha"}},{"to":"919876543211","vars":{"name":"Ravi"}}]}`)
	list, err := h.store.BulkMessages(t.Context(), h.algo.Key, b.ID, 0, nil, 10)
	must(t, err)
	if len(list) != 2 || list[1].Text != "For Ravi" || list[1].Type != gateway.TypeDocument || list[1].Media == nil || list[1].Media.Filename != "list.csv" {
		t.Errorf("messages %+v", list)
	}
}

const mixed = `{"recipients":[{"to":"919876543210","vars":{"name":"a"}},{"to":"12","vars":{"name":"b"}},{"to":"919876543210@s.whatsapp.net","vars":{"name":"c"}},
	{"to":"919876543211"},{"to":"919876543212","vars":{"name":"d"}}],"message":"Hello {{name}}","onInvalid":"%s"}`

func TestBulkWithInvalidRowsIsRefusedWhole(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	got := h.do(request{path: bulkPath, body: fmt.Sprintf(mixed, "refuse")}).refused(422, gateway.CodeInvalidRecipient, "/recipients/1/to")
	p := decode[problem](got)
	if len(p.Errors) != 3 || p.Errors[1].Pointer != "/recipients/2/to" || p.Errors[2].Pointer != "/recipients/3/vars/name" ||
		!strings.Contains(p.Errors[1].Detail, "duplicate_recipient") || !strings.Contains(p.Errors[2].Detail, "missing_variable") {
		t.Errorf("errors %+v", p.Errors)
	}
	if h.bulks() != 0 || h.count(h.algo.Key) != 0 {
		t.Error("something was stored")
	}
}

func TestBulkSkipsInvalidRowsAndListsThem(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	b := h.bulk(fmt.Sprintf(mixed, "skip"))
	if b.Total != 2 || b.InvalidCount != 3 || len(b.Invalid) != 3 || b.Invalid[0].Row != 2 || b.Invalid[0].To != "12" ||
		b.Invalid[0].Code != "invalid_recipient" || b.Invalid[1].Code != "duplicate_recipient" || b.Invalid[2].Code != "missing_variable" {
		t.Fatalf("bulk %+v", b)
	}
	again := decode[bulkBody](h.do(request{path: bulkPath + "/" + b.ID}).want(http.StatusOK))
	if len(again.Invalid) != 3 || again.Counts["queued"] != 2 {
		t.Errorf("bulk %+v", again)
	}
	table := h.do(request{path: bulkPath + "/" + b.ID + "/results.csv"}).want(http.StatusOK)
	var columns []string
	for line := range strings.Lines(string(table.body)) {
		columns = append(columns, strings.Join(strings.Split(line, ",")[:4], ","))
	}
	want := "row,to,status,code 1,919876543210,queued, 2,12,invalid,invalid_recipient 3,919876543210@s.whatsapp.net,invalid,duplicate_recipient " +
		"4,919876543211,invalid,missing_variable 5,919876543212,queued,"
	if strings.Join(columns, " ") != want {
		t.Errorf("results\n%s", table.body)
	}
	h.do(request{path: bulkPath, body: `{"recipients":[{"to":"1"}],"message":"x","onInvalid":"skip"}`}).refused(422, gateway.CodeInvalidRecipient, "/recipients/0/to")
}

func TestBulkBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	one := `"recipients":[{"to":"919876543210"}]`
	for body, want := range map[string]struct {
		status  int
		code    gateway.Code
		pointer string
	}{
		`{}`:                              {422, gateway.CodeInvalidBody, "/recipients"},
		`{` + one + `}`:                   {422, gateway.CodeInvalidBody, "/message"},
		`{"message":"x","recipients":[]}`: {422, gateway.CodeInvalidBody, "/recipients"},
		`{"message":"x",` + one + `,"messages":[]}`:                             {422, gateway.CodeInvalidBody, "/messages"},
		`{"message":"x","messages":[{"to":"919876543210","message":"y"}]}`:      {422, gateway.CodeInvalidBody, "/messages"},
		`{"message":"x {{a",` + one + `}`:                                       {422, gateway.CodeInvalidMessage, "/message"},
		`{"message":"x {{ }}",` + one + `}`:                                     {422, gateway.CodeInvalidMessage, "/message"},
		`{"message":" ",` + one + `}`:                                           {422, gateway.CodeInvalidMessage, "/message"},
		`{"message":"x",` + one + `,"to":"1"}`:                                  {422, gateway.CodeUnknownField, "/to"},
		`{"message":"x","recipients":[{"to":"919876543210","message":"y"}]}`:    {422, gateway.CodeUnknownField, "/recipients/0/message"},
		`{"message":"x","recipients":[{"to":"919876543210","vars":{"a":{}}}]}`:  {422, gateway.CodeInvalidBody, "/recipients/0/vars/a"},
		`{"message":"x","recipients":[{"to":"919876543210","vars":{"a":01}}]}`:  {422, gateway.CodeInvalidBody, "/recipients/0/vars/a"},
		`{"message":"x",` + one + `,"onInvalid":"ignore"}`:                      {422, gateway.CodeInvalidBody, "/onInvalid"},
		`{"message":"x",` + one + `,"maxFailureRate":0}`:                        {422, gateway.CodeInvalidBody, "/maxFailureRate"},
		`{"message":"x",` + one + `,"maxFailureRate":1.1}`:                      {422, gateway.CodeInvalidBody, "/maxFailureRate"},
		`{"message":"x",` + one + `,"priority":"urgent"}`:                       {422, gateway.CodeInvalidBody, "/priority"},
		`{"message":"x",` + one + `,"expiresAt":"2001-01-01T00:00:00Z"}`:        {422, gateway.CodeInvalidBody, "/expiresAt"},
		`{"message":"x",` + one + `,"sendAt":"2099-01-01T00:00:00Z"}`:           {422, gateway.CodeInvalidBody, "/sendAt"},
		`{"message":"x",` + one + `,"name":"` + strings.Repeat("n", 201) + `"}`: {422, gateway.CodeInvalidBody, "/name"},
		`{"message":"x",` + one:                                                 {422, gateway.CodeInvalidBody, ""},
		``:                                                                      {422, gateway.CodeInvalidBody, ""},
	} {
		t.Run(body, func(t *testing.T) {
			h.in(t).do(request{method: http.MethodPost, path: bulkPath, reader: strings.NewReader(body)}).refused(want.status, want.code, want.pointer)
		})
	}
	h.do(request{path: bulkPath, body: "x", header: map[string]string{"Content-Type": "text/plain"}}).refused(415, gateway.CodeUnsupportedType, "")
	if h.bulks() != 0 || h.count(h.algo.Key) != 0 {
		t.Error("something was stored")
	}
}

// form is a bulk as a form; fields come in the order given, name=value; file= is a CSV file, and media= a file as name;type;content.
func form(t *testing.T, fields ...string) request {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		create := w.CreateFormField
		if name == "file" {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(name, "list.csv") }
		}
		if name == "media" {
			filename, rest, _ := strings.Cut(value, ";")
			kind, content, _ := strings.Cut(rest, ";")
			value = content
			create = func(name string) (io.Writer, error) {
				header := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf("form-data; name=%q; filename=%q", name, filename)}}
				if kind != "" {
					header.Set("Content-Type", kind)
				}
				return w.CreatePart(header)
			}
		}
		part, err := create(name)
		must(t, err)
		_, err = io.WriteString(part, value)
		must(t, err)
	}
	must(t, w.Close())
	return request{method: http.MethodPost, path: bulkPath, reader: &body, header: map[string]string{"Content-Type": w.FormDataContentType()}}
}

func TestBulkAsCSV(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for name, file := range map[string]string{
		"commas":      "to,name,reference\n919876543210,Asha,r1\n\"919876543211\",\"Ravi, \"\"R\"\"\nKumar\",\n",
		"semicolons":  "\ufeffTo;name;Reference\r\n919876543210;Asha;r1\r\n919876543211;\"Ravi, \"\"R\"\"\nKumar\";\r\n",
		"spreadsheet": "to,name,reference,,\r\n919876543210,Asha,r1,,\r\n,,,,\r\n919876543211,\"Ravi, \"\"R\"\"\r\nKumar\",,,\r\n,,,,\r\n",
		"tabs":        "name\treference\tto\nAsha\tr1\t919876543210\n\"Ravi, \"\"R\"\"\nKumar\"\t\t919876543211",
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			b := decode[bulkBody](h.do(form(t, "file="+file, "message=Hello {{name}}", "name=csv", "maxFailureRate=1")).want(http.StatusAccepted))
			if texts := h.texts(b.ID); b.Total != 2 || texts["919876543210"] != "Hello Asha" || texts["919876543211"] != "Hello Ravi, \"R\"\nKumar" {
				t.Errorf("bulk %+v with %q", b, texts)
			}
		})
	}
	skipped := decode[bulkBody](h.do(form(t, "onInvalid=skip", "message=x", "file=to,a\n919876543210,1\n919876543211\n919876543212,\xff\n")).want(http.StatusAccepted))
	if skipped.Total != 1 || skipped.InvalidCount != 2 || skipped.Invalid[0].Row != 2 || skipped.Invalid[1].To != "919876543212" {
		t.Errorf("bulk %+v", skipped)
	}
	empties := decode[bulkBody](h.do(form(t, "onInvalid=skip", "message=x", "file=to,a,\n919876543210,1,\n,,\nnobody,2,\n919876543211,3,\n")).want(http.StatusAccepted))
	if empties.Total != 2 || empties.InvalidCount != 1 || empties.Invalid[0].Row != 3 {
		t.Errorf("bulk %+v", empties)
	}
	table := string(h.do(request{path: bulkPath + "/" + empties.ID + "/results.csv"}).want(http.StatusOK).body)
	if !strings.Contains(table, "\n1,919876543210,queued") || !strings.Contains(table, "\n3,nobody,invalid") || !strings.Contains(table, "\n4,919876543211,queued") {
		t.Errorf("results %s", table)
	}
	accepted := h.bulks()
	for _, c := range []struct {
		pointer string
		fields  []string
	}{
		{"/file/0/to", []string{"message=x", "file=to\nnobody\n"}},
		{"/file/2/to", []string{"message=x", "file=to,\n919876543210,\n,\nnobody,\n"}},
		{"/file", []string{"message=x", "file=to,a\n,\n"}},
		{"/file/0/vars/name", []string{"message={{name}}", "file=to\n919876543210\n"}},
		{"/file", []string{"message=x"}},
		{"/file", []string{"message=x", "file="}},
		{"/file", []string{"message=x", "file=to\n"}},
		{"/file", []string{"message=x", "file=number\n919876543210\n"}},
		{"/file", []string{"message=x", "file=to,a,a\n919876543210,1,2\n"}},
		{"/file", []string{"message=x", "file=to\n\"919876543210\n"}},
		{"/message", []string{"file=to\n919876543210\n"}},
		{"/colour", []string{"message=x", "file=to\n919876543210\n", "colour=blue"}},
		{"/name", []string{"message=x", "name=a", "name=b", "file=to\n919876543210\n"}},
		{"/expiresAt", []string{"message=x", "expiresAt=soon", "file=to\n919876543210\n"}},
	} {
		got := h.do(form(t, c.fields...)).want(422)
		if p := decode[problem](got); len(p.Errors) == 0 || p.Errors[0].Pointer != c.pointer {
			t.Errorf("%q: %s", c.fields, got.body)
		}
	}
	if n := h.bulks(); n != accepted {
		t.Errorf("%d bulks were stored by requests that were refused", n-accepted)
	}
}

func TestBulkAsCSVWithAFile(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const list, file = "file=to,name\n919876543210,Asha\n919876543211,Ravi\n", "media=menu.txt;text/plain;Soup; and bread"
	for name, fields := range map[string][]string{
		"file first":      {file, list, "message=For {{name}}"},
		"file last":       {"message=For {{name}}", list, file},
		"without caption": {list, file},
	} {
		b := decode[bulkBody](h.do(form(t, fields...)).want(http.StatusAccepted))
		sent, err := h.store.BulkMessages(t.Context(), h.algo.Key, b.ID, 0, nil, 10)
		must(t, err)
		caption := "For Ravi"
		if len(fields) == 2 {
			caption = ""
		}
		if len(sent) != 2 || sent[1].Type != gateway.TypeDocument || sent[1].Text != caption {
			t.Fatalf("%s: %+v", name, sent)
		}
		if m := sent[1].Media; m.Filename != "menu.txt" || m.MimeType != "text/plain" || m.Size != 15 || m.SHA256 != sent[0].Media.SHA256 {
			t.Errorf("%s: media %+v", name, m)
		}
	}
	preview := form(t, list, file, "message=For {{name}}")
	preview.path += "/preview"
	h.do(preview).want(http.StatusOK)
	accepted := h.bulks()
	for _, c := range []struct {
		pointer string
		fields  []string
	}{
		{"/media", []string{list, "media=menu.txt;text/plain;"}},
		{"/media", []string{list, "media=menu.txt;;Soup"}},
		{"/media", []string{list, "media=menu.txt;image/png;Soup"}},
		{"/media", []string{list, file, file}},
		{"/media", []string{list, "media=menu.txt;text/" + strings.Repeat("x", 300) + ";Soup"}},
		{"/media/filename", []string{list, "media=" + strings.Repeat("x", 300) + ";text/plain;Soup"}},
		{"/file", []string{file, "message=x"}},
		{"/file/0/vars/nobody", []string{list, file, "message={{nobody}}"}},
	} {
		got := h.do(form(t, c.fields...)).want(422)
		if p := decode[problem](got); len(p.Errors) == 0 || p.Errors[0].Pointer != c.pointer {
			t.Errorf("%.200q: %s", c.fields, got.body)
		}
	}
	if n := h.bulks(); n != accepted {
		t.Errorf("%d bulks were stored by requests that were refused", n-accepted)
	}
	keyed := func(file string) request {
		r := form(t, list, file)
		r.header["Idempotency-Key"] = "menu"
		return r
	}
	one, two := decode[bulkBody](h.do(keyed(file)).want(http.StatusAccepted)), decode[bulkBody](h.do(keyed(file)).want(http.StatusAccepted))
	if one.ID != two.ID {
		t.Errorf("two bulks, %s and %s", one.ID, two.ID)
	}
	h.do(keyed(strings.Replace(file, "menu", "list", 1))).refused(422, gateway.CodeIdempotencyReuse, "") // the same bytes by another name
}

func TestBulkIsSafeToRepeat(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	key := map[string]string{"Idempotency-Key": "spring"}
	body := `{"message":"x","recipients":[{"to":"919876543210"}]}`
	first := h.do(request{path: bulkPath, body: body, header: key}).want(http.StatusAccepted)
	again := h.do(request{path: bulkPath, body: body, header: key}).want(http.StatusAccepted)
	if !bytes.Equal(first.body, again.body) || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("first %s\nagain %s", first.body, again.body)
	}
	h.do(request{path: bulkPath, body: strings.Replace(body, "x", "y", 1), header: key}).refused(422, gateway.CodeIdempotencyReuse, "")
	// Each form has another boundary, and is the same all the same.
	csv := func(text string) request {
		r := form(t, "message="+text, "file=to\n919876543210\n")
		r.header["Idempotency-Key"] = "form"
		return r
	}
	one, two := decode[bulkBody](h.do(csv("x")).want(http.StatusAccepted)), decode[bulkBody](h.do(csv("x")).want(http.StatusAccepted))
	if one.ID != two.ID {
		t.Errorf("two bulks, %s and %s", one.ID, two.ID)
	}
	h.do(csv("y")).refused(422, gateway.CodeIdempotencyReuse, "")
	refused := map[string]string{"Idempotency-Key": "refused"}
	bad := h.do(request{path: bulkPath, body: `{"message":"x","recipients":[{"to":"1"}]}`, header: refused}).want(422)
	if again := h.do(request{path: bulkPath, body: `{"message":"x","recipients":[{"to":"1"}]}`, header: refused}).want(422); !bytes.Equal(bad.body, again.body) {
		t.Errorf("first %s\nagain %s", bad.body, again.body)
	}
	if n := h.bulks(); n != 2 {
		t.Errorf("%d bulks", n)
	}
}

// A client that goes away in the middle of its upload leaves nothing behind.
func TestBulkOfAClientThatGoesAway(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	gone := make(chan error, 1)
	go func() {
		_, err := h.send(ctx, request{path: bulkPath, reader: reader})
		gone <- err
	}()
	_, err := io.WriteString(writer, `{"message":"x","recipients":[{"to":"919876543210"}`)
	must(t, err)
	for i := range 2000 {
		_, err := fmt.Fprintf(writer, `,{"to":"9198765%05d"}`, i)
		must(t, err)
	}
	cancel()
	must(t, writer.CloseWithError(context.Canceled)) // the transport may be reading, and would wait for more
	if err := <-gone; err == nil {
		t.Error("an upload that was cut off was answered")
	}
	eventually(t, "the request ends", func() bool { return strings.Contains(h.log.String(), "route=/api/:tenantId/bulk status=") })
	if h.bulks() != 0 || h.count(h.algo.Key) != 0 {
		t.Error("something was stored")
	}
}

func TestBulkIsSteered(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	b := h.bulk(`{"message":"x","recipients":[{"to":"919876543210"},{"to":"919876543211"}]}`)
	steer := func(verb string) bulkBody {
		t.Helper()
		return decode[bulkBody](h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/" + verb}).want(http.StatusOK))
	}
	for _, step := range []struct{ verb, status string }{
		{"pause", "paused"}, {"pause", "paused"}, {"resume", "running"}, {"resume", "running"}, {"pause", "paused"}, {"cancel", "canceled"}, {"cancel", "canceled"},
	} {
		if got := steer(step.verb); got.Status != step.status {
			t.Errorf("%s: %+v", step.verb, got)
		}
	}
	if got := steer("cancel"); got.Counts["canceled"] != 2 {
		t.Errorf("counts %v", got.Counts)
	}
	h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/resume"}).refused(http.StatusConflict, gateway.CodeConflict, "")
	h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/retry"}).refused(http.StatusConflict, gateway.CodeNotRetryable, "")
	_, foreign := h.tenant("foreign")
	for _, route := range []string{"GET /bulk/%", "GET /bulk/%/results.csv", "GET /bulk/%/events", "POST /bulk/%/pause", "POST /bulk/%/resume", "POST /bulk/%/cancel", "POST /bulk/%/retry"} {
		method, path, _ := strings.Cut(strings.Replace(route, "%", b.ID, 1), " ")
		h.do(request{method: method, path: "/api/foreign" + path, key: foreign}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	}
}

// fail lets the message of a bulk's row end without success.
func (h *hub) fail(f gateway.Fence, id string, o gateway.Outcome) {
	h.t.Helper()
	tickets, _, err := h.store.ReleaseBulk(h.t.Context(), f.TenantKey, id, 1, 1)
	must(h.t, err)
	m, err := h.ledger.Claim(h.t.Context(), f, tickets[0], "worker-1")
	must(h.t, err)
	_, err = h.ledger.Record(h.t.Context(), f, m.ID, o)
	must(h.t, err)
}

func TestBulkRetrySendsWhatFailedAgain(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	f := h.own()[h.algo.Key]
	b := h.bulk(`{"name":"spring","message":"x {{n}}","recipients":[{"to":"919876543210","vars":{"n":1},"reference":"r"},
		{"to":"919876543211","vars":{"n":2}},{"to":"919876543212","vars":{"n":3}}]}`)
	h.fail(f, b.ID, gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp, Message: "=no"}})
	h.fail(f, b.ID, gateway.Outcome{Kind: gateway.OutcomePermanent, OnWire: true, Failure: gateway.Failure{Code: gateway.CodeTimeout}})
	table := string(h.do(request{path: bulkPath + "/" + b.ID + "/results.csv"}).want(http.StatusOK).body)
	if !strings.Contains(table, "1,919876543210,failed,not_on_whatsapp,'=no,r,") {
		t.Errorf("results\n%s", table)
	}
	again := decode[bulkBody](h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/retry"}).want(http.StatusAccepted))
	if again.Total != 1 || *again.RetryOf != b.ID || *again.Name != "spring" || h.texts(again.ID)["919876543210"] != "x 1" {
		t.Errorf("retried %+v", again)
	}
	repeats := func(id string) []messageBody {
		t.Helper()
		list := decode[struct{ Data []messageBody }](h.do(request{path: "/api/algo/messages?bulkId=" + id}).want(http.StatusOK))
		for _, m := range list.Data {
			if m.RetryOf == nil {
				t.Errorf("%s names no message that it repeats", m.ID)
			}
		}
		return list.Data
	}
	if list := repeats(again.ID); len(list) != 1 || *list[0].Reference != "r" {
		t.Errorf("retried with %+v", list)
	}
	// What failed is on its way again, so that only the one whose outcome is unknown is left.
	h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/retry"}).refused(http.StatusConflict, gateway.CodeNotRetryable, "")
	forced := decode[bulkBody](h.do(request{path: bulkPath + "/" + b.ID + "/retry", body: `{"force":true}`}).want(http.StatusAccepted))
	if list := repeats(forced.ID); forced.Total != 1 || len(list) != 1 || h.texts(forced.ID)["919876543211"] != "x 2" {
		t.Errorf("retried %+v with %+v", forced, list)
	}
	h.do(request{path: bulkPath + "/" + b.ID + "/retry", body: `{"force":true}`}).refused(http.StatusConflict, gateway.CodeNotRetryable, "")
}

func TestBulkStreamTellsItsProgressToTheEnd(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.BulkPoll = 5 * time.Millisecond })
	f := h.own()[h.algo.Key]
	b := h.bulk(`{"message":"x","recipients":[{"to":"919876543210"}]}`)
	got := h.do(request{path: bulkPath + "/" + b.ID + "/events", keepRaw: true}).want(http.StatusOK)
	defer got.raw.Close()
	lines := bufio.NewScanner(got.raw)
	next := func() (event string, b bulkBody) {
		t.Helper()
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				must(t, json.Unmarshal([]byte(data), &b))
				return event, b
			}
		}
		return "", b
	}
	if event, b := next(); event != "progress" || b.Counts["queued"] != 1 {
		t.Fatalf("first %s %+v", event, b)
	}
	h.fail(f, b.ID, gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}})
	_, err := h.store.SettleBulk(t.Context(), h.algo.Key, b.ID)
	must(t, err)
	for {
		event, b := next()
		if event == "progress" {
			continue
		}
		if event != "end" || b.Counts["failed"] != 1 || b.Status != "finished" || b.FinishedAt == nil {
			t.Fatalf("last %s %+v", event, b)
		}
		break
	}
	if event, _ := next(); event != "" {
		t.Errorf("%s after the end", event)
	}
}

// A fifth upload does not get in while four arrive.
func TestBulkUploadsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options = httpapi.Options{MaxUploads: 1} })
	var writer *io.PipeWriter
	done := make(chan response, 1)
	arrive := func() {
		reader, w := io.Pipe()
		writer = w
		go func() {
			r, err := h.send(h.t.Context(), request{path: bulkPath, reader: reader})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		_, _ = io.WriteString(writer, `{"message":"x",`) // one that is refused at once reads nothing
	}
	arrive()
	body := `{"message":"x","recipients":[{"to":"919876543210"}]}`
	eventually(t, "the slot is taken", func() bool {
		select {
		case r := <-done: // a whole one had the slot at that moment
			r.want(http.StatusServiceUnavailable)
			arrive()
		default:
		}
		got := h.do(request{path: bulkPath, body: body})
		return got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != ""
	})
	_, err := io.WriteString(writer, body[1:])
	if err == nil {
		err = writer.Close()
	}
	must(t, err)
	if r := <-done; r.status != 422 { // message is given twice
		t.Errorf("status %d: %s", r.status, r.body)
	}
	h.do(request{path: bulkPath, body: body}).want(http.StatusAccepted)
}
