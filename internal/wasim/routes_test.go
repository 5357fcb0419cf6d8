package wasim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

// call sends a request to the /sandbox routes and decodes the answer into out, if that is not nil.
func call(t *testing.T, s *wasim.Server, method, path, body string, wantStatus int, out any) {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	if rec.Code != wantStatus {
		t.Fatalf("%s %s answers %d: %s", method, path, rec.Code, rec.Body)
	}
	wantType := "application/json"
	if wantStatus >= 400 {
		wantType = "application/problem+json"
	}
	if got := rec.Header().Get("Content-Type"); wantStatus != http.StatusNoContent && got != wantType {
		t.Errorf("%s %s answers %s", method, path, got)
	}
	if out != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

func TestSandboxRoutes(t *testing.T) {
	t.Parallel()
	codes := make(chan string, 1)
	s := startServer(t, wasim.Config{ResolveQR: func(_ context.Context, tenant string) (string, error) {
		if tenant != "algo" {
			return "", errors.New("no such tenant")
		}
		return <-codes, nil
	}})
	c := newClient(t, s)
	c.connect()
	codes <- await[*events.QR](c, nil).Codes[0]
	call(t, s, http.MethodPost, "/sandbox/pair", `{"tenantId":"algo","number":"+`+alice+`"}`, http.StatusOK, nil)
	await[*events.Connected](c, nil)

	c.sendText(pn(bob), "hello")
	var shown struct {
		Data []map[string]any `json:"data"`
	}
	call(t, s, http.MethodGet, "/sandbox/phones/"+bob+"/messages", "", http.StatusOK, &shown)
	if len(shown.Data) != 1 || shown.Data[0]["text"] != "hello" || shown.Data[0]["from"] != alice {
		t.Errorf("shown: %+v", shown)
	}
	for _, field := range []string{"id", "from", "type", "text", "caption", "filename", "mimetype", "sha256", "size", "at", "decrypted"} {
		if _, ok := shown.Data[0][field]; !ok {
			t.Errorf("a message has no %s", field)
		}
	}
	call(t, s, http.MethodGet, "/sandbox/phones/"+carol+"/messages", "", http.StatusOK, &shown)
	if shown.Data == nil || len(shown.Data) != 0 {
		t.Errorf("an unused phone shows %+v", shown)
	}

	var sent struct{ ID, JID string }
	call(t, s, http.MethodPost, "/sandbox/phones/"+bob+"/messages", `{"to":"`+alice+`","text":"hi"}`, http.StatusCreated, &sent)
	await(c, func(m *events.Message) bool { return m.Info.ID == sent.ID })
	call(t, s, http.MethodPost, "/sandbox/groups", `{"owner":"`+alice+`","members":["`+bob+`"],"subject":"Two"}`, http.StatusCreated, &sent)
	if !strings.HasSuffix(sent.JID, "@g.us") {
		t.Errorf("a group is called %q", sent.JID)
	}
	var phones struct {
		Data []struct {
			Number    string
			Connected bool
		}
	}
	call(t, s, http.MethodGet, "/sandbox/phones", "", http.StatusOK, &phones)
	if len(phones.Data) != 2 || phones.Data[0].Number != alice || !phones.Data[0].Connected {
		t.Errorf("phones: %+v", phones)
	}
	var table struct{ Data []wasim.TestNumber }
	call(t, s, http.MethodGet, "/sandbox/test-numbers", "", http.StatusOK, &table)
	if len(table.Data) != len(wasim.TestNumbers()) {
		t.Errorf("test numbers: %+v", table)
	}
}

func TestSandboxFaults(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	call(t, s, http.MethodPost, "/sandbox/faults", `{"kind":"ack_error","number":"`+bob+`","code":463}`, http.StatusCreated, nil)
	call(t, s, http.MethodPost, "/sandbox/faults", `{"kind":"latency","delayMs":5,"times":0}`, http.StatusCreated, nil)
	call(t, s, http.MethodPost, "/sandbox/faults", `{"kind":"drop_after_accept","times":2}`, http.StatusCreated, nil)
	var list struct {
		Data []struct {
			Kind, To  string
			Remaining int
			DelayMs   int
		}
	}
	call(t, s, http.MethodGet, "/sandbox/faults", "", http.StatusOK, &list)
	if len(list.Data) != 3 || list.Data[0].To != bob || list.Data[0].Remaining != 1 || list.Data[1].Remaining != -1 || list.Data[1].DelayMs != 5 || list.Data[2].Remaining != 2 {
		t.Errorf("planned: %+v", list)
	}
	call(t, s, http.MethodDelete, "/sandbox/faults", "", http.StatusNoContent, nil)
	call(t, s, http.MethodGet, "/sandbox/faults", "", http.StatusOK, &list)
	if len(list.Data) != 0 {
		t.Errorf("planned after clearing: %+v", list)
	}
}

func TestSandboxRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	for _, bad := range []struct {
		method, path, body, code string
		status                   int
	}{
		{http.MethodGet, "/sandbox/phones/abc/messages", "", "invalid_recipient", 400},
		{http.MethodPost, "/sandbox/phones/" + bob + "/messages", `{`, "invalid_body", 400},
		{http.MethodPost, "/sandbox/phones/" + bob + "/messages", `{"to":"` + alice + `"}`, "invalid_body", 400},
		{http.MethodPost, "/sandbox/phones/" + bob + "/messages", `{"to":"12025550101","text":"x"}`, "invalid_recipient", 422},
		{http.MethodPost, "/sandbox/phones/" + bob + "/messages", `{"to":"123@g.us","text":"x"}`, "invalid_recipient", 422},
		{http.MethodPost, "/sandbox/pair", `{"number":"` + bob + `"}`, "invalid_body", 400},
		{http.MethodPost, "/sandbox/pair", `{"number":"` + bob + `","qr":"2@x,AAAA,AAAA,AAAA"}`, "not_pairing", 409},
		{http.MethodPost, "/sandbox/pair", `{"number":"` + bob + `","qr":"x"}`, "pairing_failed", 422},
		{http.MethodPost, "/sandbox/pair", `{"unknown":1}`, "invalid_body", 400},
		{http.MethodPost, "/sandbox/faults", `{"kind":"nonsense"}`, "invalid_fault", 400},
		{http.MethodPost, "/sandbox/groups", `{"owner":"12025550101"}`, "invalid_recipient", 422},
	} {
		var problem struct {
			Code   string
			Status int
		}
		call(t, s, bad.method, bad.path, bad.body, bad.status, &problem)
		if problem.Code != bad.code || problem.Status != bad.status {
			t.Errorf("%s %s %s answers %+v", bad.method, bad.path, bad.body, problem)
		}
	}
}
