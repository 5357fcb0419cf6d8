package app_test

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// TestWaitingForThisMessageHealsAfterARestart: a phone that could not decrypt asks for the message again when the hub that sent it
// is gone, and gets it, be it a text, a file, or of a group.
func TestWaitingForThisMessageHealsAfterARestart(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		member := "919876500021"
		group := w.CreateGroup(recipient, member, testkit.OwnNumber)
		for _, number := range []string{recipient, member} {
			w.Script(wasim.Fault{Kind: wasim.Undecryptable, To: number, Times: -1, Delay: 24 * time.Hour})
		}
		picture := testkit.JPEG(t)
		sent := map[string]testkit.Message{} // by WhatsApp id
		for _, to := range []string{recipient, group} {
			for _, m := range []testkit.Message{
				w.API.Send(t, "algo", to, "a text to "+to),
				w.API.SendMedia(t, "algo", to, "a picture for "+to, "image/jpeg", "", picture),
			} {
				m = w.API.AwaitStatus(t, "algo", m.ID, "sent")
				sent[m.WhatsAppID] = m
			}
		}
		w.StopHub()
		w.ClearFaults()
		w.StartHub()
		w.Admin.AwaitSession(t, "algo", "online")
		for number, want := range map[string]int{recipient: 4, member: 2} {
			if shown := w.Shown(number); len(shown) != 0 {
				t.Fatalf("the phone of %s decrypted what it was not to: %+v", number, shown)
			}
			w.AskAgain(number)
			for _, s := range w.WaitShown(number, want) {
				m, ok := sent[s.ID]
				switch {
				case !ok || len(s.Decrypted) != 1:
					t.Errorf("the phone of %s shows %+v", number, s)
				case s.Type == "text" && s.Text != "a text to "+m.To:
					t.Errorf("a text to %s is shown as %q", m.To, s.Text)
				case s.Type != "text" && (s.Caption != "a picture for "+m.To || s.SHA256 != media("", "", "", picture).SHA256):
					t.Errorf("a picture for %s is shown as %+v", m.To, s)
				}
			}
		}
		for _, m := range sent {
			if after := w.API.AwaitStatus(t, "algo", m.ID, "read"); after.Attempts != m.Attempts {
				t.Errorf("message %s was attempted again", m.ID)
			}
		}
	})
}
