package app_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestSlowClientDoesNotBreakTheStop: an upload that never ends is cut off, and the rest of the stop is as orderly as ever.
func TestSlowClientDoesNotBreakTheStop(t *testing.T) {
	t.Parallel()
	w := testkit.StartProcesses(t)
	w.Pair(t, "algo", testkit.OwnNumber)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.Admin.Base(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "POST /api/algo/media HTTP/1.1\r\nHost: hub\r\nx-api-key: %s\r\nContent-Type: application/json\r\nContent-Length: 50000000\r\n\r\n{\"to\":\"919876543210\",\"media\":{\"data\":\"AAAA", testkit.AdminKey)
	m := w.Admin.Send(t, "algo", recipient, "before the stop")
	w.Admin.AwaitStatus(t, "algo", m.ID, "read")

	start := time.Now()
	w.Hub.Terminate(2 * time.Minute)
	if took := time.Since(start); took > 80*time.Second { // after 85 s the hub itself gives up
		t.Errorf("the stop took %s", took)
	}
	if log := w.Hub.Stderr(); !strings.Contains(log, `"msg":"stopped"`) || !strings.Contains(log, "cut off") {
		t.Error("the hub did not stop in order")
	}

	w.RestartHub(t, func(*testkit.Process) {})
	w.Admin.AwaitSession(t, "algo", "online")
	var ready map[string]string
	testkit.NewClient("", "http://"+w.Hub.Listening("operations")).JSON(t, http.MethodGet, "/readyz", nil, http.StatusOK, &ready)
	if ready["status"] != "ready" || ready["database"] != "ok" || ready["sessions"] != "online 1" {
		t.Errorf("/readyz tells %v", ready)
	}
}
