package app_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/testkit"
)

// posted sends a request that is accepted as a message and waits until its recipient has read it.
func posted(t *testing.T, w *testkit.World, path string, body any) testkit.Message {
	t.Helper()
	var m testkit.Message
	w.API.JSON(t, http.MethodPost, "/api/algo"+path, body, http.StatusAccepted, &m)
	return w.API.AwaitStatus(t, "algo", m.ID, "read")
}

type object = map[string]any

// TestWhatCanBeSentBesideTexts: each kind goes the way of every message and is on the phone what it is called; what is about another message names it.
func TestWhatCanBeSentBesideTexts(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		first := posted(t, w, "/message", object{"to": recipient, "message": "It is 400."})

		posted(t, w, "/message", object{"to": recipient, "location": object{"latitude": -33.8568, "longitude": 151.2153, "name": "Opera", "address": "Sydney"}})
		posted(t, w, "/message", object{"to": recipient, "contacts": []object{{"name": "Rao; Asha", "phones": []string{"+91 98765 00001"}, "organization": "A, B"}}})
		posted(t, w, "/message", object{"to": recipient, "contacts": []object{{"name": "One", "phones": []string{"919876500001"}}, {"name": "Two", "phones": []string{"919876500002"}}}})
		posted(t, w, "/message", object{"to": recipient, "message": "that is for @919876500001", "replyTo": first.ID, "mentions": []string{"+919876500001"}})
		posted(t, w, "/message", object{"to": "+" + recipient, "reaction": object{"messageId": first.ID, "emoji": "\U0001F44D"}})
		posted(t, w, "/message", object{"to": recipient, "reaction": object{"messageId": first.ID, "emoji": ""}})
		posted(t, w, "/media", object{"to": recipient, "message": "and this", "replyTo": first.ID, "media": object{"mimetype": "application/pdf", "data": []byte("%PDF-1.4\n")}})
		edit := posted(t, w, "/messages/"+first.ID+"/edit", object{"message": "It is 40."})
		revoke := posted(t, w, "/messages/"+first.ID+"/revoke", nil)

		shown := w.WaitShown(recipient, 10)
		types := make([]string, len(shown))
		for i, s := range shown {
			types[i] = s.Type
			if len(s.Decrypted) != 1 {
				t.Errorf("%s was decrypted %d times", s.Type, len(s.Decrypted))
			}
		}
		if want := []string{"text", "location", "contacts", "contacts", "text", "reaction", "reaction", "document", "edit", "revoke"}; !slices.Equal(types, want) {
			t.Fatalf("the phone shows %v, want %v", types, want)
		}
		if l := shown[1].Location; l == nil || l.Latitude != -33.8568 || l.Longitude != 151.2153 || l.Name != "Opera" || l.Address != "Sydney" {
			t.Errorf("the location is %+v", l)
		}
		if card := strings.Join(shown[2].VCards, ""); !strings.Contains(card, "\r\nFN:Rao\\; Asha\r\n") || !strings.Contains(card, "waid=919876500001:+919876500001\r\n") {
			t.Errorf("the card is %q", card)
		}
		if len(shown[3].VCards) != 2 {
			t.Errorf("two cards are %q", shown[3].VCards)
		}
		if s := shown[4]; s.Target != first.WhatsAppID || s.Quoted != "It is 400." || !slices.Equal(s.Mentions, []string{"919876500001@s.whatsapp.net"}) {
			t.Errorf("the reply is %+v", s)
		}
		if s := shown[5]; s.Target != first.WhatsAppID || s.Text != "\U0001F44D" {
			t.Errorf("the reaction is %+v", s)
		}
		if s := shown[7]; s.Target != first.WhatsAppID || s.Caption != "and this" {
			t.Errorf("the document is %+v", s)
		}
		if s := shown[0]; s.Edited != "It is 40." || !s.Revoked || s.Reaction != "" || s.Text != "It is 400." {
			t.Errorf("the first message became %+v", s)
		}

		var told struct{ Type, Message, EditOf, RevokeOf string }
		w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+edit.ID, nil, http.StatusOK, &told)
		if told.Type != "edit" || told.Message != "It is 40." || told.EditOf != first.ID {
			t.Errorf("the edit is told as %+v", told)
		}
		w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+revoke.ID, nil, http.StatusOK, &told)
		if told.Type != "revoke" || told.RevokeOf != first.ID {
			t.Errorf("the deletion is told as %+v", told)
		}
	})
}

// TestTheCaptionOfAFileIsEdited: the phone shows the same file with the other caption; what has no caption is refused.
func TestTheCaptionOfAFileIsEdited(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		files := []object{
			{"mimetype": "image/jpeg", "data": testkit.JPEG(t)},
			{"mimetype": "application/pdf", "filename": "bill.pdf", "data": []byte("%PDF-1.4\n")},
		}
		for i, file := range files {
			caption := []string{"It is 400.", ""}[i]
			sent := posted(t, w, "/media", object{"to": recipient, "message": caption, "media": file})
			edit := posted(t, w, "/messages/"+sent.ID+"/edit", object{"message": "It is 40."})
			shown := w.WaitShown(recipient, 2*i+2)
			if s := shown[2*i]; s.Caption != caption || s.Edited != "It is 40." {
				t.Errorf("the file is shown as %+v", s)
			}
			if s := shown[2*i+1]; s.Type != "edit" || s.Target != sent.WhatsAppID || s.ID != edit.WhatsAppID || len(s.Decrypted) != 1 {
				t.Errorf("the edit is shown as %+v", s)
			}
			var told struct{ Type, Message, EditOf string }
			w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+edit.ID, nil, http.StatusOK, &told)
			if told.Type != "edit" || told.Message != "It is 40." || told.EditOf != sent.ID {
				t.Errorf("the edit is told as %+v", told)
			}
		}
		voice := posted(t, w, "/media", object{"to": recipient, "media": object{"mimetype": "audio/mpeg", "data": append([]byte("ID3"), make([]byte, 200)...)}})
		if status, _, body := w.API.Do(t, http.MethodPost, "/api/algo/messages/"+voice.ID+"/edit", object{"message": "x"}); status != http.StatusConflict {
			t.Errorf("an edit of a sound is answered %d %s", status, body)
		}
	})
}
