package wa

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

// document is a message with the file of this hash.
func document(sha256 string, size int, to, name string) *gateway.Message {
	return &gateway.Message{
		ID: name, Type: gateway.TypeDocument, To: to, Text: "for " + to, WhatsAppID: stanzaID(name),
		Media: &gateway.Media{MimeType: "application/pdf", Filename: "a.pdf", SHA256: sha256, Size: int64(size)},
	}
}

// opens waits until the phone of number shows n files, each decrypted to exactly the bytes of this hash.
func (w *world) opens(number string, n int, sha256 string, size int) {
	w.t.Helper()
	shown, err := w.sim.WaitShown(w.ctx(), number, n)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range shown {
		if s.MediaError != "" || s.SHA256 != sha256 || s.Size != int64(size) || len(s.Decrypted) != 1 {
			w.t.Errorf("%s shows %+v", number, s)
		}
	}
}

func (w *world) wantUploads(n int) {
	w.t.Helper()
	if got := w.sim.Uploads(); got != n {
		w.t.Errorf("%d uploads, want %d", got, n)
	}
}

func TestOneFileToManyIsUploadedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	content := bytes.Repeat([]byte("5 MiB of a file"), 5<<20/15+1)[:5<<20]
	sum := w.file(content)
	const people = 20
	to := func(i int) string { return fmt.Sprintf("49151300000%02d", i) }
	for i := range people / 2 {
		l.sends(document(sum, len(content), to(i), to(i)))
	}
	// Another life of the session, in whatever process, does not upload it either.
	l.Disconnect()
	l = w.online()
	for i := people / 2; i < people; i++ {
		l.sends(document(sum, len(content), to(i), to(i)))
	}
	w.wantUploads(1)
	for i := range people {
		w.opens(to(i), 1, sum, len(content))
	}
}

func TestAFileIsUploadedAgainWhenTheUploadIsOfNoUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.online()
	content := []byte("a file")
	sum := w.file(content)
	send := func(name string) {
		t.Helper()
		l.sends(document(sum, len(content), bob, name))
	}
	send("first")
	send("second")
	w.wantUploads(1)

	// As another kind of media it is encrypted under other keys.
	image := document(sum, len(content), carol, "image")
	image.Type = gateway.TypeImage
	l.sends(image)
	w.wantUploads(2)
	w.opens(carol, 1, sum, len(content))

	// Later than it is reused.
	if _, err := w.store.Writer().ExecContext(w.ctx(), `UPDATE uploads SET uploaded_at = uploaded_at - $1`, reuseFor.Microseconds()); err != nil {
		t.Fatal(err)
	}
	send("a day later")
	send("after that")
	w.wantUploads(3)

	// When the database cannot tell, or keep it.
	if _, err := w.store.Writer().ExecContext(w.ctx(), `DROP TABLE uploads`); err != nil {
		t.Fatal(err)
	}
	send("without a table")
	w.wantUploads(4)
	w.opens(bob, 5, sum, len(content))
}
