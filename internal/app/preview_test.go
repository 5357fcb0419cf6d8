package app_test

import (
	"bytes"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/wapro/hub/internal/testkit"
)

// TestATextShowsAPreviewOfItsLinkWhenAsked sends a link with and without one, to pages of every manner. None keeps the text from arriving.
func TestATextShowsAPreviewOfItsLinkWhenAsked(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		picture := testkit.JPEG(t)
		pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/tea", "/bulk":
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = w.Write([]byte(`<head><title>Shop</title><meta property="og:title" content="Monsoon tea"><meta property="og:description" content="Fresh">
					<meta property="og:image" content="/tea.jpg">`))
			case "/tea.jpg":
				_, _ = w.Write(picture)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		}))
		t.Cleanup(pages.Close)
		w := testkit.Paired(t, shape)

		link := pages.URL + "/tea"
		first := posted(t, w, "/message", object{"to": recipient, "message": "New: " + link + ".", "linkPreview": true})
		posted(t, w, "/message", object{"to": recipient, "message": "New: " + link, "linkPreview": false})
		posted(t, w, "/message", object{"to": recipient, "message": "Gone: " + pages.URL + "/gone", "linkPreview": true})
		posted(t, w, "/message", object{"to": recipient, "message": "Not public: http://169.254.169.254/latest/", "linkPreview": true})
		posted(t, w, "/message", object{"to": recipient, "message": "No link", "linkPreview": true})
		posted(t, w, "/message", object{"to": recipient, "message": "See " + link, "linkPreview": true, "replyTo": first.ID})

		shown := w.WaitShown(recipient, 6)
		if len(shown) != 6 {
			t.Fatalf("the phone shows %+v", shown)
		}
		for i, want := range []bool{true, false, false, false, false, true} {
			s := shown[i]
			if s.Type != "text" || (s.Preview != nil) != want || len(s.Decrypted) != 1 {
				t.Errorf("%d is shown as %+v", i, s)
			}
			if p := s.Preview; p != nil {
				if p.Link != link || p.Title != "Monsoon tea" || p.Description != "Fresh" {
					t.Errorf("%d has the preview %+v", i, p)
				}
				if _, err := jpeg.DecodeConfig(bytes.NewReader(p.JPEG)); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		}
		if shown[5].Target != first.WhatsAppID {
			t.Errorf("the reply is %+v", shown[5])
		}
		var told struct{ LinkPreview bool }
		w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+first.ID, nil, http.StatusOK, &told)
		if !told.LinkPreview {
			t.Error("the message does not tell that a preview was asked for")
		}

		const other = "919876500077"
		w.API.JSON(t, http.MethodPost, "/api/algo/bulk", object{
			"recipients": []object{{"to": other, "vars": object{"name": "Asha"}}}, "message": "Dear {{name}}: " + pages.URL + "/bulk", "linkPreview": true,
		}, http.StatusAccepted, nil)
		if s := w.WaitShown(other, 1); len(s) != 1 || s[0].Preview == nil || s[0].Preview.Title != "Monsoon tea" {
			t.Errorf("of a bulk it is shown as %+v", s)
		}
		for _, body := range []object{
			{"to": recipient, "location": object{"latitude": 1, "longitude": 1}, "linkPreview": true},
			{"to": recipient, "message": link, "linkPreview": "yes"},
		} {
			if status, _, answer := w.API.Do(t, http.MethodPost, "/api/algo/message", body); status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
				t.Errorf("%v is answered %d %s", body, status, answer)
			}
		}
	})
}
