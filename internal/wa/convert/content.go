package convert

import (
	"fmt"

	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
)

// Chat names the two sides of a message that refers to another.
type Chat struct {
	JID string // of the chat: a group, or the recipient as the message is addressed
	Own string // our own name in it
}

// Message is a message without a file. It is a function of the row and the names alone, so that one which a phone asks for again is
// the same; but for the preview of a link, which is fetched.
func Message(m *gateway.Message, chat Chat) (*waE2E.Message, error) {
	content := m.Content
	if content == nil {
		content = &gateway.Content{}
	}
	switch m.Type {
	case gateway.TypeText:
		if context := contextInfo(m, chat); context != nil || m.Preview != nil {
			text := &waE2E.ExtendedTextMessage{Text: proto.String(m.Text), ContextInfo: context}
			if p := m.Preview; p != nil {
				text.MatchedText, text.Title, text.Description, text.JPEGThumbnail = proto.String(p.Link), proto.String(p.Title), orNone(p.Description), p.JPEG
			}
			return &waE2E.Message{ExtendedTextMessage: text}, nil
		}
		return Text(m.Text), nil
	case gateway.TypeLocation:
		if l := content.Location; l != nil {
			return &waE2E.Message{LocationMessage: &waE2E.LocationMessage{
				DegreesLatitude: proto.Float64(l.Latitude), DegreesLongitude: proto.Float64(l.Longitude),
				Name: orNone(l.Name), Address: orNone(l.Address), ContextInfo: contextInfo(m, chat),
			}}, nil
		}
	case gateway.TypeContacts:
		if len(content.Contacts) > 0 {
			return contacts(content.Contacts, contextInfo(m, chat)), nil
		}
	case gateway.TypeReaction:
		if content.Target != nil {
			return &waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{
				Key: messageKey(content.Target, chat), Text: proto.String(content.Emoji), SenderTimestampMS: proto.Int64(m.CreatedAt.UnixMilli()),
			}}, nil
		}
	case gateway.TypeEdit:
		if content.Target != nil && !m.EditsCaption() {
			return edit(m, chat, Text(m.Text)), nil
		}
	case gateway.TypeRevoke:
		if content.Target != nil {
			return &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
				Key: messageKey(content.Target, chat), Type: waE2E.ProtocolMessage_REVOKE.Enum(),
			}}, nil
		}
	default: // of files, see Media
	}
	return nil, fmt.Errorf("message %s of type %q has nothing to be made of", m.ID, m.Type)
}

// EditCaption is a message that gives the file which was sent as file another caption: phones know no other form than all of it once more.
func EditCaption(m *gateway.Message, chat Chat, file *waE2E.Message) (*waE2E.Message, error) {
	changed := proto.CloneOf(file)
	caption := proto.String(m.Text)
	switch {
	case changed.ImageMessage != nil:
		changed.ImageMessage.Caption = caption
	case changed.VideoMessage != nil:
		changed.VideoMessage.Caption = caption
	case changed.DocumentMessage != nil:
		changed.DocumentMessage.Caption = caption
	default:
		return nil, fmt.Errorf("message %s is to change the caption of what has none", m.ID)
	}
	return edit(m, chat, changed), nil
}

func edit(m *gateway.Message, chat Chat, changed *waE2E.Message) *waE2E.Message {
	return &waE2E.Message{EditedMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
		Key: messageKey(m.Content.Target, chat), Type: waE2E.ProtocolMessage_MESSAGE_EDIT.Enum(),
		EditedMessage: changed, TimestampMS: proto.Int64(m.CreatedAt.UnixMilli()),
	}}}}
}

func orNone(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// messageKey names another message of the chat.
func messageKey(t *gateway.Target, chat Chat) *waCommon.MessageKey {
	key := &waCommon.MessageKey{RemoteJID: proto.String(chat.JID), FromMe: proto.Bool(t.FromMe), ID: proto.String(t.StanzaID)}
	if !t.FromMe && gateway.IsGroupJID(chat.JID) {
		key.Participant = proto.String(t.Sender)
	}
	return key
}

// contextInfo is whom the text of m mentions and what m replies to; nil when there is neither.
func contextInfo(m *gateway.Message, chat Chat) *waE2E.ContextInfo {
	quoted := m.ReplyTo()
	if m.Content == nil || quoted == nil && len(m.Content.Mentions) == 0 {
		return nil
	}
	info := &waE2E.ContextInfo{}
	for _, number := range m.Content.Mentions {
		info.MentionedJID = append(info.MentionedJID, gateway.UserJID(number))
	}
	if quoted != nil {
		sender := quoted.Sender
		if quoted.FromMe {
			sender = chat.Own
		}
		info.StanzaID, info.Participant, info.QuotedMessage = proto.String(quoted.StanzaID), orNone(sender), quote(quoted)
	}
	return info
}

// quote is the message that a reply shows above itself, for phones that do not have it any more: its kind and its words, without the file.
func quote(t *gateway.Target) *waE2E.Message {
	switch t.Type {
	case gateway.TypeImage:
		return &waE2E.Message{ImageMessage: &waE2E.ImageMessage{Caption: orNone(t.Text)}}
	case gateway.TypeVideo:
		return &waE2E.Message{VideoMessage: &waE2E.VideoMessage{Caption: orNone(t.Text)}}
	case gateway.TypeAudio:
		return &waE2E.Message{AudioMessage: &waE2E.AudioMessage{}}
	case gateway.TypeDocument:
		return &waE2E.Message{DocumentMessage: &waE2E.DocumentMessage{Caption: orNone(t.Text)}}
	default: // the words are all there is
		return Text(t.Text)
	}
}

// Relate adds what m refers to to its media message.
func Relate(msg *waE2E.Message, m *gateway.Message, chat Chat) {
	info := contextInfo(m, chat)
	switch {
	case info == nil:
	case msg.ImageMessage != nil:
		msg.ImageMessage.ContextInfo = info
	case msg.VideoMessage != nil:
		msg.VideoMessage.ContextInfo = info
	case msg.AudioMessage != nil:
		msg.AudioMessage.ContextInfo = info
	case msg.DocumentMessage != nil:
		msg.DocumentMessage.ContextInfo = info
	}
}
