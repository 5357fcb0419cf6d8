package app_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// inboundMessage is a message that was received, as far as tests look at it.
type inboundMessage struct {
	ID, WhatsAppID, From, Chat, Name, Type, Message, OptOut string
	Group                                                   bool
	Media                                                   *struct{ Mimetype, Filename, SHA256 string }
	RefersTo                                                *struct{ MessageID, WhatsAppID string }
}

// allInbound are all messages that algo's number has received, oldest first.
func allInbound(t *testing.T, api *testkit.Client) (list []inboundMessage) {
	t.Helper()
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Data       []inboundMessage
			NextCursor string
		}
		api.JSON(t, http.MethodGet, "/api/algo/inbound?limit=200"+cursor, nil, http.StatusOK, &page)
		for _, m := range page.Data {
			list = append([]inboundMessage{m}, list...)
		}
		if cursor = "&cursor=" + page.NextCursor; page.NextCursor == "" {
			return list
		}
	}
}

// awaitInbound waits until n messages were received and lists them, newest first.
func awaitInbound(t *testing.T, api *testkit.Client, n int) []inboundMessage {
	t.Helper()
	var list struct{ Data []inboundMessage }
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
		api.JSON(t, http.MethodGet, "/api/algo/inbound?limit=200", nil, http.StatusOK, &list)
		return len(list.Data) >= n, fmt.Sprintf("%d messages were received, want %d", len(list.Data), n)
	})
	return list.Data
}

// TestWhatPeopleWriteIsReceivedOnce: each kind, with what it refers to; it can be answered, and a stop word keeps bulk messages away.
func TestWhatPeopleWriteIsReceivedOnce(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		first := posted(t, w, "/message", object{"to": recipient, "message": "How was it?"})
		from := func(message object) string {
			t.Helper()
			message["to"] = testkit.OwnNumber
			return w.SendFrom(recipient, message)
		}
		reply := from(object{"text": "great", "replyTo": first.WhatsAppID})
		from(object{"reaction": object{"id": first.WhatsAppID, "emoji": "\U0001F44D"}})
		from(object{"text": "a picture", "media": object{"mimetype": "image/png", "data": []byte("not really")}})
		from(object{"text": "good", "editOf": reply})
		from(object{"revokeOf": reply})
		from(object{"text": "stop"})

		got := awaitInbound(t, w.API, 6)
		for i, want := range []string{"text", "revoke", "edit", "image", "reaction", "text"} {
			if got[i].Type != want || got[i].From != recipient {
				t.Errorf("message %d is %+v, want %s", i, got[i], want)
			}
		}
		answer := got[5]
		if answer.Message != "great" || answer.WhatsAppID != reply || answer.RefersTo == nil || answer.RefersTo.MessageID != first.ID {
			t.Errorf("the answer is %+v, refers to %+v", answer, answer.RefersTo)
		}
		if r := got[4]; r.Message != "\U0001F44D" || r.RefersTo == nil || r.RefersTo.MessageID != first.ID {
			t.Errorf("the reaction is %+v", r)
		}
		if m := got[3]; m.Message != "a picture" || m.Media == nil || m.Media.Mimetype != "image/png" {
			t.Errorf("the picture is %+v", m)
		}
		if e := got[2]; e.Message != "good" || e.RefersTo == nil || e.RefersTo.MessageID != answer.ID {
			t.Errorf("the edit is %+v, refers to %+v", e, e.RefersTo)
		}
		if got[0].OptOut != "added" {
			t.Errorf("the stop word is %+v", got[0])
		}
		w.API.JSON(t, http.MethodGet, "/api/algo/opt-outs/"+recipient, nil, http.StatusOK, nil)

		posted(t, w, "/message", object{"to": answer.Chat, "message": "thank you", "replyTo": answer.ID})
		posted(t, w, "/message", object{"to": recipient, "reaction": object{"messageId": answer.ID, "emoji": "❤️"}})
		shown := w.WaitShown(recipient, 3)
		if s := shown[1]; s.Target != reply || s.Quoted != "great" {
			t.Errorf("the reply to the answer is %+v", s)
		}
		if s := shown[2]; s.Target != reply || s.Text != "❤️" {
			t.Errorf("the reaction to the answer is %+v", s)
		}
		if got := awaitInbound(t, w.API, 6); len(got) != 6 {
			t.Errorf("%d messages were received", len(got))
		}

		// Who wrote it is left out under both names, and comes back under both. Who was entered under one is not written to under the other.
		lid := answer.Chat
		w.API.JSON(t, http.MethodPost, "/api/algo/bulk", object{"message": "news", "recipients": []object{{"to": lid}}}, http.StatusUnprocessableEntity, nil)
		w.API.JSON(t, http.MethodDelete, "/api/algo/opt-outs/"+lid, nil, http.StatusNoContent, nil)
		for from, to := range map[string]string{recipient: lid, lid: recipient} {
			w.API.JSON(t, http.MethodGet, "/api/algo/opt-outs/"+from, nil, http.StatusNotFound, nil)
			w.API.JSON(t, http.MethodPost, "/api/algo/opt-outs", object{"recipients": []string{from}}, http.StatusOK, nil)
			b := postBulk(t, w.API, object{"message": "news", "recipients": []object{{"to": to}}})
			if b = awaitBulk(t, w.API, b.ID, "its end", func(b bulkBody) bool { return b.FinishedAt != nil }); b.Counts["failed"] != 1 {
				t.Errorf("a bulk to %s, who opted out as %s: %+v", to, from, b)
			}
			w.API.JSON(t, http.MethodDelete, "/api/algo/opt-outs/"+from, nil, http.StatusNoContent, nil)
		}
		if shown := w.Shown(recipient); len(shown) != 3 {
			t.Errorf("the phone shows %+v", shown)
		}
	})
}

