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

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// The upload of media may take uploadBase and the time that its bytes take at uploadRate, a slow line.
const (
	uploadBase = 60 * time.Second
	uploadRate = 128 << 10 // bytes per second
)

// reuseFor is how long after its upload a file is sent again without another one. WhatsApp keeps files for weeks, for phones that are
// switched off, but says nowhere for how long, and a sender never hears that a recipient could not get one. So what is reused is at most
// this much closer to its end than a new upload would be.
const reuseFor = 24 * time.Hour

// uploaded is m's file at WhatsApp: the upload of an earlier message of the tenant, or a new one. A database that does not answer costs
// no more than an upload.
func (c *Client) uploaded(ctx context.Context, m *gateway.Message, a *attempt) (up whatsmeow.UploadResponse, err error) {
	kind, err := convert.MediaType(m.Type)
	if err != nil {
		return up, &mediaError{err: err}
	}
	if m.Media == nil {
		return up, &mediaError{err: errors.New("the message has no file")}
	}
	earlier, err := c.opts.Database.Upload(ctx, c.tenantKey, m.Media.SHA256, string(kind), reuseFor)
	if err != nil {
		c.log.Warn("could not look for an earlier upload", "messageId", m.ID, "error", err)
	}
	if earlier != nil {
		return asUploaded(*earlier)
	}
	if up, err = c.upload(ctx, m, kind, a); err != nil {
		return up, err
	}
	if err := c.opts.Database.KeepUpload(ctx, c.tenantKey, gateway.Upload{
		SHA256: m.Media.SHA256, Kind: string(kind), URL: up.URL, DirectPath: up.DirectPath,
		MediaKey: up.MediaKey, EncSHA256: up.FileEncSHA256, Size: int64(up.FileLength),
	}); err != nil {
		c.log.Warn("could not keep an upload for other messages", "messageId", m.ID, "error", err)
	}
	return up, nil
}

// asUploaded is an earlier upload in the form of a new one.
func asUploaded(u gateway.Upload) (whatsmeow.UploadResponse, error) {
	sum, err := hex.DecodeString(u.SHA256)
	if err != nil {
		return whatsmeow.UploadResponse{}, &mediaError{err: fmt.Errorf("decode the hash of the file: %w", err)}
	}
	return whatsmeow.UploadResponse{
		URL: u.URL, DirectPath: u.DirectPath, MediaKey: u.MediaKey,
		FileEncSHA256: u.EncSHA256, FileSHA256: sum, FileLength: uint64(u.Size),
	}, nil
}

// upload encrypts m's file into a temporary one and uploads that: neither is ever in memory as a whole.
func (c *Client) upload(ctx context.Context, m *gateway.Message, kind whatsmeow.MediaType, a *attempt) (up whatsmeow.UploadResponse, err error) {
	file, err := c.opts.Media.Open(ctx, m.Media.SHA256)
	if err != nil {
		return up, &mediaError{err: err}
	}
	defer func() { _ = file.Close() }() // only read
	encrypted, err := os.CreateTemp(c.opts.Media.Scratch(), "encrypted-*")
	if err != nil {
		return up, &uploadError{err: fmt.Errorf("make room for the encrypted file: %w", err)}
	}
	defer func() { _ = encrypted.Close() }()            // nobody reads it again
	if err := os.Remove(encrypted.Name()); err != nil { // without a name it goes with the process
		return up, &uploadError{err: fmt.Errorf("take the name of the encrypted file: %w", err)}
	}
	source := &sourceFile{file: file}
	up, err = c.cli.UploadReader(withMediaStatus(ctx, &a.uploadStatus), source, encrypted, kind)
	if source.err != nil {
		return up, &mediaError{err: fmt.Errorf("read the file: %w", source.err)}
	}
	if err != nil {
		return up, &uploadError{err: err}
	}
	if hex.EncodeToString(up.FileSHA256) != m.Media.SHA256 {
		return up, &mediaError{err: errors.New("the file's bytes have changed since it was stored")}
	}
	return up, nil
}

// sourceFile remembers why its file could not be read, to tell that apart from a failed upload.
type sourceFile struct {
	file io.Reader
	err  error
}

func (f *sourceFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}
