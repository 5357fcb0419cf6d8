package fetch_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/fetch"
	"github.com/wapro/hub/internal/gateway"
)

func newPreviews(t *testing.T, private bool) *fetch.Previews {
	t.Helper()
	p := fetch.NewPreviews(egress.New(private), slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return p
}

func linked(text string) *gateway.Message {
	return &gateway.Message{ID: "m", TenantKey: 1, Type: gateway.TypeText, Text: text, Content: &gateway.Content{LinkPreview: true}}
}

// previewed asks as the dispatcher does: again after the first answer that there is none yet, and never a third time.
func previewed(t *testing.T, p *fetch.Previews, m *gateway.Message) *gateway.LinkPreview {
	t.Helper()
	for range 2 {
		err := p.Preview(t.Context(), m)
		if err == nil {
			return m.Preview
		}
		if causeOf(err) != gateway.CausePreviewing {
			t.Fatalf("got %v", err)
		}
		m.Error = &gateway.Failure{Code: gateway.CodePreviewPending}
	}
	t.Fatal("the message was held up twice")
	return nil
}

func picture(t *testing.T, w, h int) []byte {
	t.Helper()
	in := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w / 2 {
			in.SetNRGBA(x, y, color.NRGBA{R: 0xff, A: 0xff}) // the other half is transparent
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, in); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAPreviewSaysWhatThePageSaysOfItself(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("größer ", 200)
	for name, c := range map[string]struct {
		kind, page         string
		title, description string
	}{
		"open graph": {
			"text/html; charset=utf-8",
			`<html><head><title>Plain</title><meta name="description" content="plain"><meta property="og:title" content="Tea &amp; Co"><meta property="og:description" content=" Fresh
			tea "></head>`, "Tea & Co", "Fresh tea",
		},
		"html alone":         {"text/html", `<title>Tea &lt;3</title><META CONTENT="Fresh" NAME="Description">`, "Tea <3", "Fresh"},
		"not in the body":    {"text/html", `<title>Tea</title><body><meta property="og:title" content="A comment">`, "Tea", ""},
		"another encoding":   {"text/html; charset=windows-1252", "<title>Caf\xe9</title>", "Café", ""},
		"said in the page":   {"text/html", "<meta charset=shift_jis><title>\x93\xfa\x96\x7b</title>", "日本", ""},
		"a drawing's title":  {"text/html", `<title>Tea</title><svg><title>Logo</title></svg>`, "Tea", ""},
		"long":               {"text/html", `<title>` + long + `</title>`, "", ""},
		"without a title":    {"text/html", `<meta property="og:description" content="x">`, "", ""},
		"no page":            {"application/pdf", `<title>Tea</title>`, "", ""},
		"empty":              {"text/html", ``, "", ""},
		"tags without end":   {"text/html", `<title>Tea</title><meta content="` + strings.Repeat("x", 1<<20), "Tea", ""},
		"controls are taken": {"text/html", "<title>Te\x01a\x7f</title>", "Tea", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				_, _ = w.Write([]byte(c.page))
			})
			got := previewed(t, newPreviews(t, true), linked("look: "+url+"/x."))
			if name == "long" {
				if got == nil || len(got.Title) > gateway.MaxPreviewTitle || !strings.HasSuffix(got.Title, "…") || !strings.HasPrefix(got.Title, "größer größer") {
					t.Errorf("got %+v", got)
				}
				return
			}
			if c.title == "" {
				if got != nil {
					t.Errorf("got %+v", got)
				}
				return
			}
			if got == nil || got.Title != c.title || got.Description != c.description || got.Link != url+"/x" || got.JPEG != nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// endlessJPEG goes over its pixels again and again, at twenty bytes a time.
func endlessJPEG(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := jpeg.Encode(&out, image.NewGray(image.Rect(0, 0, 300, 300)), nil); err != nil {
		t.Fatal(err)
	}
	whole := out.Bytes()
	scan := bytes.Index(whole, []byte{0xff, 0xda})
	again := append([]byte(nil), whole[:len(whole)-2]...)
	for range 40 {
		again = append(again, whole[scan:len(whole)-2]...)
	}
	return append(again, 0xff, 0xd9)
}

func TestAPreviewHasASmallPicture(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		picture []byte
		w, h    int // 0: none
	}{
		"wide":     {picture(t, 600, 300), 192, 96},
		"small":    {picture(t, 40, 80), 40, 80},
		"thin":     {picture(t, 2000, 1), 192, 1},
		"too big":  {[]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), 0, 0},
		"no image": {[]byte("<svg/>"), 0, 0},
		"a stub":   {picture(t, 300, 300)[:60], 0, 0},
		"no end":   {endlessJPEG(t), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/img/p.png" {
					_, _ = w.Write(c.picture)
					return
				}
				w.Header().Set("Content-Type", "text/html")
				_, _ = fmt.Fprint(w, `<title>T</title><meta property="og:image" content="../img/p.png">`)
			})
			got := previewed(t, newPreviews(t, true), linked(url+"/shop/tea"))
			if got == nil || got.Title != "T" || (got.JPEG == nil) != (c.w == 0) {
				t.Fatalf("got %+v", got)
			}
			if c.w == 0 {
				return
			}
			small, err := jpeg.Decode(bytes.NewReader(got.JPEG))
			if err != nil || small.Bounds().Dx() != c.w || small.Bounds().Dy() != c.h || len(got.JPEG) > gateway.MaxPreviewImage {
				t.Fatalf("%v in %d bytes, %v", small.Bounds(), len(got.JPEG), err)
			}
			if r, g, _, _ := small.At(0, 0).RGBA(); r < 0xe000 || g > 0x3000 {
				t.Errorf("the left is %x %x, not red", r, g)
			}
			if r, g, b, _ := small.At(c.w-1, 0).RGBA(); r < 0xe000 || g < 0xe000 || b < 0xe000 {
				t.Errorf("what is transparent is %x %x %x, not white", r, g, b)
			}
		})
	}
}

