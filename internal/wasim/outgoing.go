package wasim

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/util/cbcutil"
	"go.mau.fi/whatsmeow/util/hkdfutil"
	"google.golang.org/protobuf/proto"
)

// Outgoing is what a phone can be made to send: a text, a file with the text as its caption, a reaction, or another wording or the deletion of what it sent.
type Outgoing struct {
	Text     string         `json:"text"`
	Media    *OutgoingMedia `json:"media"`
	ReplyTo  string         `json:"replyTo"` // stanza id of the message that is answered
	Reaction *struct {      // emoji ""; takes it away
		ID    string `json:"id"` // stanza id
		Emoji string `json:"emoji"`
	} `json:"reaction"`
	EditOf   string `json:"editOf"`   // stanza id: text is its new wording
	RevokeOf string `json:"revokeOf"` // stanza id
}

// OutgoingMedia is a file that a phone sends.
type OutgoingMedia struct {
	Mimetype string `json:"mimetype"`
	Filename string `json:"filename"` // of documents
	Data     []byte `json:"data"`     // base64 in JSON
	SHA256   []byte `json:"sha256"`   // base64 in JSON: the hash that the message names instead of the file's, as a forger's does
}

var errNothingToSend = errors.New("text, media, reaction, editOf with text, or revokeOf is needed")

// SendFrom makes the phone of number send a text to a number, a LID or a group JID, and returns the stanza id. When it
// returns, the message is stored for every device of the recipient, and for the sender's own companions.
func (s *Server) SendFrom(ctx context.Context, number, to, text string) (stanzaID string, err error) {
	return s.Send(ctx, number, to, Outgoing{Text: text})
}

// Send is SendFrom for anything that a phone sends.
func (s *Server) Send(ctx context.Context, number, to string, out Outgoing) (stanzaID string, err error) {
	sender, ok := s.account(digits(number))
	if !ok {
		return "", fmt.Errorf("%q is not on WhatsApp", number)
	}
	r := &routing{sender: sender, id: "3A" + strings.ToUpper(hex.EncodeToString(randomBytes(9))), typ: "text"}
	members, err := s.address(r, to)
	if err != nil {
		return "", err
	}
	msg, err := s.compose(ctx, r, members, out)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	b := s.journal.begin()
	if err := s.sendLocked(b, r, members, msg); err != nil { //nolint:contextcheck // a change of the stores, all in memory, is not left half done
		return "", err
	}
	return r.id, b.finish()
}

// compose makes the message of out, as WhatsApp's apps do.
func (s *Server) compose(ctx context.Context, r *routing, members []*account, out Outgoing) (*waE2E.Message, error) {
	switch {
	case out.Media != nil:
		r.typ = "media"
		return s.composeMedia(ctx, out)
	case out.Reaction != nil:
		r.typ = "reaction"
		return &waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{
			Key: r.key(members, out.Reaction.ID), Text: proto.String(out.Reaction.Emoji), SenderTimestampMS: proto.Int64(now().UnixMilli()),
		}}, nil
	case out.EditOf != "" && out.Text != "":
		r.edit = "1"
		return &waE2E.Message{EditedMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
			Key: r.key(nil, out.EditOf), Type: waE2E.ProtocolMessage_MESSAGE_EDIT.Enum(),
			EditedMessage: &waE2E.Message{Conversation: proto.String(out.Text)}, TimestampMS: proto.Int64(now().UnixMilli()),
		}}}}, nil
	case out.RevokeOf != "":
		r.edit = "7"
		return &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
			Key: r.key(nil, out.RevokeOf), Type: waE2E.ProtocolMessage_REVOKE.Enum(),
		}}, nil
	case out.Text == "":
		return nil, errNothingToSend
	case out.ReplyTo != "":
		return &waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{
			Text: proto.String(out.Text), ContextInfo: r.reply(members, out.ReplyTo),
		}}, nil
	}
	return &waE2E.Message{Conversation: proto.String(out.Text)}, nil
}

// key names a message of the chat: one that the phone got from one of members, or else its own.
func (r *routing) key(members []*account, id string) *waCommon.MessageKey {
	key := &waCommon.MessageKey{RemoteJID: proto.String(r.to.String()), FromMe: proto.Bool(true), ID: proto.String(id)}
	if from := r.author(members, id); from != nil {
		key.FromMe = proto.Bool(false)
		if r.group != nil {
			key.Participant = proto.String(from.lidJID(0).String())
		}
	}
	return key
}

