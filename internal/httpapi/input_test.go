package httpapi_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

func TestBadTextRequestIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for _, test := range []struct {
		name, body string
		status     int
		code       gateway.Code
		pointer    string
	}{
		{"not json", `to=919876543210`, 422, gateway.CodeInvalidBody, ""},
		{"cut off", `{"to":"919876543210","mess`, 422, gateway.CodeInvalidBody, ""},
		{"two documents", `{"to":"919876543210","message":"x"}{}`, 422, gateway.CodeInvalidBody, ""},
		{"not an object", `["919876543210","x"]`, 422, gateway.CodeInvalidBody, ""},
		{"null", `null`, 422, gateway.CodeInvalidBody, ""},
		{"unknown field", `{"to":"919876543210","message":"x","mesage":"y"}`, 422, gateway.CodeUnknownField, "/mesage"},
		{"field of another case", `{"To":"919876543210","message":"x"}`, 422, gateway.CodeUnknownField, "/To"},
		{"field twice", `{"to":"919876543210","to":"919876543211","message":"x"}`, 422, gateway.CodeInvalidBody, "/to"},
		{"number as recipient", `{"to":919876543210,"message":"x"}`, 422, gateway.CodeInvalidBody, "/to"},
		{"object as text", `{"to":"919876543210","message":{"text":"x"}}`, 422, gateway.CodeInvalidBody, "/message"},
		{"null as text", `{"to":"919876543210","message":null}`, 422, gateway.CodeInvalidBody, "/message"},
		{"no recipient", `{"message":"x"}`, 422, gateway.CodeInvalidBody, "/to"},
		{"no text", `{"to":"919876543210"}`, 422, gateway.CodeInvalidBody, "/message"},
		{"empty text", `{"to":"919876543210","message":""}`, 422, gateway.CodeInvalidMessage, "/message"},
		{"text too long", `{"to":"919876543210","message":"` + strings.Repeat("x", gateway.MaxTextBytes+1) + `"}`, 422, gateway.CodeInvalidMessage, "/message"},
		{"text not UTF-8", "{\"to\":\"919876543210\",\"message\":\"\xff\"}", 422, gateway.CodeInvalidBody, "/message"},
		{"half a surrogate pair", `{"to":"919876543210","message":"\ud83d"}`, 422, gateway.CodeInvalidBody, "/message"},
		{"short number", `{"to":"123","message":"x"}`, 422, gateway.CodeInvalidRecipient, "/to"},
		{"letters", `{"to":"my aunt","message":"x"}`, 422, gateway.CodeInvalidRecipient, "/to"},
		{"long recipient", `{"to":"` + strings.Repeat("9", 500) + `","message":"x"}`, 422, gateway.CodeInvalidRecipient, "/to"},
		{"jid of nowhere", `{"to":"919876543210@example.org","message":"x"}`, 422, gateway.CodeInvalidRecipient, "/to"},
		{"jid without user", `{"to":"@g.us","message":"x"}`, 422, gateway.CodeInvalidRecipient, "/to"},
		{"priority", `{"to":"919876543210","message":"x","priority":"urgent"}`, 422, gateway.CodeInvalidBody, "/priority"},
		{"expiry not a time", `{"to":"919876543210","message":"x","expiresAt":"tomorrow"}`, 422, gateway.CodeInvalidBody, "/expiresAt"},
		{"expiry beyond time", `{"to":"919876543210","message":"x","expiresAt":"9999-12-31T23:59:59-12:00"}`, 422, gateway.CodeInvalidBody, "/expiresAt"},
		{"expiry in the past", `{"to":"919876543210","message":"x","expiresAt":"2001-01-01T00:00:00Z"}`, 422, gateway.CodeInvalidBody, "/expiresAt"},
		{"long reference", `{"to":"919876543210","message":"x","reference":"` + strings.Repeat("r", 257) + `"}`, 422, gateway.CodeInvalidBody, "/reference"},
		{"body too large", `{"to":"919876543210","message":"` + strings.Repeat("x", 1<<20) + `"}`, 413, gateway.CodeBodyTooLarge, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := h.in(t)
			h.do(request{path: "/api/algo/message", body: test.body}).refused(test.status, test.code, test.pointer)
		})
	}
	h.do(request{method: http.MethodPost, path: "/api/algo/message"}).refused(422, gateway.CodeInvalidBody, "")
	h.do(request{path: "/api/algo/message", reader: io.MultiReader(strings.NewReader(`{"to":"`), strings.NewReader(strings.Repeat("9", 2<<20)))}).
		refused(413, gateway.CodeBodyTooLarge, "")
	valid := `{"to":"919876543210","message":"x"}`
	for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain", "nonsense", "application/json; charset=latin1"} {
		h.do(request{path: "/api/algo/message", body: valid, header: map[string]string{"Content-Type": kind}}).
			refused(http.StatusUnsupportedMediaType, gateway.CodeUnsupportedType, "")
	}
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d refused messages were accepted", n)
	}
}

