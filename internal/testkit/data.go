package testkit

import (
	"path/filepath"
	"strings"
)

// DatabaseURL is the World's DATABASE_URL. On SQLite nobody else may write while the hub runs.
func (w *World) DatabaseURL() string {
	w.t.Helper()
	for _, setting := range w.environ {
		if url, ok := strings.CutPrefix(setting, "DATABASE_URL="); ok {
			return url
		}
	}
	w.t.Fatal("the shape has no database")
	return ""
}

// BlobDir is the folder of the World's blob store.
func (w *World) BlobDir() string { return filepath.Join(w.dir, "media") }