// author is which other of members wrote the message that the phone shows under id, nil when none did.
func (r *routing) author(members []*account, id string) *account {
	r.sender.mu.Lock()
	defer r.sender.mu.Unlock()
	for _, a := range members {
		if a != r.sender && r.sender.seen[a.number+"/"+id] != nil {
			return a
		}
	}
	return nil
}

// reply quotes a message of the chat.
func (r *routing) reply(members []*account, id string) *waE2E.ContextInfo {
	info := &waE2E.ContextInfo{StanzaID: proto.String(id), Participant: proto.String(r.sender.lidJID(0).String())}
	from := r.author(members, id)
	if from == nil {
		return info
	}
	info.Participant = proto.String(from.lidJID(0).String())
	r.sender.mu.Lock()
	defer r.sender.mu.Unlock()
	if shown := r.sender.seen[from.number+"/"+id]; shown != nil {
		info.QuotedMessage = &waE2E.Message{Conversation: proto.String(shown.Text + shown.Caption)}
	}
	return info
}

// composeMedia encrypts a file for the media server and makes the message that names it.
func (s *Server) composeMedia(ctx context.Context, out Outgoing) (*waE2E.Message, error) {
	file := out.Media
	kind := whatsmeow.MediaDocument
	switch major, _, _ := strings.Cut(file.Mimetype, "/"); major {
	case "image":
		kind = whatsmeow.MediaImage
	case "video":
		kind = whatsmeow.MediaVideo
	case "audio":
		kind = whatsmeow.MediaAudio
	}
	key := randomBytes(32)
	okm := hkdfutil.SHA256(key, nil, []byte(kind), 112)
	iv, cipherKey, macKey := okm[:16], okm[16:48], okm[48:80]
	sealed, err := cbcutil.Encrypt(cipherKey, iv, file.Data)
	if err != nil {
		return nil, fmt.Errorf("encrypting a file: %w", err)
	}
	h := hmac.New(sha256.New, macKey)
	h.Write(iv)
	h.Write(sealed)
	sealed = append(sealed, h.Sum(nil)[:macLength]...)
	plainSum, sum := sha256.Sum256(file.Data), sha256.Sum256(sealed)
	if len(file.SHA256) == sha256.Size {
		plainSum = [sha256.Size]byte(file.SHA256)
	}
	id := hex.EncodeToString(sum[:])
	if err := s.media.put(ctx, id, sealed); err != nil {
		return nil, fmt.Errorf("storing a file: %w", err)
	}
	path := mediaPath + id + mediaQuery
	url, length, mimetype := "https://"+mediaHost+path, uint64(len(file.Data)), file.Mimetype
	var caption *string
	if out.Text != "" {
		caption = &out.Text
	}
	switch kind {
	case whatsmeow.MediaImage:
		return &waE2E.Message{ImageMessage: &waE2E.ImageMessage{
			Mimetype: &mimetype, Caption: caption, URL: &url, DirectPath: &path, MediaKey: key, FileEncSHA256: sum[:], FileSHA256: plainSum[:], FileLength: &length,
		}}, nil
	case whatsmeow.MediaVideo:
		return &waE2E.Message{VideoMessage: &waE2E.VideoMessage{
			Mimetype: &mimetype, Caption: caption, URL: &url, DirectPath: &path, MediaKey: key, FileEncSHA256: sum[:], FileSHA256: plainSum[:], FileLength: &length,
		}}, nil
	case whatsmeow.MediaAudio:
		return &waE2E.Message{AudioMessage: &waE2E.AudioMessage{
			Mimetype: &mimetype, URL: &url, DirectPath: &path, MediaKey: key, FileEncSHA256: sum[:], FileSHA256: plainSum[:], FileLength: &length,
		}}, nil
	default: // documents
	}
	return &waE2E.Message{DocumentMessage: &waE2E.DocumentMessage{
		Mimetype: &mimetype, Caption: caption, FileName: &file.Filename, Title: &file.Filename,
		URL: &url, DirectPath: &path, MediaKey: key, FileEncSHA256: sum[:], FileSHA256: plainSum[:], FileLength: &length,
	}}, nil
}

// ForgetMedia removes every file from the media server, as WhatsApp does some weeks after they were sent. Only in memory: it is for tests.
func (s *Server) ForgetMedia() {
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	clear(s.media.files)
}
