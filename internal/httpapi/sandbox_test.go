package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// The simulator's routes answer as described, and only to the admin.
func TestSandboxRoutesAreTheSimulators(t *testing.T) {
	t.Parallel()
	simulator, err := wasim.Start(t.Context(), wasim.Config{Addr: "127.0.0.1:0"})
	must(t, err)
	t.Cleanup(func() { must(t, simulator.Close()) })
	h := newHub(t, func(s *settings) { s.sandbox = simulator.Handler() })
	admin := func(method, path, body string) response {
		t.Helper()
		return h.do(request{method: method, path: path, body: body, key: h.adminKey})
	}
	h.do(request{path: "/sandbox/phones"}).refused(http.StatusForbidden, gateway.CodeForbidden, "")

	admin("POST", "/sandbox/phones/919876543210/messages", `{"to":"919876543211","text":"Hello from a phone"}`).want(http.StatusCreated)
	if got := admin("GET", "/sandbox/phones/919876543211/messages", "").want(http.StatusOK); !strings.Contains(string(got.body), "Hello from a phone") {
		t.Errorf("the phone shows %s", got.body)
	}
	admin("GET", "/sandbox/phones", "").want(http.StatusOK)
	admin("GET", "/sandbox/phones/nobody/messages", "").want(http.StatusBadRequest)
	admin("POST", "/sandbox/phones/919876543210/messages", `{"text":"x"}`).want(http.StatusBadRequest)
	admin("GET", "/sandbox/test-numbers", "").want(http.StatusOK)

	admin("POST", "/sandbox/groups", `{"owner":"919876543210","members":["919876543211"],"subject":"Us"}`).want(http.StatusCreated)
	if got := admin("GET", "/sandbox/groups", "").want(http.StatusOK); !strings.Contains(string(got.body), "@g.us") {
		t.Errorf("groups: %s", got.body)
	}

	admin("POST", "/sandbox/faults", `{"kind":"ack_error","code":463,"to":"919876543211","times":0}`).want(http.StatusCreated)
	admin("POST", "/sandbox/faults", `{"kind":"earthquake"}`).want(http.StatusBadRequest)
	if got := admin("GET", "/sandbox/faults", "").want(http.StatusOK); !strings.Contains(string(got.body), "ack_error") {
		t.Errorf("faults: %s", got.body)
	}
	admin("DELETE", "/sandbox/faults", "").want(http.StatusNoContent)

	admin("POST", "/sandbox/pair", `{"number":"919876543210","qr":"nothing"}`)
	admin("POST", "/sandbox/pair", `{}`).want(http.StatusBadRequest)
}

func TestWithoutASandboxThereAreNoSandboxRoutes(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.sandbox = nil })
	resp, err := h.client.Get(h.base + "/sandbox/phones")
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", resp.StatusCode)
	}
}
