package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/media"
)

func open(t *testing.T, inflight int64) (*media.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "media")
	s, err := media.Open(dir, inflight, noRows{})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// noRows takes every row.
type noRows struct{}

func (noRows) KeepBlob(context.Context, string, int64) error { return nil }

func put(t *testing.T, s *media.Store, content []byte) gateway.Blob {
	t.Helper()
	blob, err := s.Put(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// files lists what is stored and what is left of uploads.
func files(t *testing.T, dir string) (stored, uploads []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil || entry.IsDir():
		case strings.Contains(path, "uploads"):
			uploads = append(uploads, path)
		default:
			stored = append(stored, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return stored, uploads
}

func code(t *testing.T, err error, want gateway.Code) {
	t.Helper()
	if !errors.Is(err, &gateway.Error{Code: want}) {
		t.Fatalf("error %v, want %s", err, want)
	}
}

func TestAFileIsReadAsItWasPut(t *testing.T) {
	t.Parallel()
	s, dir := open(t, 1<<20)
	content := append([]byte("%PDF-1.7\n"), bytes.Repeat([]byte("x"), 100_000)...)
	blob, err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(content)))
	if err != nil {
		t.Fatal(err)
	}
	if blob.SHA256 != hash(content) || blob.Size != int64(len(content)) || blob.MimeType != "application/pdf" || !bytes.HasPrefix(content, blob.Head) {
		t.Fatalf("%s, %d bytes, %s", blob.SHA256, blob.Size, blob.MimeType)
	}
	f, err := s.Open(t.Context(), blob.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if stored, uploads := files(t, dir); len(stored) != 1 || len(uploads) != 0 {
		t.Fatalf("%v and %v", stored, uploads)
	}
}

func TestTheSameContentIsStoredOnce(t *testing.T) {
	t.Parallel()
	s, dir := open(t, 1<<20)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := s.Put(t.Context(), strings.NewReader("the same")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if stored, uploads := files(t, dir); len(stored) != 1 || len(uploads) != 0 {
		t.Fatalf("%v and %v", stored, uploads)
	}
}

func TestWhatCannotBeTakenInLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client went away")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		from io.Reader
		want error
	}{
		"empty":      {t.Context(), strings.NewReader(""), &gateway.Error{Code: gateway.CodeInvalidMedia}},
		"too large":  {t.Context(), io.LimitReader(zeros{}, gateway.MaxMediaBytes+1), &gateway.Error{Code: gateway.CodeMediaTooLarge}},
		"broken off": {t.Context(), io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), broken},
		"not base64": {t.Context(), media.NewBase64Reader(strings.NewReader("aGVs!")), &gateway.Error{Code: gateway.CodeInvalidMedia}},
		"canceled":   {canceled, strings.NewReader("x"), context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := open(t, 2*gateway.MaxMediaBytes)
			if _, err := s.Put(test.ctx, test.from); !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if stored, uploads := files(t, dir); len(stored) != 0 || len(uploads) != 0 {
				t.Fatalf("%v and %v", stored, uploads)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestTheLargestFileIsTaken(t *testing.T) {
	t.Parallel()
	s, _ := open(t, gateway.MaxMediaBytes)
	blob, err := s.Put(t.Context(), io.LimitReader(zeros{}, gateway.MaxMediaBytes))
	if err != nil || blob.Size != gateway.MaxMediaBytes {
		t.Fatalf("%d bytes, %v", blob.Size, err)
	}
}

func TestTooMuchInFlightIsBusyUntilItIsDone(t *testing.T) {
	t.Parallel()
	s, _ := open(t, 1000)
	slow, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(context.Background(), slow)
		done <- err
	}()
	// Written means read by Put; the next write returns when that was counted.
	for range 2 {
		if _, err := feed.Write(make([]byte, 300)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 800)))
	code(t, err, gateway.CodeMediaBusy)
	must(t, feed.Close())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	put(t, s, make([]byte, 800))
}

func TestAMissingOrDamagedFileIsLost(t *testing.T) {
	t.Parallel()
	s, dir := open(t, 1<<20)
	for _, name := range []string{hash([]byte("never stored")), "", "..", "../../etc/passwd", strings.Repeat("z", 64)} {
		_, err := s.Open(t.Context(), name)
		code(t, err, gateway.CodeMediaLost)
	}
	content := []byte("the content")
	blob := put(t, s, content)
	stored, _ := files(t, dir)
	if err := os.WriteFile(stored[0], []byte("the c0ntent"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(t.Context(), blob.SHA256)
	code(t, err, gateway.CodeMediaLost)
	// The next one who sends it mends it.
	put(t, s, content)
	f, err := s.Open(t.Context(), blob.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	must(t, f.Close())
}

func TestOpenRemovesWhatADeadProcessLeft(t *testing.T) {
	t.Parallel()
	_, dir := open(t, 1)
	stale, fresh := filepath.Join(dir, "uploads", "stale"), filepath.Join(dir, "uploads", "fresh")
	for _, path := range []string{stale, fresh} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := media.Open(dir, 1, noRows{}); err != nil {
		t.Fatal(err)
	}
	if _, uploads := files(t, dir); len(uploads) != 1 || uploads[0] != fresh {
		t.Fatalf("left: %v", uploads)
	}
}
