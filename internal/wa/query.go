package wa

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// Numbers asks WhatsApp which numbers, E.164 digits, have an account. The error is a *gateway.SendError.
func (c *Client) Numbers(ctx context.Context, numbers []string) ([]gateway.NumberCheck, error) {
	if c.online() == nil {
		return nil, queryError(errOffline)
	}
	var checks []gateway.NumberCheck
	for len(numbers) > 0 {
		part := numbers[:min(len(numbers), gateway.NumberCheckBatch)]
		numbers = numbers[len(part):]
		asked := make([]string, len(part))
		for i, number := range part {
			asked[i] = "+" + number
		}
		answers, err := c.cli.IsOnWhatsApp(ctx, asked)
		if err != nil && len(answers) == 0 {
			return nil, queryError(fmt.Errorf("ask which numbers are on WhatsApp: %w", err))
		}
		found := map[string]string{}
		for _, answer := range answers {
			if !answer.IsIn {
				continue
			}
			jid := answer.PhoneNumber
			if jid.IsEmpty() {
				jid = answer.JID
			}
			for _, name := range []string{answer.Query, jid.User} {
				found[digitsOf(name)] = convert.Bare(jid)
			}
		}
		now := time.Now().UTC()
		for _, number := range part {
			jid := found[number]
			checks = append(checks, gateway.NumberCheck{Number: number, OnWhatsApp: jid != "", JID: jid, CheckedAt: now})
		}
	}
	return checks, nil
}

// digitsOf strips what is no digit: WhatsApp repeats a number as it was asked.
func digitsOf(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// Groups lists the groups that the number is in, gateway.MaxGroups at most. The error is a *gateway.SendError.
func (c *Client) Groups(ctx context.Context) ([]gateway.Group, error) {
	if c.online() == nil {
		return nil, queryError(errOffline)
	}
	infos, err := c.cli.GetJoinedGroups(ctx)
	if err != nil {
		return nil, queryError(fmt.Errorf("ask for the groups: %w", err))
	}
	groups := []gateway.Group{}
	for _, info := range infos[:min(len(infos), gateway.MaxGroups)] {
		if info.JID.Server != types.GroupServer {
			continue
		}
		groups = append(groups, gateway.Group{
			JID: info.JID.String(), Name: info.Name, Participants: len(info.Participants), CreatedAt: info.GroupCreated.UTC(), AdminsOnly: info.IsAnnounce,
		})
	}
	return groups, nil
}

func queryError(err error) error { return (&attempt{proof: &proof{}}).sendError(err) }

// errFileTooLarge ends a download that is larger than any file may be.
var errFileTooLarge = errors.New("the file is larger than any may be")

// Download fetches and decrypts the file of an inbound message into file. Key must be as WhatsApp gave it. CodeMediaExpired when WhatsApp has it no more,
// or has another; CodeMediaTooLarge beyond gateway.MaxMediaBytes; else a *gateway.SendError.
func (c *Client) Download(ctx context.Context, kind gateway.MessageType, m *gateway.InboundMedia, file *os.File) error {
	if c.online() == nil {
		return queryError(errOffline)
	}
	mediaType := whatsmeow.MediaImage // stickers are such
	if kind != gateway.TypeSticker {
		var err error
		if mediaType, err = convert.MediaType(kind); err != nil {
			return err
		}
	}
	hash, err := hex.DecodeString(m.SHA256)
	if err != nil {
		return fmt.Errorf("read the hash of a file: %w", err)
	}
	err = c.cli.DownloadMediaWithPathToFile(ctx, m.DirectPath, m.EncSHA256, hash, m.Key, mediaType, "", false, &boundedFile{file: file})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errFileTooLarge):
		return gateway.Errorf(gateway.CodeMediaTooLarge, "the file is larger than %d bytes", gateway.MaxMediaBytes)
	case errors.Is(err, whatsmeow.ErrMediaDownloadFailedWith403), errors.Is(err, whatsmeow.ErrMediaDownloadFailedWith404),
		errors.Is(err, whatsmeow.ErrMediaDownloadFailedWith410):
		return gateway.Errorf(gateway.CodeMediaExpired, "WhatsApp has deleted the file; ask the sender to send it again")
	case errors.Is(err, whatsmeow.ErrInvalidMediaSHA256), errors.Is(err, whatsmeow.ErrInvalidMediaHMAC), errors.Is(err, whatsmeow.ErrInvalidMediaEncSHA256):
		return gateway.Errorf(gateway.CodeMediaExpired, "what WhatsApp has is not the file that was sent; ask the sender to send it again")
	}
	return queryError(&uploadError{err: fmt.Errorf("download a file: %w", err)})
}

// boundedFile is a file that takes no more than a media file may have, encrypted. It has no more methods than whatsmeow wants: others would not count.
type boundedFile struct {
	file    *os.File
	written int64
}

const sealedOverhead = 64 // bytes that encryption adds at most

func (f *boundedFile) Write(p []byte) (int, error) {
	if f.written += int64(len(p)); f.written > gateway.MaxMediaBytes+sealedOverhead {
		return 0, errFileTooLarge
	}
	return f.file.Write(p)
}

// Seek begins the count anew where a download does.
func (f *boundedFile) Seek(offset int64, whence int) (int64, error) {
	if offset == 0 && whence == io.SeekStart {
		f.written = 0
	}
	return f.file.Seek(offset, whence)
}

func (f *boundedFile) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > gateway.MaxMediaBytes+sealedOverhead {
		return 0, errFileTooLarge
	}
	return f.file.WriteAt(p, off)
}

func (f *boundedFile) Read(p []byte) (int, error)              { return f.file.Read(p) }
func (f *boundedFile) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }
func (f *boundedFile) Truncate(size int64) error               { return f.file.Truncate(size) }
func (f *boundedFile) Stat() (os.FileInfo, error)              { return f.file.Stat() }
