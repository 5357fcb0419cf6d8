package services

import (
	"path/filepath"
	"testing"
)

// SQLite returns the URL of a database that is not there yet, and ends with the test.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite://" + filepath.Join(t.TempDir(), "hub.db")
}

// EachDatabase runs a test on an empty database of each kind, side by side.
func EachDatabase(t *testing.T, run func(t *testing.T, url string)) {
	t.Helper()
	for name, database := range map[string]func(testing.TB) string{"sqlite": SQLite, "postgres": Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, database(t))
		})
	}
}
