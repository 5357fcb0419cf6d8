package store_test

import (
	"path/filepath"
	"testing"

	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/store/storetest"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/testkit/services"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func TestSQLiteKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, opts store.Options) *store.Store {
		t.Helper()
		return open(t, "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), opts)
	})
}

func TestPostgresKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, opts store.Options) *store.Store {
		t.Helper()
		opts.Conns = 10
		return open(t, services.Postgres(t), opts)
	})
}

func open(t *testing.T, url string, opts store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
