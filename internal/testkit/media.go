package testkit

import (
	"bytes"
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
