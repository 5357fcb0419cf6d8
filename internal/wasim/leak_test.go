package wasim_test

import (
	"testing"

	"go.mau.fi/whatsmeow/types/events"
	"go.uber.org/goleak"

	"github.com/wapro/hub/internal/wasim"
)

// Not parallel: it looks at every goroutine of the process that was not there before.
func TestCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := startServer(t, wasim.Config{Dir: t.TempDir()})
	paired := pairedClient(t, s, alice)
	waiting := newClient(t, s)
	waiting.connect()
	await[*events.QR](waiting, nil)
	paired.sendText(pn(bob), "hello")
	paired.Disconnect() // its own goroutines end with it
	waiting.Disconnect()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	for _, c := range []*client{paired, waiting} {
		c.http.CloseIdleConnections()
		if err := c.container.Close(); err != nil {
			t.Error(err)
		}
	}
	// whatsmeow's own reader stays behind for ever when a frame arrives while the client hangs up.
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("go.mau.fi/whatsmeow/socket.(*FrameSocket).frameComplete"))
}
