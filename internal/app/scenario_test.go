package app_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mdp/qrterminal/v3"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// TestMediaArriveAsWhatTheyAre sends one file of each kind; the phone downloads, decrypts and shows exactly those bytes.
func TestMediaArriveAsWhatTheyAre(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		jpeg, ogg := testkit.JPEG(t), testkit.OpusVoice(3)
		mp4 := append([]byte("\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"), bytes.Repeat([]byte{7}, 5000)...)
		pdf := []byte("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
		large := append([]byte("%PDF-1.7\n"), bytes.Repeat([]byte("a large invoice "), 200_000)...)
		for _, tc := range []struct {
			mimetype, filename, caption string
			content                     []byte
			kind                        string // as the phone shows it
		}{
			{"image/jpeg", "", "a picture", jpeg, "image"},
			{"video/mp4", "", "a film", mp4, "video"},
			{"audio/ogg; codecs=opus", "", "", ogg, "audio"},
			{"application/pdf", "invoice.pdf", "an invoice", pdf, "document"},
			{"application/pdf", "large.pdf", "", large, "document"},
			{"text/csv", "list.csv", "", []byte("a,b\n1,2\n"), "document"},
		} {
			number := "9198765" + fmt.Sprintf("%05d", len(tc.content)%100_000)
			m := w.API.SendMedia(t, "algo", number, tc.caption, tc.mimetype, tc.filename, tc.content)
			w.API.AwaitStatus(t, "algo", m.ID, "read")
			shown := w.Shown(number)
			want := media(tc.kind, tc.filename, "", tc.content)
			if len(shown) != 1 {
				t.Fatalf("%s: the phone shows %d messages", tc.mimetype, len(shown))
			}
			s := shown[0]
			if s.Type != want.Type || s.Filename != want.Filename || s.SHA256 != want.SHA256 || s.Size != want.Size || s.Caption != tc.caption {
				t.Errorf("%s: the phone shows %+v, want %+v with caption %q", tc.mimetype, s, want, tc.caption)
			}
			if mediaType, _, _ := strings.Cut(s.MimeType, ";"); !strings.HasPrefix(tc.mimetype, mediaType) {
				t.Errorf("%s arrived as %s", tc.mimetype, s.MimeType)
			}
		}
	})
}

// TestDataPrefixIsAccepted: what a browser's FileReader gives can be sent as it is.
func TestDataPrefixIsAccepted(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		jpeg := testkit.JPEG(t)
		var m testkit.Message
		w.API.JSON(t, http.MethodPost, "/api/algo/media", map[string]any{"to": recipient, "media": map[string]string{
			"mimetype": "image/jpeg", "data": "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(jpeg),
		}}, http.StatusAccepted, &m)
		w.API.AwaitStatus(t, "algo", m.ID, "read")
		if shown := w.Shown(recipient); len(shown) != 1 || shown[0].SHA256 != media("", "", "", jpeg).SHA256 {
			t.Errorf("the phone shows %+v", shown)
		}
	})
}

// TestGroupMessageReachesEveryMember addresses a group by its JID.
func TestGroupMessageReachesEveryMember(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		members := []string{"919876500011", "919876500012", "919876500013"}
		jid := w.CreateGroup(members[0], append(members[1:], testkit.OwnNumber)...)
		for i := range 2 {
			m := w.API.Send(t, "algo", jid, fmt.Sprintf("to the group %d", i))
			m = w.API.AwaitStatus(t, "algo", m.ID, "read")
			if m.To != jid || m.RecipientJID != jid {
				t.Errorf("to %s, recipient %s, want %s", m.To, m.RecipientJID, jid)
			}
			for _, member := range members {
				if shown := w.WaitShown(member, i+1); shown[i].Text != fmt.Sprintf("to the group %d", i) {
					t.Errorf("member %s sees %+v", member, shown)
				}
			}
		}

		strangers := w.CreateGroup(members[0], members[1:]...)
		m := w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", strangers, "to a group we are not in").ID, "failed")
		if m.Error == nil || m.Error.Code != "not_a_group_member" {
			t.Errorf("a group of strangers: error %+v", m.Error)
		}
	})
}

// TestRestartKeepsSessionAndMessages: after an orderly restart nobody has to scan anything, and what waited goes out.
func TestRestartKeepsSessionAndMessages(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		first := w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "before the restart").ID, "read")
		w.Script(wasim.Fault{Kind: wasim.LoginFailure, Code: 503, Times: 2})
		w.Script(wasim.Fault{Kind: wasim.Drop})
		var ids []string
		for i := range 20 {
			ids = append(ids, w.API.Send(t, "algo", recipient, fmt.Sprintf("waiting %02d", i)).ID)
		}
		w.StopHub()
		w.ClearFaults()
		w.StartHub()
		w.Admin.AwaitSession(t, "algo", "online")
		for _, id := range ids {
			w.API.AwaitStatus(t, "algo", id, "read")
		}
		if again := w.API.Get(t, "algo", first.ID); again.Status != "read" {
			t.Errorf("the first message is %s after the restart", again.Status)
		}
		shown := w.Shown(recipient)
		if len(shown) != 21 {
			t.Fatalf("the phone shows %d messages, want 21", len(shown))
		}
		for i, s := range shown[1:] {
			if want := fmt.Sprintf("waiting %02d", i); s.Text != want {
				t.Errorf("message %d is %q, want %q", i, s.Text, want)
			}
		}
	})
}

