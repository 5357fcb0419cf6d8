package media_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/media"
)

func TestBase64InEveryDress(t *testing.T) {
	t.Parallel()
	content := []byte{0xfb, 0xff, 0xfe, 'h', 'e', 'l', 'l', 'o'}
	std := base64.StdEncoding.EncodeToString(content)
	for name, in := range map[string]string{
		"standard":         std,
		"without padding":  base64.RawStdEncoding.EncodeToString(content),
		"URL":              base64.URLEncoding.EncodeToString(content),
		"URL, no padding":  base64.RawURLEncoding.EncodeToString(content),
		"line breaks":      std[:3] + "\r\n" + std[3:7] + "\n" + std[7:] + "\n",
		"data URL":         "data:application/pdf;base64," + std,
		"bare data URL":    "data:;base64," + std,
		"data URL, params": "DATA:text/plain;charset=utf-8;BASE64," + std,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
				got, err := io.ReadAll(media.NewBase64Reader(r))
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%x, %v", got, err)
				}
			}
		})
	}
}

func TestBase64ThatIsNone(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"aGVsbG8*", "aGVsbG8 ", "a", "aGVsb", "=", "a===", "aG=", "aG==aG==", "aGV=x", "aGVs=", "aGVsbG8==",
		"data:", "data:image/png;base64", "data:image/png,aGVsbG8=", "data:" + strings.Repeat("x", 600) + ";base64,aGVsbG8=",
		"data:image/png;base64,data:", "http://example.com/x.png", "ä", "\x00",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			got, err := io.ReadAll(media.NewBase64Reader(r))
			if !errors.Is(err, &gateway.Error{Code: gateway.CodeInvalidMedia}) {
				t.Errorf("%.40q gave %q, %v", in, got, err)
			}
		}
	}
}

func TestBase64HandsOnTheErrorOfItsReader(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client went away")
	_, err := io.ReadAll(media.NewBase64Reader(io.MultiReader(strings.NewReader("aGVs"), iotest.ErrReader(broken))))
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

// Whatever comes is decoded as the standard library does, or refused; never in part without an error.
func FuzzBase64Reader(f *testing.F) {
	for _, seed := range []string{"", "aGVsbG8=", "aGVsbG8", "data:;base64,aGVs", "-_-_", "aG\n==", "d", "data:,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := io.ReadAll(media.NewBase64Reader(strings.NewReader(in)))
		again, err2 := io.ReadAll(media.NewBase64Reader(iotest.OneByteReader(strings.NewReader(in))))
		if !bytes.Equal(got, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%q depends on how it is read: %q, %v and %q, %v", in, got, err, again, err2)
		}
		if len(in) >= 5 && strings.EqualFold(in[:5], "data:") {
			return
		}
		plain := strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(in)
		encoding := base64.StdEncoding
		if !strings.Contains(plain, "=") {
			encoding = base64.RawStdEncoding
		}
		want, wantErr := encoding.DecodeString(plain)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%q gave %q, %v; want %q, %v", in, got, err, want, wantErr)
		}
	})
}
