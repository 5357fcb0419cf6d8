package fetch

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"

	"github.com/wapro/hub/internal/gateway"
)

const (
	maxPixels = 4 << 20 // of a picture that is decoded: a progressive JPEG in four colours takes 80 MiB meanwhile
	maxScans  = 32      // of a JPEG, each of which may go over all pixels again; pictures have ten
	side      = 192     // pixels of the longer side of a thumbnail, as WhatsApp's own apps make them
	samples   = 4       // per pixel of a thumbnail and direction
)

// thumbnail makes a small JPEG of a JPEG, PNG or GIF, which is a stranger's: its size is looked at before it is decoded.
func thumbnail(raw []byte) ([]byte, error) {
	var size func(io.Reader) (image.Config, error)
	var decode func(io.Reader) (image.Image, error)
	switch kind := http.DetectContentType(raw); kind {
	case "image/jpeg":
		size, decode = jpeg.DecodeConfig, jpeg.Decode
	case "image/png":
		size, decode = png.DecodeConfig, png.Decode
	case "image/gif":
		size, decode = gif.DecodeConfig, gif.Decode // its first frame
	default:
		return nil, without("there is no thumbnail of " + kind)
	}
	if bytes.Count(raw, []byte{0xff, 0xda}) > maxScans { // whose begin that is, and nothing else in a scan
		return nil, without("the picture has too many scans")
	}
	config, err := size(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read the size of a picture: %w", err)
	}
	if config.Width <= 0 || config.Height <= 0 || config.Width > maxPixels/config.Height {
		return nil, without("the picture has too many pixels")
	}
	picture, err := decode(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("decode a picture: %w", err)
	}
	if picture.Bounds().Empty() {
		return nil, without("the picture has no pixels")
	}
	small := shrink(picture)
	for quality := 80; quality >= 20; quality -= 20 {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: quality}); err != nil {
			return nil, fmt.Errorf("encode a thumbnail: %w", err)
		}
		if out.Len() <= gateway.MaxPreviewImage {
			return out.Bytes(), nil
		}
	}
	return nil, without("the thumbnail does not get small enough")
}

// shrink scales a picture to at most side by side pixels, each the mean of some of what it stands for, on white.
func shrink(in image.Image) image.Image {
	from := in.Bounds()
	w, h := from.Dx(), from.Dy()
	if longer := max(w, h); longer > side {
		w, h = max(1, w*side/longer), max(1, h*side/longer)
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			var r, g, b, n uint32
			for sy := range samples {
				for sx := range samples {
					cr, cg, cb, ca := in.At(
						from.Min.X+(x*samples+sx)*from.Dx()/(w*samples),
						from.Min.Y+(y*samples+sy)*from.Dy()/(h*samples)).RGBA()
					white := 0xffff - ca
					r, g, b, n = r+(cr+white)>>8, g+(cg+white)>>8, b+(cb+white)>>8, n+1
				}
			}
			out.SetRGBA(x, y, color.RGBA{R: uint8(r / n), G: uint8(g / n), B: uint8(b / n), A: 0xff})
		}
	}
	return out
}