// TestWhatWhatsAppIsAsked: numbers, groups and the files of inbound messages are asked for through the session, wherever its owner is; what is known is not
// asked again.
func TestWhatWhatsAppIsAsked(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		var numbers struct {
			Data []struct {
				Number, JID string
				OnWhatsApp  bool
			}
		}
		check := object{"numbers": []string{"+91 98765 43210", "12025550101", "919876543210"}}
		for range 2 {
			w.API.JSON(t, http.MethodPost, "/api/algo/numbers/check", check, http.StatusOK, &numbers)
			if n := numbers.Data; len(n) != 2 || !n[0].OnWhatsApp || n[0].JID != "919876543210@s.whatsapp.net" || n[1].OnWhatsApp || n[1].JID != "" {
				t.Fatalf("numbers %+v", n)
			}
		}
		jid := w.CreateGroup("919876500011", testkit.OwnNumber, "919876500012")
		var groups struct {
			Data []struct {
				JID, Name    string
				Participants int
			}
		}
		w.API.JSON(t, http.MethodGet, "/api/algo/groups", nil, http.StatusOK, &groups)
		if g := groups.Data; len(g) != 1 || g[0].JID != jid || g[0].Name != "a group" || g[0].Participants != 3 {
			t.Errorf("groups %+v", g)
		}

		w.SendFrom(recipient, object{"to": testkit.OwnNumber, "media": object{"mimetype": "text/html", "filename": "a b.html", "data": []byte("<script>")}})
		got := awaitInbound(t, w.API, 1)
		for range 2 { // fetched, then from the hub's own
			status, header, body := w.API.Do(t, http.MethodGet, "/api/algo/inbound/"+got[0].ID+"/media", nil)
			if status != http.StatusOK || string(body) != "<script>" || header.Get("Content-Type") != "text/html" ||
				header.Get("Content-Disposition") != `attachment; filename="a b.html"` || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("the file: %d %q %v", status, body, header)
			}
		}

		w.API.JSON(t, http.MethodPost, "/api/algo/session/logout", nil, http.StatusAccepted, nil)
		w.API.AwaitSession(t, "algo", "unpaired")
		w.API.JSON(t, http.MethodPost, "/api/algo/numbers/check", check, http.StatusOK, &numbers)
		var problem struct{ Code string }
		w.API.JSON(t, http.MethodGet, "/api/algo/numbers/919876500099", nil, http.StatusConflict, &problem)
		if problem.Code != "session_offline" {
			t.Errorf("without a session: %q", problem.Code)
		}
	})
}