// What does not answer as it should costs the message its preview and nothing else; a page without end is read to its limit.
func TestNoPageHoldsAMessageUp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"not there":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"a redirect": http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP,
		"hung up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"never":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, asked := serve(t, answer)
			p := newPreviews(t, true)
			for range 3 {
				if got := previewed(t, p, linked(url)); got != nil {
					t.Errorf("got %+v", got)
				}
			}
			if asked.Load() != 1 {
				t.Errorf("asked %d times", asked.Load())
			}
		})
	}
	t.Run("without end", func(t *testing.T) {
		t.Parallel()
		url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<title>Endless</title>"))
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("<p>"), 20_000)); err != nil {
					return
				}
			}
		})
		if got := previewed(t, newPreviews(t, true), linked(url)); got == nil || got.Title != "Endless" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestPrivatePagesAndPicturesAreNotFetched(t *testing.T) {
	t.Parallel()
	url, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<title>inside</title>")) })
	p := newPreviews(t, false)
	for _, link := range []string{url, "http://169.254.169.254/latest/", "http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://localhost:3003/metrics", "https://user:word@example.com/"} {
		if got := previewed(t, p, linked(link)); got != nil {
			t.Errorf("%s: %+v", link, got)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests arrived", asked.Load())
	}
	// Nor is what a page names as its picture, where the page itself may be called.
	page, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<title>T</title><meta property="og:image" content="http://169.254.169.254/latest.png">`))
	})
	if got := previewed(t, newPreviews(t, true), linked(page)); got == nil || got.Title != "T" || got.JPEG != nil {
		t.Errorf("got %+v", got)
	}
}

func TestAPageIsFetchedOnceForAllWhoLinkToIt(t *testing.T) {
	t.Parallel()
	url, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<title>T</title>"))
	})
	p := newPreviews(t, true)
	for i := range 5 {
		m := linked(fmt.Sprintf("Dear %d, see %s", i, url))
		m.ID = fmt.Sprint(i)
		if got := previewed(t, p, m); got == nil || got.Title != "T" {
			t.Errorf("%d: %+v", i, got)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	other := linked(url)
	other.TenantKey = 2 // learns nothing of what another tenant links to
	if got := previewed(t, p, other); got == nil || asked.Load() != 2 {
		t.Errorf("%+v after %d requests", got, asked.Load())
	}
	if got := previewed(t, p, linked("no link")); got != nil {
		t.Errorf("got %+v", got)
	}
}
