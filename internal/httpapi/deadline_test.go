package httpapi_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func short(s *settings) {
	s.options.RequestTime = 3 * time.Second // which a request of a machine that stands still must not take
	s.options.Heartbeat = 20 * time.Millisecond
}

// The server's own deadlines, passed twice here, cut neither a wait nor a stream off.
func TestWaitsAndStreamsOutliveTheRequestTime(t *testing.T) {
	t.Parallel()
	h := newHub(t, short)
	events := h.stream(t.Context(), "/api/algo/session/events")
	m := h.text("919876543210", "Hello")
	start := time.Now()
	got := decode[messageBody](h.do(request{path: "/api/algo/messages/" + m.ID + "?wait=6500ms"}).want(http.StatusOK))
	if waited := time.Since(start); got.Status != "queued" || waited < 6500*time.Millisecond {
		t.Errorf("%s after %s", got.Status, waited)
	}
	next(t, events, "state")
	for range len(events) + 2 { // and then some that are new
		next(t, events, "heartbeat")
	}
}

// A body that stops coming is given up (I9), and the caller is told.
func TestBodyThatStopsComingIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newHub(t, short)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.base, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the server has closed it too
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "POST /api/algo/message HTTP/1.1\r\nHost: hub\r\nx-api-key: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"to\":", h.key)
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer resp.Body.Close()
	body := make([]byte, 4<<10)
	n, _ := resp.Body.Read(body) // the code is at its beginning
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(body[:n]), string(gateway.CodeInvalidBody)) {
		t.Errorf("status %d: %s", resp.StatusCode, body[:n])
	}
}
