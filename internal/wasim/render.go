package wasim

import (
	"strings"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unwrap opens the envelopes a message may come in.
func unwrap(m *waE2E.Message) *waE2E.Message {
	for {
		var inner *waE2E.Message
		switch {
		case m.GetEphemeralMessage() != nil:
			inner = m.GetEphemeralMessage().GetMessage()
		case m.GetViewOnceMessage() != nil:
			inner = m.GetViewOnceMessage().GetMessage()
		case m.GetViewOnceMessageV2() != nil:
			inner = m.GetViewOnceMessageV2().GetMessage()
		case m.GetEditedMessage() != nil:
			inner = m.GetEditedMessage().GetMessage()
		case m.GetDocumentWithCaptionMessage() != nil:
			inner = m.GetDocumentWithCaptionMessage().GetMessage()
		}
		if inner == nil {
			return m
		}
		m = inner
	}
}

// hasContent tells whether a message is one that people see, rather than keys or requests between devices.
func hasContent(m *waE2E.Message) bool {
	if dsm := m.GetDeviceSentMessage().GetMessage(); dsm != nil {
		m = dsm
	}
	m = unwrap(m)
	if p := m.GetProtocolMessage(); p != nil {
		return p.GetType() == waE2E.ProtocolMessage_REVOKE || p.GetType() == waE2E.ProtocolMessage_MESSAGE_EDIT
	}
	found := false
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		switch f.Name() {
		case "senderKeyDistributionMessage", "messageContextInfo", "deviceSentMessage":
			return true
		}
		found = true
		return false
	})
	return found
}

// render makes what a phone shows of a message's content.
func (s *Server) render(in incoming, m *waE2E.Message) *Shown {
	out := &Shown{ID: in.r.id, From: in.r.sender.number, Type: "unknown", At: in.at, Decrypted: nil}
	if in.r.group != nil {
		out.Group = in.r.group.jid().String()
	}
	if dsm := m.GetDeviceSentMessage(); dsm.GetMessage() != nil {
		m = dsm.GetMessage()
		out.To = s.chatName(dsm.GetDestinationJID())
		if out.To == in.r.sender.number {
			out.To = "" // a note to oneself is shown like any message
		}
	} else if in.r.group != nil && in.phone == in.r.sender {
		out.To = out.Group
	}
	m = unwrap(m)
	s.fill(out, m)
	if info := contextOf(m); info != nil {
		out.Mentions = info.GetMentionedJID()
		if info.StanzaID != nil {
			out.Target, out.Quoted = info.GetStanzaID(), info.GetQuotedMessage().GetConversation()
		}
	}
	out.Decrypted = append(out.Decrypted, now())
	return out
}

