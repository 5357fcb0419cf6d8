package app_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/wapro/hub/internal/testkit"
)

// TestAFileIsFetchedByTheWorkerOnce sends a picture by its URL, alone and to many, past a server that first fails.
func TestAFileIsFetchedByTheWorkerOnce(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		picture := testkit.JPEG(t)
		sum := sha256.Sum256(picture)
		var mu sync.Mutex
		asked := map[string]int{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked[r.URL.Path]++
			n := asked[r.URL.Path]
			mu.Unlock()
			switch {
			case r.URL.Path == "/elsewhere":
				http.Redirect(w, r, "/photo.jpg", http.StatusFound)
			case r.URL.Path == "/flaky.jpg" && n == 1:
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				_, _ = w.Write(picture)
			}
		}))
		t.Cleanup(server.Close)
		w := testkit.Paired(t, shape)

		send := func(path string) string {
			t.Helper()
			var m testkit.Message
			w.API.JSON(t, http.MethodPost, "/api/algo/media", map[string]any{
				"to": recipient, "message": "by its URL", "media": map[string]string{"url": server.URL + path},
			}, http.StatusAccepted, &m)
			return m.ID
		}
		for _, path := range []string{"/photo.jpg", "/flaky.jpg"} {
			id := send(path)
			w.API.AwaitStatus(t, "algo", id, "read")
			var shown struct {
				Type  string
				Media struct{ Sha256, Mimetype, Filename string }
			}
			w.API.JSON(t, http.MethodGet, "/api/algo/messages/"+id, nil, http.StatusOK, &shown)
			if shown.Type != "image" || shown.Media.Sha256 != hex.EncodeToString(sum[:]) || "/"+shown.Media.Filename != path {
				t.Errorf("shown as %+v", shown)
			}
		}
		lost := send("/elsewhere")
		w.API.AwaitStatus(t, "algo", lost, "failed")
		if m := w.API.Get(t, "algo", lost); m.Error == nil || m.Error.Code != "media_url_failed" {
			t.Errorf("a redirect ends as %+v", m.Error)
		}

		recipients := make([]map[string]string, 5)
		for i := range recipients {
			recipients[i] = map[string]string{"to": fmt.Sprintf("91987656%04d", i)}
		}
		var bulk struct{ ID string }
		w.API.JSON(t, http.MethodPost, "/api/algo/bulk", map[string]any{
			"recipients": recipients, "media": map[string]string{"url": server.URL + "/bulk.jpg", "mimetype": "image/jpeg"},
		}, http.StatusAccepted, &bulk)
		for i := range recipients {
			if shown := w.WaitShown(recipients[i]["to"], 1); len(shown) != 1 || shown[0].SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("%s shows %+v", recipients[i]["to"], shown)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if asked["/photo.jpg"] != 1 || asked["/flaky.jpg"] != 2 || asked["/bulk.jpg"] != 1 || asked["/elsewhere"] != 1 {
			t.Errorf("asked %v", asked)
		}
	})
}
