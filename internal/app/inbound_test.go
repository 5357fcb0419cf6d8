package app_test

import (
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

// awaitInbound waits until n messages were received and lists them, newest first.
func awaitInbound(t *testing.T, api *testkit.Client, n int) []inboundMessage {
	t.Helper()
	var list struct{ Data []inboundMessage }
	testkit.Eventually(t, 90*time.Second, func() (bool, string) {
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
	})
}
