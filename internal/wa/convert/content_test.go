package convert

import (
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"

	"github.com/wapro/hub/internal/gateway"
)

func TestEditsAreTakenAsLongAsWhatsmeowSays(t *testing.T) {
	t.Parallel()
	if gateway.EditWindow != whatsmeow.EditWindow {
		t.Errorf("%s, whatsmeow says %s", gateway.EditWindow, whatsmeow.EditWindow)
	}
}

// Whatever a contact is called, its card has the lines it should have.
func FuzzVCard(f *testing.F) {
	f.Add("Rao; Asha", "A, B\r\nTEL:+1", `a\n@b`)
	f.Add("\nEND:VCARD\nBEGIN:VCARD", "", "")
	f.Fuzz(func(t *testing.T, name, organization, email string) {
		card := VCard(gateway.Contact{Name: name, Phones: []string{"4915112345678", "4915112345679"}, Organization: organization, Email: email})
		lines := 7
		if organization != "" {
			lines++
		}
		if email != "" {
			lines++
		}
		if got := strings.FieldsFunc(card, func(r rune) bool { return r == '\r' || r == '\n' }); len(got) != lines {
			t.Errorf("%q has %d lines, want %d", card, len(got), lines)
		}
	})
}

// What refers to another message names it as the chat does: in a group with its author, unless that is ourselves.
func TestReferencesNameTheMessageAsTheChatDoes(t *testing.T) {
	t.Parallel()
	theirs := &gateway.Target{StanzaID: "3A", Sender: "7@lid", Type: gateway.TypeImage, Text: "look"}
	ours := &gateway.Target{StanzaID: "3E", FromMe: true, Text: "said"}
	for _, c := range []struct {
		chat        string
		target      *gateway.Target
		participant string // of the key
		author      string // of the quote
	}{
		{"7@lid", theirs, "", "7@lid"},
		{"7@lid", ours, "", "1@lid"},
		{"9@g.us", theirs, "7@lid", "7@lid"},
		{"9@g.us", ours, "", "1@lid"},
	} {
		chat := Chat{JID: c.chat, Own: "1@lid"}
		for _, kind := range []gateway.MessageType{gateway.TypeReaction, gateway.TypeRevoke, gateway.TypeEdit} {
			if kind == gateway.TypeEdit && !c.target.FromMe {
				continue // nobody else's can be edited
			}
			msg, err := Message(&gateway.Message{Type: kind, Content: &gateway.Content{Target: c.target}}, chat)
			if err != nil {
				t.Fatal(err)
			}
			key := msg.GetReactionMessage().GetKey()
			if key == nil {
				key = msg.GetProtocolMessage().GetKey()
			}
			if key == nil {
				key = msg.GetEditedMessage().GetMessage().GetProtocolMessage().GetKey()
			}
			if key.GetRemoteJID() != c.chat || key.GetID() != c.target.StanzaID || key.GetFromMe() != c.target.FromMe || key.GetParticipant() != c.participant {
				t.Errorf("%s in %s: %v", kind, c.chat, key)
			}
		}
		msg, err := Message(&gateway.Message{Type: gateway.TypeText, Text: "yes", Content: &gateway.Content{Target: c.target}}, chat)
		if err != nil {
			t.Fatal(err)
		}
		info := msg.GetExtendedTextMessage().GetContextInfo()
		quoted := info.GetQuotedMessage().GetConversation() + info.GetQuotedMessage().GetImageMessage().GetCaption()
		if info.GetParticipant() != c.author || info.GetStanzaID() != c.target.StanzaID || quoted != c.target.Text {
			t.Errorf("a reply in %s: %v", c.chat, info)
		}
	}
	for _, kind := range []gateway.MessageType{gateway.TypeLocation, gateway.TypeContacts, gateway.TypeReaction, gateway.TypeEdit, gateway.TypeRevoke, gateway.TypeImage} {
		if msg, err := Message(&gateway.Message{Type: kind}, Chat{}); err == nil {
			t.Errorf("a %s without content is %v", kind, msg)
		}
	}
}
