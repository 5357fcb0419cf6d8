package convert

import (
	"fmt"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
)

// VoiceMimeType is what a voice note must be labelled with; phones show any other audio as a file to play.
const VoiceMimeType = "audio/ogg; codecs=opus"

// unnamedDocument is shown when a document came without a filename.
const unnamedDocument = "file"

// Text is a plain text message.
func Text(text string) *waE2E.Message {
	return &waE2E.Message{Conversation: proto.String(text)}
}

// MediaType is the kind of upload for a message type. Those of files have one; of others it is an error.
func MediaType(t gateway.MessageType) (whatsmeow.MediaType, error) {
	switch t {
	case gateway.TypeImage:
		return whatsmeow.MediaImage, nil
	case gateway.TypeVideo:
		return whatsmeow.MediaVideo, nil
	case gateway.TypeAudio:
		return whatsmeow.MediaAudio, nil
	case gateway.TypeDocument:
		return whatsmeow.MediaDocument, nil
	default:
	}
	return "", fmt.Errorf("message type %q has no media", t)
}

// Media is a media message around an uploaded file. The caption is m.Text; audio has no caption in WhatsApp, so that
// of an audio message is not sent.
func Media(m *gateway.Message, up whatsmeow.UploadResponse) (*waE2E.Message, error) {
	if m.Media == nil {
		return nil, fmt.Errorf("message %s of type %q has no file", m.ID, m.Type)
	}
	mimetype := proto.String(m.Media.MimeType)
	var caption *string
	if m.Text != "" {
		caption = proto.String(m.Text)
	}
	switch m.Type {
	case gateway.TypeImage:
		return &waE2E.Message{ImageMessage: &waE2E.ImageMessage{
			Mimetype: mimetype, Caption: caption,
			URL: &up.URL, DirectPath: &up.DirectPath, MediaKey: up.MediaKey,
			FileEncSHA256: up.FileEncSHA256, FileSHA256: up.FileSHA256, FileLength: &up.FileLength,
		}}, nil
	case gateway.TypeVideo:
		return &waE2E.Message{VideoMessage: &waE2E.VideoMessage{
			Mimetype: mimetype, Caption: caption,
			URL: &up.URL, DirectPath: &up.DirectPath, MediaKey: up.MediaKey,
			FileEncSHA256: up.FileEncSHA256, FileSHA256: up.FileSHA256, FileLength: &up.FileLength,
		}}, nil
	case gateway.TypeAudio:
		audio := &waE2E.AudioMessage{
			Mimetype: mimetype,
			URL:      &up.URL, DirectPath: &up.DirectPath, MediaKey: up.MediaKey,
			FileEncSHA256: up.FileEncSHA256, FileSHA256: up.FileSHA256, FileLength: &up.FileLength,
		}
		if m.Media.Voice {
			audio.PTT = proto.Bool(true)
			audio.Mimetype = proto.String(VoiceMimeType)
		}
		if m.Media.Seconds > 0 {
			audio.Seconds = proto.Uint32(uint32(m.Media.Seconds))
		}
		return &waE2E.Message{AudioMessage: audio}, nil
	case gateway.TypeDocument:
		filename := m.Media.Filename
		if filename == "" {
			filename = unnamedDocument
		}
		return &waE2E.Message{DocumentMessage: &waE2E.DocumentMessage{
			Mimetype: mimetype, Caption: caption, FileName: &filename, Title: &filename,
			URL: &up.URL, DirectPath: &up.DirectPath, MediaKey: up.MediaKey,
			FileEncSHA256: up.FileEncSHA256, FileSHA256: up.FileSHA256, FileLength: &up.FileLength,
		}}, nil
	default:
	}
	return nil, fmt.Errorf("message type %q has no media", m.Type)
}
