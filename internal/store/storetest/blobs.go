package storetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const day = 24 * time.Hour

func sha(n int) string { return fmt.Sprintf("%064x", n) }

// names makes a message that names a file.
func (w *world) names(n int) *gateway.Message {
	m := w.message(w.tenant, gateway.PriorityNormal)
	m.Type, m.Media = gateway.TypeImage, &gateway.Media{MimeType: "image/png", Size: 1, SHA256: sha(n)}
	return m
}

// drop drops a file and tells whether it did; its file is removed by remove.
func (w *world) drop(n int, before time.Time, remove func() error) bool {
	w.t.Helper()
	dropped, err := w.DropBlob(w.t.Context(), sha(n), before, remove)
	must(w.t, err)
	return dropped
}

func gone() error { return nil }

func testBlobs(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	wantCode(t, w.Accept(ctx, []*gateway.Message{w.names(1)}, nil), gateway.CodeMediaLost)
	// One that names what is not there fails alone, whoever shares its commit.
	good := w.message(w.tenant, gateway.PriorityNormal)
	must(t, w.KeepBlob(ctx, sha(1), 10))
	var wg sync.WaitGroup
	missing := w.names(99)
	wg.Go(func() { wantCodeAsync(t, w.Accept(ctx, []*gateway.Message{missing}, nil), gateway.CodeMediaLost) })
	wg.Go(func() {
		if err := w.Accept(ctx, []*gateway.Message{good}, nil); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()

	for n := 2; n <= 5; n++ {
		must(t, w.KeepBlob(ctx, sha(n), int64(n)))
	}
	must(t, w.Accept(ctx, []*gateway.Message{w.names(2), w.names(1), w.names(2)}, nil))
	w.clock.Advance(12 * time.Hour)
	must(t, w.KeepBlob(ctx, sha(5), 5)) // stored once more
	n, err := w.AdoptBlobs(ctx, []gateway.Blob{{SHA256: sha(3), Size: 3}, {SHA256: sha(7), Size: 7}})
	must(t, err)
	if n != 1 {
		t.Fatalf("%d files were adopted, want 1", n)
	}
	w.clock.Advance(13 * time.Hour)

	before := w.clock.Now().Add(-day)
	var unused []string
	for after := ""; ; { // page by page
		page, next, err := w.UnusedBlobs(ctx, before, after, 2)
		must(t, err)
		unused = append(unused, page...)
		if next == "" {
			break
		}
		after = next
	}
	if !slices.Equal(unused, []string{sha(3), sha(4)}) {
		t.Fatalf("unused: %v", unused)
	}
	for n, want := range map[int]bool{1: false, 2: false, 3: true, 4: true, 5: false, 6: false, 7: false} {
		removed := false
		if got := w.drop(n, before, func() error { removed = true; return nil }); got != want || removed != want {
			t.Errorf("file %d: dropped %t, removed %t, want %t", n, got, removed, want)
		}
	}
	wantCode(t, w.Accept(ctx, []*gateway.Message{w.names(3)}, nil), gateway.CodeMediaLost)

	// A message refreshes its file; one that is gone with its tenant keeps it no longer.
	must(t, w.Accept(ctx, []*gateway.Message{w.names(7)}, nil))
	w.clock.Advance(23 * time.Hour)
	must(t, w.DeleteTenant(ctx, w.tenant.ID))
	if before := w.clock.Now().Add(-day); w.drop(7, before, gone) || !w.drop(1, before, gone) {
		t.Error("the day counts from the last use")
	}
	w.clock.Advance(2 * time.Hour)
	if !w.drop(7, w.clock.Now().Add(-day), gone) {
		t.Error("a file that no message names any more stays")
	}
}

func wantCodeAsync(t *testing.T, err error, code gateway.Code) {
	t.Helper()
	if !errors.Is(err, &gateway.Error{Code: code}) {
		t.Errorf("got error %v, want code %s", err, code)
	}
}

// folder is a blob store: what of it is not on disk is the store's.
type folder string

func (f folder) put(t *testing.T, n int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(f), sha(n)), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
}

func (f folder) has(n int) bool {
	_, err := os.Stat(filepath.Join(string(f), sha(n)))
	return err == nil
}

func (f folder) remove(n int) func() error {
	return func() error {
		if err := os.Remove(filepath.Join(string(f), sha(n))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
}

// testBlobRace lets uploads, accepts and collections of the same old file meet: whatever a message was accepted for is there.
func testBlobRace(t *testing.T, open Opener) {
	const rounds, uploaders, collectors = 60, 2, 2
	w := newWorld(t, open)
	ctx, files := t.Context(), folder(t.TempDir())
	var collected, late atomic.Int32
	for n := range rounds {
		must(t, w.KeepBlob(ctx, sha(n), 1))
		files.put(t, n)
		w.clock.Advance(25 * time.Hour)
		before := w.clock.Now().Add(-day)
		var messages []*gateway.Message
		for range uploaders + 1 {
			messages = append(messages, w.names(n))
		}
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range uploaders {
			wg.Go(func() {
				<-start
				if err := w.KeepBlob(ctx, sha(n), 1); err != nil {
					t.Error(err)
					return
				}
				files.put(t, n)
				if err := w.Accept(ctx, []*gateway.Message{messages[i]}, nil); err != nil {
					t.Errorf("after an upload: %v", err)
				}
			})
		}
		wg.Go(func() { // names it without an upload of its own, as a retry of an old message does
			<-start
			err := w.Accept(ctx, []*gateway.Message{messages[uploaders]}, nil)
			if errors.Is(err, &gateway.Error{Code: gateway.CodeMediaLost}) {
				late.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
		for range collectors {
			wg.Go(func() {
				<-start
				dropped, err := w.DropBlob(ctx, sha(n), before, files.remove(n))
				if err != nil {
					t.Error(err)
				}
				if dropped {
					collected.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if t.Failed() || !files.has(n) {
			t.Fatalf("round %d: the file of accepted messages is there: %t", n, files.has(n))
		}
	}
	t.Logf("%d files were collected in between, %d accepts came too late", collected.Load(), late.Load())
}

var errKilled = errors.New("killed here")

func testBlobKill(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, files := t.Context(), folder(t.TempDir())
	// After the row of an upload, before its file: nothing names it, it goes like any other.
	must(t, w.KeepBlob(ctx, sha(1), 1))
	// After the file was removed, before the commit.
	must(t, w.KeepBlob(ctx, sha(2), 1))
	files.put(t, 2)
	// A file whose row was never written, or is lost.
	files.put(t, 3)
	w.clock.Advance(25 * time.Hour)
	before := w.clock.Now().Add(-day)
	_, err := w.DropBlob(ctx, sha(2), before, func() error { return errors.Join(files.remove(2)(), errKilled) })
	if !errors.Is(err, errKilled) || files.has(2) {
		t.Fatalf("the removal came to %v", err)
	}
	if !w.drop(1, before, files.remove(1)) {
		t.Error("a row without a file stays")
	}
	// The next upload of the same content mends what the kill left.
	must(t, w.KeepBlob(ctx, sha(2), 1))
	files.put(t, 2)
	if w.drop(2, before, files.remove(2)) || !files.has(2) {
		t.Error("a file that was stored again is collected")
	}
	must(t, w.Accept(ctx, []*gateway.Message{w.names(2)}, nil))

	unused, _, err := w.UnusedBlobs(ctx, before, "", 100)
	must(t, err)
	if len(unused) != 0 {
		t.Fatalf("unused: %s", strings.Join(unused, " "))
	}
	if n, err := w.AdoptBlobs(ctx, []gateway.Blob{{SHA256: sha(3), Size: 1}, {SHA256: sha(2), Size: 1}}); err != nil || n != 1 {
		t.Fatalf("adopted %d, %v", n, err)
	}
	if w.drop(3, before, files.remove(3)) {
		t.Error("a file that was just found is collected at once")
	}
	w.clock.Advance(25 * time.Hour)
	if before := w.clock.Now().Add(-day); !w.drop(3, before, files.remove(3)) || files.has(3) || w.drop(2, before, files.remove(2)) {
		t.Error("a day later the found file goes, and the named one stays")
	}
}