func TestGoodTextRequestsAreAccepted(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for name, test := range map[string]struct{ body, to, text, kind string }{
		"plain":       {`{"to":"919876543210","message":"Hello"}`, "919876543210", "Hello", ""},
		"spaces":      {` { "to" : "+91 98765-43210" , "message" : "Hello" } ` + "\n", "919876543210", "Hello", ""},
		"group":       {`{"to":"120363025246125486@g.us","message":"x"}`, "120363025246125486@g.us", "x", ""},
		"escapes":     {`{"to":"919876543210","message":"a\/\u00e9\ud83d\ude00\n\"<&>"}`, "919876543210", "a/é😀\n\"<&>", ""},
		"nulls":       {`{"to":"919876543210","message":"x","priority":null,"sendAt":null,"expiresAt":null,"reference":null}`, "919876543210", "x", ""},
		"longest":     {`{"to":"919876543210","message":"` + strings.Repeat("x", gateway.MaxTextBytes) + `"}`, "919876543210", strings.Repeat("x", gateway.MaxTextBytes), ""},
		"charset":     {`{"to":"919876543210","message":"x"}`, "919876543210", "x", "application/json; charset=UTF-8"},
		"with offset": {`{"to":"919876543210","message":"x","expiresAt":"2099-01-01T02:00:00+02:00"}`, "919876543210", "x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			r := request{path: "/api/algo/message", body: test.body}
			if test.kind != "" {
				r.header = map[string]string{"Content-Type": test.kind}
			}
			got := h.do(r).want(http.StatusAccepted)
			m := decode[messageBody](got)
			if m.To != test.to || m.Message == nil || *m.Message != test.text || m.Status != "queued" || m.Type != "text" || m.TenantID != "algo" {
				t.Errorf("accepted %s", got.body)
			}
			if where := got.header.Get("Location"); where != "/api/algo/messages/"+m.ID {
				t.Errorf("Location %q", where)
			}
			// What was answered is what is stored; only its place in the queue comes on top.
			again := h.do(request{path: got.header.Get("Location")}).want(http.StatusOK)
			if stored, _, _ := strings.Cut(string(again.body), `,"queue":{`); stored+"}\n" != string(got.body) {
				t.Errorf("answered\n%sstored\n%s", got.body, again.body)
			}
		})
	}
}

const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func TestBadMediaRequestIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	wrap := func(media string) string { return `{"to":"919876543210","media":` + media + `}` }
	for _, test := range []struct {
		name, body string
		code       gateway.Code
		pointer    string
	}{
		{"no media", `{"to":"919876543210"}`, gateway.CodeInvalidBody, "/media"},
		{"no recipient", `{"media":{"mimetype":"image/png","data":"` + png + `"}}`, gateway.CodeInvalidBody, "/to"},
		{"media is text", wrap(`"` + png + `"`), gateway.CodeInvalidBody, "/media"},
		{"unknown field", wrap(`{"mimetype":"image/png","data":"` + png + `","name":"a"}`), gateway.CodeUnknownField, "/media/name"},
		{"data twice", wrap(`{"mimetype":"image/png","data":"` + png + `","data":"` + png + `"}`), gateway.CodeInvalidBody, "/media/data"},
		{"data is a number", wrap(`{"mimetype":"image/png","data":1}`), gateway.CodeInvalidBody, "/media/data"},
		{"no data", wrap(`{"mimetype":"image/png"}`), gateway.CodeInvalidMedia, "/media/data"},
		{"no mimetype", wrap(`{"data":"` + png + `"}`), gateway.CodeInvalidMedia, "/media/mimetype"},
		{"broken base64", wrap(`{"mimetype":"image/png","data":"iVBOR*"}`), gateway.CodeInvalidMedia, "/media/data"},
		{"empty data", wrap(`{"mimetype":"image/png","data":""}`), gateway.CodeInvalidMedia, "/media/data"},
		{"data cut off", `{"to":"919876543210","media":{"mimetype":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB`, gateway.CodeInvalidBody, "/media/data"},
		{"bytes are no pdf", wrap(`{"mimetype":"application/pdf","data":"` + png + `"}`), gateway.CodeMediaMismatch, ""},
		{"caption too long", `{"message":"` + strings.Repeat("x", gateway.MaxTextBytes+1) + `","to":"919876543210","media":{"mimetype":"image/png","data":"` + png + `"}}`, gateway.CodeInvalidMessage, "/message"},
		{"recipient", `{"to":"nobody","media":{"mimetype":"image/png","data":"` + png + `"}}`, gateway.CodeInvalidRecipient, "/to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := h.in(t)
			h.do(request{path: "/api/algo/media", body: test.body}).refused(422, test.code, test.pointer)
		})
	}
	h.do(request{path: "/api/algo/media", body: wrap(`{"mimetype":"image/png","data":"` + png + `"}`), header: map[string]string{"Content-Type": "text/plain"}}).
		refused(http.StatusUnsupportedMediaType, gateway.CodeUnsupportedType, "")
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d refused messages were accepted", n)
	}
}

