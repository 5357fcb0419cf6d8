package wasim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/wasim"
)

func TestPhoneOpensEveryKindOfMedia(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{Dir: t.TempDir()})
	c := pairedClient(t, s, alice)
	data := bytes.Repeat([]byte("some bytes of a file "), 5000)
	sum := sha256.Sum256(data)
	for i, kind := range []struct {
		name  string
		media whatsmeow.MediaType
		build func(u whatsmeow.UploadResponse) *waE2E.Message
		want  wasim.Shown
	}{
		{"image", whatsmeow.MediaImage, func(u whatsmeow.UploadResponse) *waE2E.Message {
			return &waE2E.Message{ImageMessage: &waE2E.ImageMessage{
				Caption: proto.String("look"), Mimetype: proto.String("image/png"), URL: &u.URL, DirectPath: &u.DirectPath,
				MediaKey: u.MediaKey, FileEncSHA256: u.FileEncSHA256, FileSHA256: u.FileSHA256, FileLength: &u.FileLength,
			}}
		}, wasim.Shown{Type: "image", Caption: "look", Mimetype: "image/png"}},
		{"video", whatsmeow.MediaVideo, func(u whatsmeow.UploadResponse) *waE2E.Message {
			return &waE2E.Message{VideoMessage: &waE2E.VideoMessage{
				Mimetype: proto.String("video/mp4"), URL: &u.URL, DirectPath: &u.DirectPath,
				MediaKey: u.MediaKey, FileEncSHA256: u.FileEncSHA256, FileSHA256: u.FileSHA256, FileLength: &u.FileLength,
			}}
		}, wasim.Shown{Type: "video", Mimetype: "video/mp4"}},
		{"voice note", whatsmeow.MediaAudio, func(u whatsmeow.UploadResponse) *waE2E.Message {
			return &waE2E.Message{AudioMessage: &waE2E.AudioMessage{
				PTT: proto.Bool(true), Mimetype: proto.String("audio/ogg; codecs=opus"), URL: &u.URL, DirectPath: &u.DirectPath,
				MediaKey: u.MediaKey, FileEncSHA256: u.FileEncSHA256, FileSHA256: u.FileSHA256, FileLength: &u.FileLength,
			}}
		}, wasim.Shown{Type: "audio", Voice: true, Mimetype: "audio/ogg; codecs=opus"}},
		{"document", whatsmeow.MediaDocument, func(u whatsmeow.UploadResponse) *waE2E.Message {
			doc := &waE2E.DocumentMessage{
				FileName: proto.String("bill.pdf"), Caption: proto.String("your bill"), Mimetype: proto.String("application/pdf"), URL: &u.URL, DirectPath: &u.DirectPath,
				MediaKey: u.MediaKey, FileEncSHA256: u.FileEncSHA256, FileSHA256: u.FileSHA256, FileLength: &u.FileLength,
			}
			return &waE2E.Message{DocumentWithCaptionMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{DocumentMessage: doc}}}
		}, wasim.Shown{Type: "document", Filename: "bill.pdf", Caption: "your bill", Mimetype: "application/pdf"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			u, err := c.UploadReader(testCtx(t), bytes.NewReader(data), nil, kind.media)
			if err != nil {
				t.Fatal(err)
			}
			msg := kind.build(u)
			resp, err := c.SendMessage(testCtx(t), pn(bob), msg)
			if err != nil {
				t.Fatal(err)
			}
			got := waitShown(t, s, bob, i+1)[i]
			if got.MediaError != "" || got.SHA256 != hex.EncodeToString(sum[:]) || got.Size != int64(len(data)) {
				t.Errorf("the file: %+v", got)
			}
			if got.Type != kind.want.Type || got.Caption != kind.want.Caption || got.Filename != kind.want.Filename ||
				got.Mimetype != kind.want.Mimetype || got.Voice != kind.want.Voice {
				t.Errorf("shown as %+v", got)
			}
			c.awaitReceipt(resp.ID, types.ReceiptTypeRead)
			if got.Voice {
				c.awaitReceipt(resp.ID, types.ReceiptTypePlayed)
			}
			if msg.ImageMessage != nil {
				back, err := c.Download(testCtx(t), msg.ImageMessage)
				if err != nil || !bytes.Equal(back, data) {
					t.Errorf("downloading it again: %d bytes, %v", len(back), err)
				}
			}
		})
	}
}

func TestPhoneSaysWhatIsWrongWithAFile(t *testing.T) {
	t.Parallel()
	s := startServer(t, wasim.Config{})
	c := pairedClient(t, s, alice)
	u, err := c.Upload(testCtx(t), []byte("the file"), whatsmeow.MediaImage)
	if err != nil {
		t.Fatal(err)
	}
	wrong := sha256.Sum256([]byte("another file"))
	if _, err := c.SendMessage(testCtx(t), pn(bob), &waE2E.Message{ImageMessage: &waE2E.ImageMessage{
		Mimetype: proto.String("image/png"), DirectPath: &u.DirectPath, MediaKey: u.MediaKey,
		FileEncSHA256: u.FileEncSHA256, FileSHA256: wrong[:], FileLength: &u.FileLength,
	}}); err != nil {
		t.Fatal(err)
	}
	if got := waitShown(t, s, bob, 1)[0]; !strings.Contains(got.MediaError, "hash") || got.SHA256 != "" || got.Type != "image" {
		t.Errorf("shown as %+v", got)
	}
}
