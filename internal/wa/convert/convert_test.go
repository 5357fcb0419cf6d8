package convert_test

import (
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

func TestRecipientNamesNumbersAndJIDs(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		"12025550123":                  "12025550123@s.whatsapp.net",
		"12025550123@s.whatsapp.net":   "12025550123@s.whatsapp.net",
		"12025550123:7@s.whatsapp.net": "12025550123@s.whatsapp.net",
		"98765:3@lid":                  "98765@lid",
		"120363001@g.us":               "120363001@g.us",
	} {
		jid, err := convert.Recipient(to)
		if err != nil || jid.String() != want {
			t.Errorf("Recipient(%q) = %q, %v; want %q", to, jid, err, want)
		}
	}
	for _, to := range []string{"123@newsletter", "status@broadcast", "1:2:3@lid", "123@example.org"} {
		if jid, err := convert.Recipient(to); err == nil {
			t.Errorf("Recipient(%q) = %q, want an error", to, jid)
		}
	}
}

func TestMediaMessagesCarryTheirUpload(t *testing.T) {
	t.Parallel()
	up := whatsmeow.UploadResponse{
		URL: "https://m/1", DirectPath: "/v/1?x", MediaKey: []byte("key"), FileEncSHA256: []byte("enc"),
		FileSHA256: []byte("sum"), FileLength: 42,
	}
	common := func(mimetype string) *waE2E.ImageMessage {
		return &waE2E.ImageMessage{
			Mimetype: &mimetype, URL: proto.String("https://m/1"), DirectPath: proto.String("/v/1?x"), MediaKey: []byte("key"),
			FileEncSHA256: []byte("enc"), FileSHA256: []byte("sum"), FileLength: proto.Uint64(42),
		}
	}
	image := common("image/png")
	image.Caption = proto.String("look")
	i := common("video/mp4")
	video := &waE2E.VideoMessage{
		Mimetype: i.Mimetype, URL: i.URL, DirectPath: i.DirectPath, MediaKey: i.MediaKey, FileEncSHA256: i.FileEncSHA256,
		FileSHA256: i.FileSHA256, FileLength: i.FileLength,
	}
	i = common("audio/mpeg")
	audio := &waE2E.AudioMessage{
		Mimetype: i.Mimetype, URL: i.URL, DirectPath: i.DirectPath, MediaKey: i.MediaKey, FileEncSHA256: i.FileEncSHA256,
		FileSHA256: i.FileSHA256, FileLength: i.FileLength,
	}
	voice := proto.CloneOf(audio)
	voice.Mimetype, voice.PTT, voice.Seconds = proto.String("audio/ogg; codecs=opus"), proto.Bool(true), proto.Uint32(3)
	i = common("application/pdf")
	document := &waE2E.DocumentMessage{
		Mimetype: i.Mimetype, URL: i.URL, DirectPath: i.DirectPath, MediaKey: i.MediaKey, FileEncSHA256: i.FileEncSHA256,
		FileSHA256: i.FileSHA256, FileLength: i.FileLength, FileName: proto.String("a.pdf"), Title: proto.String("a.pdf"),
		Caption: proto.String("read this"),
	}
	unnamed := proto.CloneOf(document)
	unnamed.FileName, unnamed.Title, unnamed.Caption = proto.String("file"), proto.String("file"), nil

	for name, c := range map[string]struct {
		m    gateway.Message
		want *waE2E.Message
	}{
		"image": {
			gateway.Message{Type: gateway.TypeImage, Text: "look", Media: &gateway.Media{MimeType: "image/png"}},
			&waE2E.Message{ImageMessage: image},
		},
		"video without a caption": {
			gateway.Message{Type: gateway.TypeVideo, Media: &gateway.Media{MimeType: "video/mp4"}},
			&waE2E.Message{VideoMessage: video},
		},
		"audio file": {
			gateway.Message{Type: gateway.TypeAudio, Media: &gateway.Media{MimeType: "audio/mpeg"}},
			&waE2E.Message{AudioMessage: audio},
		},
		"voice note": {
			gateway.Message{Type: gateway.TypeAudio, Media: &gateway.Media{MimeType: "audio/ogg", Voice: true, Seconds: 3}},
			&waE2E.Message{AudioMessage: voice},
		},
		"document": {
			gateway.Message{Type: gateway.TypeDocument, Text: "read this", Media: &gateway.Media{MimeType: "application/pdf", Filename: "a.pdf"}},
			&waE2E.Message{DocumentMessage: document},
		},
		"document without a name": {
			gateway.Message{Type: gateway.TypeDocument, Media: &gateway.Media{MimeType: "application/pdf"}},
			&waE2E.Message{DocumentMessage: unnamed},
		},
	} {
		got, err := convert.Media(&c.m, up)
		if err != nil || !proto.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
	for name, m := range map[string]gateway.Message{
		"text":                {Type: gateway.TypeText, Media: &gateway.Media{}},
		"image without media": {Type: gateway.TypeImage},
	} {
		if got, err := convert.Media(&m, up); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

func TestEveryMediaTypeHasAnUpload(t *testing.T) {
	t.Parallel()
	seen := map[whatsmeow.MediaType]bool{}
	for _, kind := range []gateway.MessageType{gateway.TypeImage, gateway.TypeVideo, gateway.TypeAudio, gateway.TypeDocument} {
		got, err := convert.MediaType(kind)
		if err != nil || seen[got] {
			t.Errorf("MediaType(%q) = %q, %v", kind, got, err)
		}
		seen[got] = true
	}
	if got, err := convert.MediaType(gateway.TypeText); err == nil {
		t.Errorf("MediaType(text) = %q, want an error", got)
	}
}

func TestOnlyRecipientsReceiptsCount(t *testing.T) {
	t.Parallel()
	lid := types.JID{User: "98765", Device: 2, Server: types.HiddenUserServer}
	pn := types.NewJID("12025550123", types.DefaultUserServer)
	at := time.Unix(1_700_000_000, 0)
	receipt := func(kind types.ReceiptType) *events.Receipt {
		return &events.Receipt{
			MessageSource: types.MessageSource{Chat: lid.ToNonAD(), Sender: lid, SenderAlt: pn},
			MessageIDs:    []types.MessageID{"A", "B"}, Timestamp: at, Type: kind,
		}
	}
	for kind, want := range map[types.ReceiptType]gateway.ReceiptKind{
		types.ReceiptTypeDelivered: gateway.ReceiptDelivered,
		types.ReceiptTypeRead:      gateway.ReceiptRead,
		types.ReceiptTypePlayed:    gateway.ReceiptPlayed,
	} {
		got, ok := convert.Receipt(receipt(kind))
		if !ok || got.Kind != want || got.Chat != "98765@lid" || got.Sender != "98765@lid" ||
			got.SenderAlt != "12025550123@s.whatsapp.net" || !got.At.Equal(at) || len(got.StanzaIDs) != 2 {
			t.Errorf("Receipt(%q) = %+v, %t", kind, got, ok)
		}
	}
	for _, kind := range []types.ReceiptType{
		types.ReceiptTypeSender, types.ReceiptTypeRetry, types.ReceiptTypeReadSelf, types.ReceiptTypePlayedSelf,
		types.ReceiptTypeServerError, types.ReceiptTypeInactive, types.ReceiptTypePeerMsg, types.ReceiptTypeHistorySync, "new",
	} {
		if got, ok := convert.Receipt(receipt(kind)); ok {
			t.Errorf("Receipt(%q) = %+v, want none", kind, got)
		}
	}
	own := receipt(types.ReceiptTypeRead)
	own.IsFromMe = true
	if got, ok := convert.Receipt(own); ok {
		t.Errorf("our own read receipt counts: %+v", got)
	}
}
