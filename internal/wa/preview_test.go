package wa

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// TestAnEditedCaptionIsGivenAgain: a phone that could not decrypt the edit gets the same one after a restart.
func TestAnEditedCaptionIsGivenAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := withLedger(w)
	l := w.online()
	file := w.kinds(bob)[1]
	rows.sends(l, file)
	w.fault(wasim.Fault{Kind: wasim.Undecryptable, To: bob, Times: 1, Delay: 24 * time.Hour})
	edit := text(bob, "another caption")
	edit.Type, edit.Content = gateway.TypeEdit, &gateway.Content{Target: &gateway.Target{StanzaID: file.WhatsAppID, FromMe: true, Type: file.Type}}
	rows.sends(l, edit)
	l.Disconnect()
	w.online()
	w.sim.AskAgain(bob)
	w.heals(bob, []*gateway.Message{file, edit})
	if shown := w.sim.Shown(bob); shown[0].Edited != "another caption" {
		t.Errorf("the file is shown as %+v", shown[0])
	}
}

// TestAnEditOfWhatIsNotKeptFails: without the keys of the file there is nothing to send.
func TestAnEditOfWhatIsNotKeptFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	edit := text(bob, "another caption")
	edit.Type, edit.Content = gateway.TypeEdit, &gateway.Content{Target: &gateway.Target{StanzaID: "3EB0NOTKEPT", FromMe: true, Type: gateway.TypeImage}}
	w.online().fails(edit, gateway.SendError{Cause: gateway.CauseMedia})
}

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
