package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

func TestAFileByItsURLIsAccepted(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	got := decode[messageBody](h.do(request{path: "/api/algo/media", body: `{"to":"919876543210","media":{"url":"https://files.example.com/photo.jpg"}}`}).want(http.StatusAccepted))
	if got.Type != "image" || got.Media != nil {
		t.Errorf("accepted as %+v", got)
	}
	m, err := h.store.Message(t.Context(), h.algo.Key, got.ID)
	must(t, err)
	if file := m.ToFetch(); file == nil || file.URL != "https://files.example.com/photo.jpg" {
		t.Errorf("stored %+v", m.Content)
	}
	for body, pointer := range map[string]string{
		`{"to":"919876543210","media":{"url":"https://x.example/a","data":"AAAA","mimetype":"image/png"}}`: "/media",
		`{"to":"919876543210","media":{"mimetype":"image/png"}}`:                                           "/media/data",
		`{"to":"919876543210","media":{"url":"https://x.example/a","mimetype":"picture"}}`:                 "/media/mimetype",
	} {
		h.do(request{path: "/api/algo/media", body: body}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidMedia, pointer)
	}
}

// The corpus of the guard itself is at its own tests; this shows that single messages and bulks ask it.
func TestAURLThatTheHubDoesNotCallIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for _, raw := range []string{
		"http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::7f00:1]/", "http://[fe80::1%25eth0]/",
		"http://user@example.com/", "http://localhost./", "http://example.com:25/", "file:///etc/passwd", "gopher://example.com/", "",
	} {
		quoted, err := json.Marshal(raw)
		must(t, err)
		code := gateway.CodeMediaURLRefused
		h.do(request{path: "/api/algo/media", body: `{"to":"919876543210","media":{"url":` + string(quoted) + `}}`}).
			refused(http.StatusUnprocessableEntity, code, "/media/url")
		h.do(request{path: "/api/algo/bulk", body: `{"recipients":[{"to":"919876543210"}],"media":{"url":` + string(quoted) + `}}`}).
			refused(http.StatusUnprocessableEntity, code, "/media/url")
	}
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d messages were accepted", n)
	}
}
