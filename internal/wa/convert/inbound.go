package convert

import (
	"encoding/hex"
	"slices"
	"strings"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wapro/hub/internal/gateway"
)

// Inbound is e in the domain's terms; ids of ours and the time of receipt are the caller's to fill in. ok is false for what is no message to
// this number: our own from another device, status posts and channels, keys and requests between devices. What it returns is bounded and valid UTF-8,
// whatever the sender made of it.
func Inbound(e *events.Message) (out gateway.Inbound, ok bool) {
	info := &e.Info
	if info.IsFromMe || e.Message == nil || info.ID == "" || info.Sender.IsEmpty() {
		return out, false
	}
	switch info.Chat.Server {
	case types.GroupServer, types.DefaultUserServer, types.HiddenUserServer:
	default:
		return out, false
	}
	if !content(&out, unwrap(e.Message)) {
		return out, false
	}
	out.StanzaID = clean(info.ID, gateway.MaxStanzaIDBytes)
	out.Chat, out.Sender, out.SenderAlt = Bare(info.Chat), Bare(info.Sender), Bare(info.SenderAlt)
	out.PushName = clean(info.PushName, gateway.MaxPushNameBytes)
	out.At = info.Timestamp.UTC()
	return out, true
}

// maxEnvelopes bounds how deep a message may be wrapped.
const maxEnvelopes = 8

// unwrap opens what whatsmeow leaves closed: an envelope within an envelope.
func unwrap(m *waE2E.Message) *waE2E.Message {
	for range maxEnvelopes {
		var inner *waE2E.Message
		for _, envelope := range []*waE2E.FutureProofMessage{
			m.GetEphemeralMessage(), m.GetViewOnceMessage(), m.GetViewOnceMessageV2(), m.GetViewOnceMessageV2Extension(),
			m.GetDocumentWithCaptionMessage(), m.GetEditedMessage(), m.GetGroupMentionedMessage(),
		} {
			if inner == nil {
				inner = envelope.GetMessage()
			}
		}
		if inner == nil {
			return m
		}
		m = inner
	}
	return m
}

// content reads what m shows; false when it shows nothing.
func content(out *gateway.Inbound, m *waE2E.Message) bool {
	switch {
	case m.Conversation != nil:
		out.Type, out.Text = gateway.TypeText, m.GetConversation()
	case m.ExtendedTextMessage != nil:
		out.Type, out.Text = gateway.TypeText, m.GetExtendedTextMessage().GetText()
	case m.ImageMessage != nil:
		i := m.GetImageMessage()
		out.Type, out.Text, out.Media = gateway.TypeImage, i.GetCaption(), file(i, i.GetMimetype(), "", i.GetFileLength(), 0)
	case m.VideoMessage != nil:
		v := m.GetVideoMessage()
		out.Type, out.Text, out.Media = gateway.TypeVideo, v.GetCaption(), file(v, v.GetMimetype(), "", v.GetFileLength(), v.GetSeconds())
	case m.PtvMessage != nil: // a round video
		v := m.GetPtvMessage()
		out.Type, out.Text, out.Media = gateway.TypeVideo, v.GetCaption(), file(v, v.GetMimetype(), "", v.GetFileLength(), v.GetSeconds())
	case m.AudioMessage != nil:
		a := m.GetAudioMessage()
		out.Type, out.Media = gateway.TypeAudio, file(a, a.GetMimetype(), "", a.GetFileLength(), a.GetSeconds())
		out.Media.Voice = a.GetPTT()
	case m.DocumentMessage != nil:
		d := m.GetDocumentMessage()
		out.Type, out.Text, out.Media = gateway.TypeDocument, d.GetCaption(), file(d, d.GetMimetype(), d.GetFileName(), d.GetFileLength(), 0)
	case m.StickerMessage != nil:
		s := m.GetStickerMessage()
		out.Type, out.Media = gateway.TypeSticker, file(s, s.GetMimetype(), "", s.GetFileLength(), 0)
	case m.LocationMessage != nil:
		l := m.GetLocationMessage()
		out.Type, out.Location = gateway.TypeLocation, place(l.GetDegreesLatitude(), l.GetDegreesLongitude(), l.GetName(), l.GetAddress())
	case m.LiveLocationMessage != nil:
		l := m.GetLiveLocationMessage()
		out.Type, out.Text = gateway.TypeLocation, l.GetCaption()
		out.Location = place(l.GetDegreesLatitude(), l.GetDegreesLongitude(), "", "")
	case m.ContactMessage != nil:
		out.Type, out.Contacts = gateway.TypeContacts, cards([]*waE2E.ContactMessage{m.GetContactMessage()})
	case m.ContactsArrayMessage != nil:
		out.Type, out.Contacts = gateway.TypeContacts, cards(m.GetContactsArrayMessage().GetContacts())
	case m.ReactionMessage != nil:
		out.Type, out.Text = gateway.TypeReaction, m.GetReactionMessage().GetText()
		out.RefersTo = clean(m.GetReactionMessage().GetKey().GetID(), gateway.MaxStanzaIDBytes)
	case m.ProtocolMessage != nil:
		if !change(out, m.GetProtocolMessage()) {
			return false
		}
	case hasContent(m):
		out.Type = gateway.TypeUnknown
	default:
		return false
	}
	out.Text = clean(out.Text, gateway.MaxTextBytes)
	if info := contextOf(m); info != nil && out.RefersTo == "" {
		out.RefersTo = clean(info.GetStanzaID(), gateway.MaxStanzaIDBytes)
		for _, jid := range info.GetMentionedJID() {
			if len(out.Mentions) < gateway.MaxMentions {
				out.Mentions = append(out.Mentions, clean(jid, gateway.MaxStanzaIDBytes))
			}
		}
	}
	return true
}

