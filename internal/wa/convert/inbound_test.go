package convert

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
)

func received(m *waE2E.Message) (gateway.Inbound, bool) {
	bob := types.NewJID("77", types.HiddenUserServer)
	e := &events.Message{RawMessage: m, Info: types.MessageInfo{
		MessageSource: types.MessageSource{Chat: bob, Sender: bob, SenderAlt: types.NewJID("4915112345678", types.DefaultUserServer)},
		ID:            "3A01", PushName: "Bob", Timestamp: time.Unix(1_700_000_000, 0),
	}}
	return Inbound(e.UnwrapRaw())
}

func TestInboundMessagesAreReadAsPhonesShowThem(t *testing.T) {
	t.Parallel()
	hash, key := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 32)
	image := &waE2E.ImageMessage{
		Caption: proto.String("look"), Mimetype: proto.String("image/png"), DirectPath: proto.String("/v/x?y"), MediaKey: key,
		FileSHA256: hash, FileEncSHA256: hash, FileLength: proto.Uint64(12),
	}
	target := &waCommon.MessageKey{ID: proto.String("3E09")}
	for name, c := range map[string]struct {
		m    *waE2E.Message
		want string // JSON of what the API shows, in part
	}{
		"text":    {&waE2E.Message{Conversation: proto.String("hello")}, `"type":"text","message":"hello","media":null,"refersTo":null`},
		"image":   {&waE2E.Message{ImageMessage: image}, `"type":"image","message":"look","media":{"mimetype":"image/png","filename":null,"size":12,"sha256":"0707`},
		"wrapped": {&waE2E.Message{EphemeralMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{ViewOnceMessageV2: &waE2E.FutureProofMessage{Message: &waE2E.Message{ImageMessage: image}}}}}, `"type":"image"`},
		"reply": {&waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{Text: proto.String("yes"), ContextInfo: &waE2E.ContextInfo{
			StanzaID: proto.String("3E09"), MentionedJID: []string{"1@lid"},
		}}}, `"message":"yes","media":null,"refersTo":{"messageId":null,"whatsappId":"3E09"}`},
		"reaction": {&waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{Key: target, Text: proto.String("\U0001F44D")}}, `"type":"reaction","message":"👍","media":null,"refersTo":{"messageId":null,"whatsappId":"3E09"}`},
		"edit": {&waE2E.Message{EditedMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
			Key: target, Type: waE2E.ProtocolMessage_MESSAGE_EDIT.Enum(), EditedMessage: &waE2E.Message{Conversation: proto.String("better")},
		}}}}, `"type":"edit","message":"better"`},
		"revoke":   {&waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Key: target, Type: waE2E.ProtocolMessage_REVOKE.Enum()}}, `"type":"revoke","message":null`},
		"location": {&waE2E.Message{LocationMessage: &waE2E.LocationMessage{DegreesLatitude: proto.Float64(1.5), DegreesLongitude: proto.Float64(-2)}}, `"location":{"latitude":1.5,"longitude":-2}`},
		"contact":  {&waE2E.Message{ContactMessage: &waE2E.ContactMessage{DisplayName: proto.String("A"), Vcard: proto.String("BEGIN:VCARD")}}, `"contacts":[{"name":"A","vcard":"BEGIN:VCARD"}]`},
		"a poll":   {&waE2E.Message{PollCreationMessage: &waE2E.PollCreationMessage{}}, `"type":"unknown"`},
		"a broken file": {
			&waE2E.Message{AudioMessage: &waE2E.AudioMessage{PTT: proto.Bool(true)}},
			`"media":{"mimetype":"","filename":null,"size":0,"sha256":"","voice":true,"seconds":0}`,
		},
	} {
		got, ok := received(c.m)
		shown, err := json.Marshal(gateway.InboundView(&got))
		if !ok || err != nil || !strings.Contains(string(shown), c.want) {
			t.Errorf("%s: %t, %v, %s", name, ok, err, shown)
		}
		if got.From() != "4915112345678" || got.StanzaID != "3A01" || got.PushName != "Bob" || got.Chat != "77@lid" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, m := range map[string]*waE2E.Message{
		"keys":         {SenderKeyDistributionMessage: &waE2E.SenderKeyDistributionMessage{}},
		"between":      {ProtocolMessage: &waE2E.ProtocolMessage{Type: waE2E.ProtocolMessage_APP_STATE_SYNC_KEY_SHARE.Enum()}},
		"nothing":      {},
		"edit of none": {ProtocolMessage: &waE2E.ProtocolMessage{Key: target, Type: waE2E.ProtocolMessage_MESSAGE_EDIT.Enum()}},
	} {
		if got, ok := received(m); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever a phone sends, reading it does not panic, and what is kept of it is bounded text.
func FuzzInbound(f *testing.F) {
	seed := func(m *waE2E.Message) {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	seed(&waE2E.Message{Conversation: proto.String("hello")})
	seed(&waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{Text: proto.String("x"), ContextInfo: &waE2E.ContextInfo{
		StanzaID: proto.String(strings.Repeat("3", 999)), MentionedJID: make([]string, 200),
	}}})
	seed(&waE2E.Message{DocumentMessage: &waE2E.DocumentMessage{FileName: proto.String("../\x00"), FileLength: proto.Uint64(1 << 63), MediaKey: make([]byte, 32)}})
	seed(&waE2E.Message{ContactsArrayMessage: &waE2E.ContactsArrayMessage{Contacts: make([]*waE2E.ContactMessage, 20)}})
	nested := &waE2E.Message{Conversation: proto.String("deep")}
	for range 20 {
		nested = &waE2E.Message{EphemeralMessage: &waE2E.FutureProofMessage{Message: nested}}
	}
	seed(nested)
	edit := &waE2E.Message{Conversation: proto.String("again")}
	for range 20 {
		edit = &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
			Key: &waCommon.MessageKey{ID: proto.String("3E")}, Type: waE2E.ProtocolMessage_MESSAGE_EDIT.Enum(), EditedMessage: edit,
		}}
	}
	seed(edit)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &waE2E.Message{}
		if proto.Unmarshal(raw, m) != nil {
			return
		}
		got, ok := received(m)
		if !ok {
			return
		}
		view, err := json.Marshal(gateway.InboundView(&got))
		if err != nil {
			t.Fatal(err)
		}
		const most = 6*(gateway.MaxTextBytes+gateway.MaxContacts*(gateway.MaxContactBytes+gateway.MaxVCardBytes)) + 256<<10
		if len(view) > most {
			t.Errorf("%d bytes", len(view))
		}
		texts := []string{got.Text, got.PushName, got.StanzaID, got.RefersTo}
		if got.Media != nil {
			texts = append(texts, got.Media.Filename, got.Media.MimeType, got.Media.DirectPath)
		}
		for _, s := range append(texts, got.Mentions...) {
			if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
				t.Errorf("kept %q", s)
			}
		}
	})
}
