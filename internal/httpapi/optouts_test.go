package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

type optOutAnswer struct {
	Added, Known int
	Invalid      []struct {
		Row      int
		To, Code string
	}
}

func TestOptOutsComeAsJSONAndAsCSV(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	_, foreign := h.tenant("beta")
	add := func(kind, body string) (a optOutAnswer) {
		t.Helper()
		got := h.do(request{path: "/api/algo/opt-outs", body: body, header: map[string]string{"Content-Type": kind}}).want(http.StatusOK)
		must(t, json.Unmarshal(got.body, &a))
		return a
	}
	a := add("application/json", `{"recipients":["+91 98765 43210","919876543210@s.whatsapp.net","my aunt","123456789@lid"]}`)
	if a.Added != 2 || a.Known != 1 || len(a.Invalid) != 1 || a.Invalid[0].Row != 3 || a.Invalid[0].To != "my aunt" || a.Invalid[0].Code != "invalid_recipient" {
		t.Errorf("as JSON: %+v", a)
	}
	a = add("text/csv; charset=utf-8", "\ufeffname;to\r\nAnna;+49 151 12345678\r\nBob;919876543210\r\nCarol;\r\nDan;nobody\r\n")
	if a.Added != 1 || a.Known != 1 || len(a.Invalid) != 1 || a.Invalid[0].Row != 5 {
		t.Errorf("as CSV: %+v", a)
	}
	if a = add("text/csv", "+49 151 12345679\n\n"); a.Added != 1 { // without a header
		t.Errorf("as a plain list: %+v", a)
	}
	var b strings.Builder
	for i := range 2500 { // several batches, more invalid ones than an answer names
		fmt.Fprintf(&b, "+4915112%06d\nx%d\n", i, i)
	}
	if a = add("text/csv", b.String()); a.Added != 2500 || len(a.Invalid) != 1000 {
		t.Errorf("a long list: %d added, %d invalid", a.Added, len(a.Invalid))
	}

	seen, path := map[string]bool{}, "/api/algo/opt-outs?limit=1000"
	for range 10 {
		var page struct {
			Data       []struct{ Recipient, Source string }
			NextCursor *string
		}
		must(t, json.Unmarshal(h.do(request{path: path}).want(http.StatusOK).body, &page))
		for _, o := range page.Data {
			seen[o.Recipient] = true
		}
		if page.NextCursor == nil {
			break
		}
		path = "/api/algo/opt-outs?limit=1000&cursor=" + *page.NextCursor
	}
	if len(seen) != 2504 || !seen["4915112345678"] || !seen["123456789@lid"] {
		t.Errorf("%d are listed", len(seen))
	}

	h.do(request{path: "/api/algo/opt-outs/919876543210"}).want(http.StatusOK)
	h.do(request{path: "/api/algo/opt-outs/%2B91%2098765%2043210"}).want(http.StatusOK)
	h.do(request{path: "/api/algo/opt-outs/nobody"}).refused(422, gateway.CodeInvalidRecipient, "")
	h.do(request{path: "/api/beta/opt-outs/919876543210", key: foreign}).refused(404, gateway.CodeNotFound, "")
	h.do(request{method: http.MethodDelete, path: "/api/algo/opt-outs/+919876543210"}).want(http.StatusNoContent)
	h.do(request{method: http.MethodDelete, path: "/api/algo/opt-outs/919876543210"}).refused(404, gateway.CodeNotFound, "")
	h.do(request{path: "/api/algo/opt-outs?limit=0"}).refused(422, gateway.CodeInvalidParameter, "")
	h.do(request{path: "/api/algo/opt-outs?cursor=*"}).refused(422, gateway.CodeInvalidParameter, "")
	h.do(request{path: "/api/algo/opt-outs", body: `{"recipients":[]}`}).refused(422, gateway.CodeInvalidBody, "/recipients")
	h.do(request{path: "/api/algo/opt-outs", body: `{"numbers":["1"]}`}).refused(422, gateway.CodeUnknownField, "/numbers")
	h.do(request{path: "/api/algo/opt-outs", body: `{"recipients":["` + strings.Repeat(`9","`, 1000) + `9"]}`}).refused(422, gateway.CodeInvalidBody, "/recipients")
	h.do(request{path: "/api/algo/opt-outs", body: "919876543210", header: map[string]string{"Content-Type": "text/plain"}}).refused(415, gateway.CodeUnsupportedType, "")
	h.do(request{path: "/api/algo/opt-outs", body: strings.Repeat("919876543210\n", 700_000), header: map[string]string{"Content-Type": "text/csv"}}).
		refused(413, gateway.CodeBodyTooLarge, "")
}

func TestOptOutsAreAddedOncePerKey(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for _, kind := range []string{"application/json", "text/csv"} {
		body := "919876543210\n"
		if kind == "application/json" {
			body = `{"recipients":["919876543211"]}`
		}
		r := request{path: "/api/algo/opt-outs", body: body, header: map[string]string{"Content-Type": kind, "Idempotency-Key": "once-" + kind[:4]}}
		first, second := h.do(r).want(http.StatusOK), h.do(r).want(http.StatusOK)
		if string(first.body) != string(second.body) || !strings.Contains(string(first.body), `"added":1`) {
			t.Errorf("%s: %s, then %s", kind, first.body, second.body)
		}
		r.body = strings.Replace(body, "98765", "98764", 1)
		h.do(r).refused(422, gateway.CodeIdempotencyReuse, "")
	}
}
