package wa

import (
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// TestAnotherAttemptShowsThePreviewOfTheFirst: the page may say something else by then, or nothing; one stanza id stands for one content.
func TestAnotherAttemptShowsThePreviewOfTheFirst(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]*gateway.LinkPreview{"another": {Link: "https://shop.example", Title: "Closed"}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := w.online()
			w.fault(wasim.Fault{Kind: wasim.DropBeforeAccept, To: bob})
			m := previewed(bob, "https://shop.example")
			l.fails(m, gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true})
			l.Disconnect()

			again := *m
			again.Preview = later
			w.online().sends(&again)
			w.heals(bob, []*gateway.Message{m})
		})
	}
	t.Run("none at first", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		l := w.online()
		w.fault(wasim.Fault{Kind: wasim.DropBeforeAccept, To: bob})
		m := previewed(bob, "https://shop.example")
		first := *m
		first.Preview = nil
		l.fails(&first, gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true})
		l.Disconnect()
		w.online().sends(m)
		w.heals(bob, []*gateway.Message{&first})
	})
}
