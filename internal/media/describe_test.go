package media_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

func zipped(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// oggPage is one page (RFC 3533) with one packet of less than 255 bytes.
func oggPage(granule int64, packet []byte) []byte {
	page := append([]byte("OggS\x00\x00"), make([]byte, 20)...)
	binary.LittleEndian.PutUint64(page[6:], uint64(granule))
	return append(append(page, 1, byte(len(packet))), packet...)
}

func opus(samples int64) []byte {
	const preSkip = 312
	head := append([]byte("OpusHead\x01\x01"), 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint16(head[10:], preSkip)
	file := append(oggPage(0, head), oggPage(0, []byte("OpusTags"))...)
	file = append(file, oggPage(48_000, []byte("sound"))...)
	return append(file, oggPage(samples+preSkip, []byte("sound"))...)
}

var (
	png  = []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00")
	jpeg = []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01")
	webp = []byte("RIFF\x24\x00\x00\x00WEBPVP8 ")
	pdf  = []byte("%PDF-1.4\n1 0 obj\n")
	mp4  = []byte("\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom")
	m4a  = []byte("\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A mp42")
	mp3  = bytes.Repeat(append([]byte("\xff\xfb\x90\x00"), make([]byte, 413)...), 4) // frames of 128 kbit/s at 44.1 kHz
	gz   = []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00")
	ole  = append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), make([]byte, 600)...)
	text = []byte("name,age\nada,36\ngrace,45\n")
	html = []byte("<!DOCTYPE html><html><body>hi</body></html>")
	rtf  = []byte(`{\rtf1\ansi hello}`)
	odd  = []byte{0x00, 0x9f, 0x01, 0xfe, 0x07, 0x00, 0x13, 0x37}
)

func TestDeclaredTypeAgainstTheBytes(t *testing.T) {
	t.Parallel()
	const (
		docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
		xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	)
	ok := gateway.Code("")
	bad, malformed := gateway.CodeMediaMismatch, gateway.CodeInvalidMedia
	word := zipped(t, "[Content_Types].xml", "_rels/.rels", "word/document.xml")
	bare := zipped(t, "readme.txt")
	for _, test := range []struct {
		declared string
		bytes    []byte
		want     gateway.Code
	}{
		{"image/png", png, ok},
		{"image/jpeg", jpeg, ok},
		{"image/jpg", jpeg, ok},
		{"IMAGE/JPEG", jpeg, ok},
		{"image/webp", webp, ok},
		{"image/png", jpeg, bad},
		{"image/jpeg", png, bad},
		{"image/jpeg", pdf, bad},
		{"image/jpeg", text, bad},
		{"image/jpeg", mp4, bad},
		{"application/pdf", pdf, ok},
		{"application/pdf", png, bad},
		{"application/pdf", text, bad},
		{"application/pdf", bare, bad},
		{"video/mp4", mp4, ok},
		{"audio/mp4", m4a, ok},
		{"audio/mp4", mp4, ok},
		{"video/3gpp", mp4, ok},
		{"video/mp4", mp3, bad},
		{"audio/mpeg", mp3, ok},
		{"audio/mp3", mp3, ok},
		{"audio/mpeg", png, bad},
		{"audio/ogg", mp3, bad},
		{"audio/ogg", opus(1), ok},
		{"audio/ogg; codecs=opus", opus(1), ok},
		{"audio/opus", opus(1), ok},
		{"audio/mpeg", opus(1), bad},
		{"text/plain", text, ok},
		{"text/csv", text, ok},
		{"text/plain", html, ok},
		{"text/html", text, ok},
		{"application/json", text, ok},
		{"text/plain; charset=utf-8", text, ok},
		{"text/plain", png, bad},
		{"text/csv", pdf, bad},
		{"application/vnd.ms-excel", text, ok},
		{docx, word, ok},
		{xlsx, word, ok},
		{"application/zip", word, ok},
		{"application/zip", bare, ok},
		{docx, bare, ok},
		{docx, png, bad},
		{docx, pdf, bad},
		{"application/zip", pdf, bad},
		{"application/vnd.ms-excel", word, ok},
		{"application/msword", ole, ok},
		{"application/msword", rtf, ok},
		{"application/msword", png, bad},
		{"application/x-our-own", png, ok},
		{"application/x-our-own", gz, ok},
		{"application/x-our-own", text, ok},
		{"application/octet-stream", png, ok},
		{"image/png", odd, ok},
		{"application/pdf", odd, ok},
		{"image/x-our-own", pdf, bad},
		{"", png, malformed},
		{"png", png, malformed},
		{"image/", png, malformed},
		{"image/png/x", png, malformed},
		{"a b/c", png, malformed},
	} {
		s, _ := open(t, 1<<20)
		blob := put(t, s, test.bytes)
		m, err := s.Describe(t.Context(), test.declared, blob)
		if test.want == "" {
			if err != nil || m.SHA256 != blob.SHA256 || m.Size != blob.Size || m.MimeType == "" {
				t.Errorf("%s for %s: %v", test.declared, blob.MimeType, err)
			}
			continue
		}
		if !errors.Is(err, &gateway.Error{Code: test.want}) {
			t.Errorf("%s for %s: %v, want %s", test.declared, blob.MimeType, err, test.want)
		}
	}
}

func TestAVoiceNoteIsKnownWithItsLength(t *testing.T) {
	t.Parallel()
	for samples, seconds := range map[int64]int{1: 1, 48_000: 1, 48_001: 2, 10 * 48_000: 10, 1 << 62: 24 * 3600} {
		s, _ := open(t, 1<<20)
		m, err := s.Describe(t.Context(), "audio/ogg", put(t, s, opus(samples)))
		if err != nil || !m.Voice || m.Seconds != seconds || m.MimeType != "audio/ogg; codecs=opus" {
			t.Errorf("%d samples: %+v, %v", samples, m, err)
		}
	}
	// Long enough that the last page is not in the head.
	s, _ := open(t, 1<<20)
	long := opus(1)
	for range 2000 {
		long = append(long, oggPage(5*48_000, bytes.Repeat([]byte("s"), 200))...)
	}
	long = append(long, oggPage(7*48_000, []byte("end"))...)
	if m, err := s.Describe(t.Context(), "audio/ogg", put(t, s, long)); err != nil || m.Seconds != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	// Other sound, and Opus that is sent as a file, is no voice note.
	s2, _ := open(t, 1<<20)
	if m, err := s2.Describe(t.Context(), "audio/mpeg", put(t, s2, mp3)); err != nil || m.Voice {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := s2.Describe(t.Context(), "application/octet-stream", put(t, s2, opus(1))); err != nil || m.Voice {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzDescribe(f *testing.F) {
	for _, seed := range [][]byte{png, jpeg, pdf, mp4, mp3, text, opus(48_000), odd, []byte("OggS")} {
		f.Add("audio/ogg", seed)
	}
	f.Fuzz(func(t *testing.T, declared string, content []byte) {
		if len(content) == 0 {
			return
		}
		s, _ := open(t, 1<<20)
		m, err := s.Describe(t.Context(), declared, put(t, s, content))
		if err == nil && (m.Seconds < 0 || m.MimeType == "") {
			t.Fatalf("%+v", m)
		}
	})
}