// TestAForgedHashOpensNobodyElsesFile (I7): the hash of a received file is its sender's word, and the hub keeps the files of all tenants in one place. Who names
// the hash of another tenant's file is told the same as who names that of no file at all.
func TestAForgedHashOpensNobodyElsesFile(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		const number = "15550008888"
		other := w.AddTenant("other", number)
		file := []byte("%PDF-1.4 for algo's eyes")
		w.API.SendMedia(t, "algo", recipient, "", "application/pdf", "a.pdf", file)
		received := 0
		ask := func(media object) (status int, body string) {
			t.Helper()
			media["mimetype"], media["filename"] = "application/pdf", "b.pdf"
			w.SendFrom(recipient, object{"to": number, "media": media})
			received++
			var list struct{ Data []inboundMessage }
			testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
				other.JSON(t, http.MethodGet, "/api/other/inbound", nil, http.StatusOK, &list)
				return len(list.Data) == received, fmt.Sprintf("%d messages were received, want %d", len(list.Data), received)
			})
			status, _, answer := other.Do(t, http.MethodGet, "/api/other/inbound/"+list.Data[0].ID+"/media", nil)
			var problem struct{ Code, Detail string }
			if json.Unmarshal(answer, &problem) == nil {
				return status, problem.Code + ": " + problem.Detail
			}
			return status, string(answer)
		}
		of := func(content []byte) []byte { sum := sha256.Sum256(content); return sum[:] }

		status, told := ask(object{"data": []byte("mine"), "sha256": of([]byte("nobody's"))})
		if status != http.StatusGone {
			t.Errorf("the hash of no file: %d %s", status, told)
		}
		if s, body := ask(object{"data": []byte("mine"), "sha256": of(file)}); s != status || body != told {
			t.Errorf("the hash of another tenant's file: %d %s, of no file: %d %s", s, body, status, told)
		}
		if status, body := ask(object{"data": file}); status != http.StatusOK || body != string(file) {
			t.Errorf("the file itself: %d %s", status, body)
		}
	})
}

// TestKillsLoseNothingThatIsReceived kills the hub with SIGKILL twenty times in the middle of what phones send: each message is there once.
func TestKillsLoseNothingThatIsReceived(t *testing.T) {
	t.Parallel()
	const rounds, messages = 20, 30
	world := testkit.StartProcesses(t)
	world.Pair(t, "algo", testkit.OwnNumber)
	received := func() map[string]int {
		texts := map[string]int{}
		for _, m := range allInbound(t, world.Admin) {
			texts[m.Message]++
		}
		return texts
	}
	for round := range rounds {
		before := round * messages
		for i := range messages {
			world.SendFrom(recipient, object{"to": testkit.OwnNumber, "text": fmt.Sprintf("message %03d", before+i)})
		}
		if round%2 == 0 { // in the middle of them; else whenever they come
			testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
				n := len(received())
				return n > before, fmt.Sprintf("round %d: %d of %d", round, n, before)
			})
		}
		world.RestartHub(t, (*testkit.Process).Kill)
	}
	testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
		n := len(received())
		return n >= rounds*messages, fmt.Sprintf("%d of %d were received", n, rounds*messages)
	})
	for text, n := range received() {
		if n != 1 {
			t.Errorf("%q is there %d times", text, n)
		}
	}
}
