package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Remove removes a stored file; one that is gone is removed. After a loss of power it may be there again.
func (s *Store) Remove(sha256sum string) error {
	if !validName(sha256sum) {
		return fmt.Errorf("remove media: %q is no name of a file", sha256sum)
	}
	if err := os.Remove(s.path(sha256sum)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove media: %w", err)
	}
	return nil
}

// Sweep removes uploads that have lost their process, and calls see with all files that are stored, a folder's at a time: their
// SHA256 and Size are set. Files that appear or go meanwhile may be left out. It ends with the first error of see.
func (s *Store) Sweep(ctx context.Context, see func([]gateway.Blob) error) error {
	if err := s.removeStale(); err != nil {
		return err
	}
	folders, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("sweep media: %w", err)
	}
	for _, folder := range folders {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !folder.IsDir() || len(folder.Name()) != 2 {
			continue // the uploads, and what is not ours
		}
		files, err := s.list(folder.Name())
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		if err := see(files); err != nil {
			return err
		}
	}
	return nil
}

// list tells what is stored in one folder.
func (s *Store) list(folder string) ([]gateway.Blob, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, folder))
	if err != nil {
		return nil, fmt.Errorf("sweep media: %w", err)
	}
	var files []gateway.Blob
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || !validName(folder+entry.Name()) {
			continue // gone already, or not ours
		}
		files = append(files, gateway.Blob{SHA256: folder + entry.Name(), Size: info.Size()})
	}
	return files, nil
}

// removeStale removes uploads that have lost their process.
func (s *Store) removeStale() error {
	left, err := os.ReadDir(s.uploads())
	if err != nil {
		return fmt.Errorf("look for stale uploads: %w", err)
	}
	for _, entry := range left {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < staleUpload {
			continue // gone already, or another process is at it
		}
		if err := os.Remove(filepath.Join(s.uploads(), entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a stale upload: %w", err)
		}
	}
	return nil
}

// validName reports whether name is the lower-case hex of a SHA-256.
func validName(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == name
}
