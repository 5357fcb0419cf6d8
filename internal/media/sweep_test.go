package media_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/media"
)

// watchedRows notes whether a file was there when its row came.
type watchedRows struct {
	dir  string
	rows []string
	fail error
	t    *testing.T
}

func (r *watchedRows) KeepBlob(_ context.Context, sha256 string, size int64) error {
	if _, err := os.Stat(filepath.Join(r.dir, sha256[:2], sha256[2:])); !errors.Is(err, os.ErrNotExist) {
		r.t.Errorf("the file was there before its row: %v", err)
	}
	if size == 0 {
		r.t.Error("the row has no size")
	}
	r.rows = append(r.rows, sha256)
	return r.fail
}

// Collection may remove every file that has no row, so the row comes first; and what the database does not take is not stored.
func TestTheRowComesBeforeTheFile(t *testing.T) {
	t.Parallel()
	rows := &watchedRows{dir: filepath.Join(t.TempDir(), "media"), t: t}
	s, err := media.Open(rows.dir, 1<<20, rows)
	must(t, err)
	blob := put(t, s, []byte("the content"))
	if !slices.Equal(rows.rows, []string{blob.SHA256}) {
		t.Fatalf("rows: %v", rows.rows)
	}
	rows.fail = errors.New("the database does not answer")
	if _, err := s.Put(t.Context(), bytes.NewReader([]byte("another content"))); !errors.Is(err, rows.fail) {
		t.Fatalf("without a row: %v", err)
	}
	if stored, uploads := files(t, rows.dir); len(stored) != 1 || len(uploads) != 0 {
		t.Errorf("stored %v, left of uploads %v", stored, uploads)
	}
}

func TestSweepShowsEveryFile(t *testing.T) {
	t.Parallel()
	s, dir := open(t, 1<<20)
	want := map[string]int64{}
	for i := range 20 {
		content := bytes.Repeat([]byte{byte(i)}, i+1)
		want[put(t, s, content).SHA256] = int64(len(content))
	}
	stale := filepath.Join(dir, "uploads", "stale")
	must(t, os.WriteFile(stale, []byte("half"), 0o600))
	must(t, os.Chtimes(stale, time.Now().Add(-48*time.Hour), time.Now().Add(-48*time.Hour)))
	must(t, os.WriteFile(filepath.Join(dir, "README"), []byte("of the operator's"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "zz"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "zz", "not a hash"), []byte("of somebody's"), 0o600))
	got := map[string]int64{}
	must(t, s.Sweep(t.Context(), func(page []gateway.Blob) error {
		for _, f := range page {
			got[f.SHA256] = f.Size
		}
		return nil
	}))
	if len(got) != len(want) {
		t.Errorf("%d files are shown, want %d", len(got), len(want))
	}
	for name, size := range want {
		if got[name] != size {
			t.Errorf("%s is shown with %d bytes, want %d", name, got[name], size)
		}
	}
	if _, uploads := files(t, dir); len(uploads) != 0 {
		t.Errorf("left of uploads: %v", uploads)
	}
	broken := errors.New("the database does not answer")
	if err := s.Sweep(t.Context(), func([]gateway.Blob) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("the sweep came to %v", err)
	}
}

func TestRemovedFileIsLost(t *testing.T) {
	t.Parallel()
	s, _ := open(t, 1<<20)
	blob, other := put(t, s, []byte("the content")), put(t, s, []byte("another"))
	must(t, s.Remove(blob.SHA256))
	must(t, s.Remove(blob.SHA256))
	_, err := s.Open(t.Context(), blob.SHA256)
	code(t, err, gateway.CodeMediaLost)
	f, err := s.Open(t.Context(), other.SHA256)
	must(t, err)
	must(t, f.Close())
	for _, name := range []string{"", "../../etc/passwd", other.SHA256[:10]} {
		if err := s.Remove(name); err == nil {
			t.Errorf("%q is taken for the name of a file", name)
		}
	}
}