// repeat is one byte without end.
type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

func TestMediaOverTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	over := io.MultiReader(strings.NewReader(`{"to":"919876543210","media":{"data":"`),
		io.LimitReader(repeat('A'), gateway.MaxMediaBytes/3*4+64), strings.NewReader(`","mimetype":"application/octet-stream"}}`))
	h.do(request{path: "/api/algo/media", reader: over}).refused(413, gateway.CodeMediaTooLarge, "/media/data")
	announced := int64(gateway.MaxMediaBytes/3*4 + 3<<20)
	h.do(request{path: "/api/algo/media", reader: io.LimitReader(repeat(' '), announced), length: announced}).
		refused(413, gateway.CodeBodyTooLarge, "")
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d refused messages were accepted", n)
	}
}

func TestTooMuchMediaInFlightIsRefusedForNow(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.inflight = 1 << 10 })
	body := `{"to":"919876543210","media":{"mimetype":"application/octet-stream","data":"` +
		base64.StdEncoding.EncodeToString(make([]byte, 4<<10)) + `"}}`
	got := h.do(request{path: "/api/algo/media", body: body, header: map[string]string{"Idempotency-Key": "m1"}}).
		refused(http.StatusServiceUnavailable, gateway.CodeMediaBusy, "")
	if got.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	// 503 is not kept under the key: the same request is tried again.
	h.do(request{path: "/api/algo/media", body: body, header: map[string]string{"Idempotency-Key": "m1"}}).
		refused(http.StatusServiceUnavailable, gateway.CodeMediaBusy, "")
}

func TestGoodMediaIsStoredAndAccepted(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	escaped := strings.NewReplacer("+", `\u002b`, "/", `\/`).Replace(png)
	for name, body := range map[string]string{
		"usual order":   `{"to":"919876543210","message":"look","media":{"mimetype":"image/png","data":"` + png + `","filename":"a.png"}}`,
		"data first":    `{"media":{"data":"` + png + `","filename":"a.png","mimetype":"image/png"},"message":"look","to":"919876543210"}`,
		"data url":      `{"to":"919876543210","message":"look","media":{"mimetype":"image/png","data":"data:image/png;base64,` + png + `"}}`,
		"json escapes":  `{"to":"919876543210","message":"look","media":{"mimetype":"image/png","data":"` + escaped + `"}}`,
		"null filename": `{"to":"919876543210","message":"look","media":{"mimetype":"image/png","filename":null,"data":"` + png + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			got := h.do(request{path: "/api/algo/media", body: body}).want(http.StatusAccepted)
			m := decode[messageBody](got)
			if m.Type != "image" || m.Message == nil || *m.Message != "look" || m.Media == nil || m.Media.Mimetype != "image/png" ||
				m.Media.Size != 70 || len(m.Media.Sha256) != 64 {
				t.Errorf("accepted %s", got.body)
			}
		})
	}
	pdf := base64.StdEncoding.EncodeToString([]byte("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"))
	got := h.do(request{path: "/api/algo/media", body: `{"to":"919876543210","media":{"mimetype":"application/pdf","data":"` + pdf + `","filename":"invoice.pdf"}}`}).want(http.StatusAccepted)
	if m := decode[messageBody](got); m.Type != "document" || m.Media.Filename == nil || *m.Media.Filename != "invoice.pdf" || m.Message != nil {
		t.Errorf("accepted %s", got.body)
	}
}
