package testkit

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"testing"
)

// JPEG is a small valid picture.
func JPEG(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// OpusVoice is an ogg/opus file of that many seconds, as far as its headers tell; nothing in it can be heard.
func OpusVoice(seconds int) []byte {
	var b bytes.Buffer
	page := func(kind byte, granule uint64, sequence uint32, body []byte) {
		header := make([]byte, 27)
		copy(header, "OggS")
		header[5] = kind
		binary.LittleEndian.PutUint64(header[6:], granule)
		binary.LittleEndian.PutUint32(header[14:], 1)
		binary.LittleEndian.PutUint32(header[18:], sequence)
		header[26] = 1
		b.Write(append(append(header, byte(len(body))), body...))
	}
	page(2, 0, 0, append([]byte("OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00"), 0, 0, 0))
	page(0, 0, 1, []byte("OpusTags\x00\x00\x00\x00\x00\x00\x00\x00"))
	page(4, uint64(seconds)*48_000, 2, bytes.Repeat([]byte{0xfc}, 40)) // granules count samples at 48 kHz (RFC 7845)
	return b.Bytes()
}