// change reads the edit or the deletion of another message; anything else of that kind is between devices.
func change(out *gateway.Inbound, p *waE2E.ProtocolMessage) bool {
	out.RefersTo = clean(p.GetKey().GetID(), gateway.MaxStanzaIDBytes)
	if out.RefersTo == "" {
		return false
	}
	switch p.GetType() {
	case waE2E.ProtocolMessage_REVOKE:
		out.Type = gateway.TypeRevoke
	case waE2E.ProtocolMessage_MESSAGE_EDIT:
		edited := gateway.Inbound{}
		if p.GetEditedMessage() == nil || p.GetEditedMessage().GetProtocolMessage() != nil || !content(&edited, p.GetEditedMessage()) {
			return false
		}
		out.Type, out.Text = gateway.TypeEdit, edited.Text
	default:
		return false
	}
	return true
}

// hasContent tells whether m is a message that people see, rather than keys or requests between devices.
func hasContent(m *waE2E.Message) (found bool) {
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		found = !slices.Contains([]protoreflect.Name{
			"senderKeyDistributionMessage", "fastRatchetKeySenderKeyDistributionMessage", "messageContextInfo", "deviceSentMessage", "keepInChatMessage",
			"pinInChatMessage", "encReactionMessage", "call", "chat",
		}, f.Name())
		return !found
	})
	return found
}

// contextOf is what m says about other messages, nil when nothing.
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

// Bounds of what a media message says of its file.
const (
	maxMimeBytes = 255
	maxPathBytes = 2048
	mediaKeySize = 32
	maxSeconds   = 30 * 24 * 60 * 60
)

// downloadable is what every media message has.
type downloadable interface {
	GetDirectPath() string
	GetMediaKey() []byte
	GetFileSHA256() []byte
	GetFileEncSHA256() []byte
}

func file(m downloadable, mimetype, filename string, size uint64, seconds uint32) *gateway.InboundMedia {
	f := &gateway.InboundMedia{
		MimeType: clean(mimetype, maxMimeBytes), Filename: clean(filename, gateway.MaxFilenameBytes),
		Size: int64(min(size, 1<<50)), Seconds: int(min(seconds, maxSeconds)),
	}
	// Without all of these it cannot be fetched; with others than these it is no file of WhatsApp's.
	if len(m.GetMediaKey()) == mediaKeySize && len(m.GetFileSHA256()) == 32 && len(m.GetFileEncSHA256()) == 32 && len(m.GetDirectPath()) <= maxPathBytes {
		f.SHA256 = hex.EncodeToString(m.GetFileSHA256())
		f.DirectPath, f.EncSHA256, f.Key = clean(m.GetDirectPath(), maxPathBytes), m.GetFileEncSHA256(), m.GetMediaKey()
	}
	return f
}

func place(latitude, longitude float64, name, address string) *gateway.Location {
	// Not a number is not within either.
	if !(latitude >= -90 && latitude <= 90) || !(longitude >= -180 && longitude <= 180) {
		latitude, longitude = 0, 0
	}
	return &gateway.Location{Latitude: latitude, Longitude: longitude, Name: clean(name, gateway.MaxPlaceBytes), Address: clean(address, gateway.MaxPlaceBytes)}
}

func cards(list []*waE2E.ContactMessage) []gateway.InboundContact {
	out := []gateway.InboundContact{}
	for _, c := range list[:min(len(list), gateway.MaxContacts)] {
		out = append(out, gateway.InboundContact{Name: clean(c.GetDisplayName(), gateway.MaxContactBytes), VCard: clean(c.GetVcard(), gateway.MaxVCardBytes)})
	}
	return out
}

// clean is at most limit bytes of s, of whole characters and without U+0000, which some databases take in no text.
func clean(s string, limit int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), limit)], ""), "\x00", "")
	return s
}