// TestLogoutAndPairingAgain: logging out unlinks the device, what is accepted meanwhile waits, and pairing the same number lets it go.
func TestLogoutAndPairingAgain(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		w.API.JSON(t, http.MethodPost, "/api/algo/session/logout", nil, http.StatusAccepted, nil)
		s := w.API.AwaitSession(t, "algo", "unpaired")
		if s.Reason != "logged_out_by_request" || s.Hint == "" || s.Number != "" {
			t.Errorf("after the logout the session tells %+v", s)
		}
		m := w.API.Send(t, "algo", recipient, "waits for a number")
		w.Pair("algo", testkit.OwnNumber)
		w.API.AwaitStatus(t, "algo", m.ID, "read")
	})
}

// TestTenantsSendFromTheirOwnNumbers: two tenants of one hub, each with its own session.
func TestTenantsSendFromTheirOwnNumbers(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		beta := w.AddTenant("beta", "15550008888")
		a := w.API.Send(t, "algo", recipient, "from algo")
		b := beta.Send(t, "beta", recipient, "from beta")
		w.API.AwaitStatus(t, "algo", a.ID, "read")
		beta.AwaitStatus(t, "beta", b.ID, "read")
		from := map[string]string{}
		for _, s := range w.Shown(recipient) {
			from[s.Text] = s.From
		}
		if from["from algo"] != testkit.OwnNumber || from["from beta"] != "15550008888" {
			t.Errorf("senders: %v", from)
		}
		if status, _, _ := beta.Do(t, http.MethodGet, "/api/algo/messages/"+a.ID, nil); status != http.StatusForbidden {
			t.Errorf("beta's key reads algo's message: %d", status)
		}
		if status, _, _ := beta.Do(t, http.MethodGet, "/api/beta/messages/"+a.ID, nil); status != http.StatusNotFound {
			t.Errorf("beta finds algo's message under its own name: %d", status)
		}

		w.Admin.JSON(t, http.MethodDelete, "/admin/tenants/beta", nil, http.StatusNoContent, nil)
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) { // another API may believe a key for two seconds more
			status, _, _ := beta.Do(t, http.MethodGet, "/api/beta/session", nil)
			return status == http.StatusUnauthorized, fmt.Sprintf("the key of a deleted tenant is answered with %d", status)
		})
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
			return !w.Connected("15550008888"), "the deleted tenant's session is still connected"
		})
		w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", recipient, "algo goes on").ID, "read")
	})
}

// TestAHighMessageOvertakesTheBacklog within one send.
func TestAHighMessageOvertakesTheBacklog(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		w.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 20 * time.Millisecond, Times: -1})
		for i := range 60 {
			w.API.Send(t, "algo", recipient, fmt.Sprintf("backlog %02d", i))
		}
		var otp testkit.Message
		w.API.JSON(t, http.MethodPost, "/api/algo/message", map[string]string{"to": recipient, "message": "your code", "priority": "high"}, http.StatusAccepted, &otp)
		already := len(w.Shown(recipient))
		w.API.AwaitStatus(t, "algo", otp.ID, "read")
		shown := w.WaitShown(recipient, 61)
		for at, s := range shown {
			// The count was taken after the answer, so it includes at most what went out meanwhile; one send may be in hand.
			if s.Text == "your code" && at > already+2 {
				t.Errorf("the code is shown as number %d, %d were shown when it was accepted", at, already)
			}
		}
	})
}

// TestTerminalPairing runs `api run` against a simulator: it shows the QR code, then the key and a curl line.
func TestTerminalPairing(t *testing.T) {
	t.Parallel()
	w := testkit.StartSimulator(t)
	hub := testkit.Run(t, []string{"run"}, w.HubEnviron("ADMIN_API_KEY="+testkit.AdminKey)...)
	admin := testkit.NewClient(testkit.AdminKey, "http://"+hub.Listening("requests"))
	key := hub.Printed("API key of tenant algo, shown this once:")
	code := admin.PairingCode(t, "algo")
	var picture bytes.Buffer
	qrterminal.GenerateHalfBlock(code, qrterminal.L, &picture)
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
		return strings.Contains(hub.Stdout(), picture.String()), "the terminal does not show the code"
	})
	w.Scan(code, testkit.OwnNumber)
	curl := hub.Printed("curl ")
	if !strings.Contains(curl, key) || !strings.Contains(curl, "/api/algo/message") {
		t.Errorf("the curl line is %q", curl)
	}
	api := admin.WithKey(key)
	api.AwaitStatus(t, "algo", api.Send(t, "algo", recipient, "from the terminal").ID, "read")
}
