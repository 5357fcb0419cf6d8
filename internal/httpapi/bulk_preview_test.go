package httpapi_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

type previewBody struct {
	Rows, Valid, InvalidCount int
	InvalidByCode             map[string]int
	Invalid                   []struct {
		Row              int
		To, Code, Detail string
	}
	Messages []struct {
		Row         int
		To, Message string
		Reference   *string
	}
	Type string
}

const previewPath = bulkPath + "/preview"

func TestPreviewTellsWhatABulkWouldBeAndStoresNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.do(request{path: "/api/algo/opt-outs", body: `{"recipients":["919876543212"]}`}).want(http.StatusOK)
	for _, onInvalid := range []string{"refuse", "skip"} {
		body := fmt.Sprintf(mixed, onInvalid)
		p := decode[previewBody](h.do(request{path: previewPath, body: body}).want(http.StatusOK))
		if p.Rows != 5 || p.Valid != 1 || p.InvalidCount != 4 || p.Type != "text" || len(p.Messages) != 1 || p.Messages[0].Message != "Hello a" || p.Messages[0].Row != 1 {
			t.Errorf("preview %+v", p)
		}
		if fmt.Sprint(p.InvalidByCode) != "map[duplicate_recipient:1 invalid_recipient:1 missing_variable:1 opted_out:1]" ||
			len(p.Invalid) != 4 || p.Invalid[2].Row != 4 || !strings.Contains(p.Invalid[2].Detail, "{{name}}") {
			t.Errorf("invalid %+v", p)
		}
	}
	if n, m := h.bulks(), h.count(h.algo.Key); n != 0 || m != 0 {
		t.Errorf("a preview left %d bulks and %d messages", n, m)
	}
	// What it shows is what is sent.
	b := h.bulk(fmt.Sprintf(mixed, "skip"))
	if texts := h.texts(b.ID); len(texts) != 1 || texts["919876543210"] != "Hello a" {
		t.Errorf("texts %v", texts)
	}
	h.do(request{path: previewPath, body: `{"message":"Hello {{name","recipients":[{"to":"919876543210"}]}`}).refused(422, gateway.CodeInvalidMessage, "/message")
	h.do(request{path: previewPath, body: `{"message":"Hello"}`}).refused(422, gateway.CodeInvalidBody, "/recipients")
	h.do(request{path: previewPath, body: `{"message":"Hello","recipients":[]}`}).refused(422, gateway.CodeInvalidBody, "/recipients")
}

func TestPreviewOfALongCSVShowsItsBeginning(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	var file strings.Builder
	file.WriteString("to;name;reference\n")
	for i := range 1000 {
		if i%2 == 1 {
			fmt.Fprintf(&file, "12;Asha %d;\n", i)
			continue
		}
		fmt.Fprintf(&file, "+91 98765 4%04d;Asha %d;r%d\n", i, i, i)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	must(t, form.WriteField("message", "Hello {{name}}, from {{ to }}"))
	part, err := form.CreateFormFile("file", "people.csv")
	must(t, err)
	_, err = part.Write([]byte(file.String()))
	must(t, err)
	must(t, form.Close())
	p := decode[previewBody](h.do(request{path: previewPath, reader: &body, header: map[string]string{"Content-Type": form.FormDataContentType()}}).want(http.StatusOK))
	if p.Rows != 1000 || p.Valid != 500 || p.InvalidByCode["invalid_recipient"] != 500 || len(p.Invalid) != 100 || len(p.Messages) != 10 {
		t.Fatalf("preview %+v", p)
	}
	if m := p.Messages[1]; m.Row != 3 || m.To != "919876540002" || m.Message != "Hello Asha 2, from +91 98765 40002" || *m.Reference != "r2" {
		t.Errorf("message %+v", m)
	}
}
