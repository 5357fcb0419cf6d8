package app_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit"
)

// TestOnlyFilesOfMessagesStay: what a refused request uploaded goes after a day, and so does a file that nobody knows of; what a
// message names stays and can be sent again.
func TestOnlyFilesOfMessagesStay(t *testing.T) {
	testkit.EachShape(t, func(t *testing.T, shape testkit.Shape) {
		w := testkit.Paired(t, shape)
		jpeg, text, stray := testkit.JPEG(t), []byte("this is no picture"), []byte("a file of an older data folder")
		sent := w.API.SendMedia(t, "algo", recipient, "first", "image/jpeg", "", jpeg)
		w.API.AwaitStatus(t, "algo", sent.ID, "read")
		status, _, _ := w.API.Do(t, http.MethodPost, "/api/algo/media", map[string]any{"to": recipient, "media": map[string]string{
			"mimetype": "image/jpeg", "data": base64.StdEncoding.EncodeToString(text),
		}})
		if status != http.StatusUnprocessableEntity {
			t.Fatalf("a text as a picture is answered with %d", status)
		}
		file := func(content []byte) string {
			sum := media("", "", "", content).SHA256
			return filepath.Join(w.BlobDir(), sum[:2], sum[2:])
		}
		there := func(content []byte) bool {
			_, err := os.Stat(file(content))
			return err == nil
		}
		if !there(jpeg) || !there(text) {
			t.Fatalf("stored: the picture %t, the text %t", there(jpeg), there(text))
		}
		w.StopHub()
		if err := os.MkdirAll(filepath.Dir(file(stray)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(stray), stray, 0o600); err != nil {
			t.Fatal(err)
		}
		aDayLater(t, w)
		w.StartHub()
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) { return !there(text), "the file of a refused request stays" })
		if !there(jpeg) || !there(stray) {
			t.Fatalf("a day later: the file of a message %t, one that was just found %t", there(jpeg), there(stray))
		}
		again := w.API.SendMedia(t, "algo", recipient, "second", "image/jpeg", "", jpeg)
		w.API.AwaitStatus(t, "algo", again.ID, "read")

		w.StopHub()
		aDayLater(t, w)
		w.StartHub()
		testkit.Eventually(t, 3*time.Minute, func() (bool, string) { return !there(stray), "a file that nobody knows of stays" })
		if !there(jpeg) {
			t.Error("the file of a message is gone")
		}
	})
}

// aDayLater makes every file of a hub that is stopped a day older.
func aDayLater(t *testing.T, w *testkit.World) {
	t.Helper()
	s, err := store.Open(t.Context(), w.DatabaseURL(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Writer().ExecContext(t.Context(), fmt.Sprintf(`UPDATE blobs SET used_at = used_at - %d`, (25*time.Hour).Microseconds()))
	if err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
