package store_test

import (
	"path/filepath"
	"testing"

	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/store/storetest"
)

func TestSQLiteKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, opts store.Options) *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