// fill makes what a phone shows of what a message holds.
func (s *Server) fill(out *Shown, m *waE2E.Message) {
	switch {
	case m.Conversation != nil:
		out.Type, out.Text = "text", m.GetConversation()
	case m.ExtendedTextMessage != nil:
		t := m.GetExtendedTextMessage()
		out.Type, out.Text = "text", t.GetText()
		// Phones show a preview of a link that is in the text, and only with a title.
		if t.GetTitle() != "" && t.GetMatchedText() != "" && strings.Contains(t.GetText(), t.GetMatchedText()) {
			out.Preview = &ShownPreview{Link: t.GetMatchedText(), Title: t.GetTitle(), Description: t.GetDescription(), JPEG: t.GetJPEGThumbnail()}
		}
	case m.ReactionMessage != nil:
		out.Type, out.Text, out.Target = "reaction", m.GetReactionMessage().GetText(), m.GetReactionMessage().GetKey().GetID()
	case m.ProtocolMessage.GetType() == waE2E.ProtocolMessage_MESSAGE_EDIT && m.ProtocolMessage.GetEditedMessage() != nil:
		edited := &Shown{}
		s.fill(edited, m.GetProtocolMessage().GetEditedMessage())
		out.Type, out.Text, out.Target, out.becomes = "edit", edited.Text+edited.Caption, m.GetProtocolMessage().GetKey().GetID(), edited
	case m.ProtocolMessage != nil: // see hasContent
		out.Type, out.Target = "revoke", m.GetProtocolMessage().GetKey().GetID()
	case m.LocationMessage != nil:
		l := m.GetLocationMessage()
		out.Type, out.Location = "location", &ShownLocation{
			Latitude: l.GetDegreesLatitude(), Longitude: l.GetDegreesLongitude(), Name: l.GetName(), Address: l.GetAddress(),
		}
	case m.ContactMessage != nil:
		out.Type, out.Text, out.VCards = "contacts", m.GetContactMessage().GetDisplayName(), []string{m.GetContactMessage().GetVcard()}
	case m.ContactsArrayMessage != nil:
		out.Type, out.Text = "contacts", m.GetContactsArrayMessage().GetDisplayName()
		for _, c := range m.GetContactsArrayMessage().GetContacts() {
			out.VCards = append(out.VCards, c.GetVcard())
		}
	case m.ImageMessage != nil:
		i := m.GetImageMessage()
		out.Type, out.Caption, out.Mimetype = "image", i.GetCaption(), i.GetMimetype()
		s.media.open(out, i, i.GetFileLength())
	case m.VideoMessage != nil:
		v := m.GetVideoMessage()
		out.Type, out.Caption, out.Mimetype = "video", v.GetCaption(), v.GetMimetype()
		s.media.open(out, v, v.GetFileLength())
	case m.AudioMessage != nil:
		a := m.GetAudioMessage()
		out.Type, out.Mimetype, out.Voice = "audio", a.GetMimetype(), a.GetPTT()
		s.media.open(out, a, a.GetFileLength())
	case m.DocumentMessage != nil:
		d := m.GetDocumentMessage()
		out.Type, out.Caption, out.Mimetype, out.Filename = "document", d.GetCaption(), d.GetMimetype(), d.GetFileName()
		s.media.open(out, d, d.GetFileLength())
	case m.StickerMessage != nil:
		st := m.GetStickerMessage()
		out.Type, out.Mimetype = "sticker", st.GetMimetype()
		s.media.open(out, st, st.GetFileLength())
	}
}

// ShownPreview is what a phone shows of a link.
type ShownPreview struct {
	Link        string `json:"link"`
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	JPEG        []byte `json:"jpeg,omitempty"`
}

// ShownLocation is a point that a phone shows on its map.
type ShownLocation struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Name      string  `json:"name,omitempty"`
	Address   string  `json:"address,omitempty"`
}

// contextOf is what a message says about others, nil when nothing.
func contextOf(m *waE2E.Message) (info *waE2E.ContextInfo) {
	m.ProtoReflect().Range(func(_ protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if part, ok := v.Interface().(protoreflect.Message); ok {
			if with, ok := part.Interface().(interface{ GetContextInfo() *waE2E.ContextInfo }); ok {
				info = with.GetContextInfo()
			}
		}
		return info == nil
	})
	return info
}

// applyChange does to the message that shown is about what shown says. An edit or a revoke is its sender's own; one that the phone does not have is
// passed over. The caller holds mu.
func (a *account) applyChange(b *batch, in incoming, shown *Shown) error {
	if shown.Target == "" {
		return nil
	}
	target := a.seen[in.r.sender.number+"/"+shown.Target]
	switch shown.Type {
	case "edit":
		if target != nil && shown.becomes != nil && shown.becomes.Type == target.Type && shown.becomes.SHA256 == target.SHA256 {
			target.Edited = shown.Text // else a phone passes it over: it is another message
		}
	case "revoke":
		if target != nil {
			target.Revoked = true
		}
	case "reaction":
		for _, m := range a.inbox {
			if m.ID == shown.Target {
				target, m.Reaction = m, shown.Text
			}
		}
	default:
		return nil
	}
	if target == nil {
		return nil
	}
	return a.saveShown(b, target)
}

// chatName is a chat's number, or its JID when it has none.
func (s *Server) chatName(jid string) string {
	parsed, err := types.ParseJID(jid)
	if err != nil {
		return jid
	}
	if a, ok := s.lookup(parsed); ok {
		return a.number
	}
	return strings.TrimSpace(parsed.String())
}
