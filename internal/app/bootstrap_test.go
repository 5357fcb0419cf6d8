package app_test

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// TestABootstrapKeyThatReplacedItselfStaysReplaced: the program that was given the first key of a tenant rotates it by itself; that the old one still
// stands in the environment must not undo it.
func TestABootstrapKeyThatReplacedItselfStaysReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	database := filepath.Join(dir, "hub.db")
	const first, other = "algo-key-of-the-test", "another-key-of-the-test"
	run := func(key string) (*testkit.Process, string) {
		hub := testkit.Run(t, nil, "SANDBOX=true", "DATABASE_URL=sqlite://"+database, "BLOB_URL=file://"+filepath.Join(dir, "media"),
			"ADMIN_API_KEY="+testkit.AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+key)
		return hub, "http://" + hub.Listening("requests")
	}
	answers := func(base, key string, want int) {
		t.Helper()
		testkit.NewClient(key, base).JSON(t, http.MethodGet, "/api/algo/session", nil, want, nil)
	}

	hub, base := run(first)
	var made struct{ Key, OldKeyID string }
	testkit.NewClient(first, base).JSON(t, http.MethodPost, "/api/algo/key/rotate", map[string]any{"graceSeconds": 3600}, http.StatusCreated, &made)
	hub.Terminate(time.Minute)

	// The grace is over.
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `UPDATE api_keys SET expires_at = 1 WHERE id = ?`, made.OldKeyID); err != nil {
		t.Fatal(err)
	}
	hub, base = run(first)
	answers(base, made.Key, http.StatusOK)
	answers(base, first, http.StatusUnauthorized)
	hub.Terminate(time.Minute)

	// While both work the operator sets another: it replaces both.
	if _, err := db.ExecContext(t.Context(), `UPDATE api_keys SET expires_at = ? WHERE id = ?`, time.Now().Add(time.Hour).UnixMicro(), made.OldKeyID); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, base = run(other)
	answers(base, other, http.StatusOK)
	answers(base, first, http.StatusUnauthorized)
	answers(base, made.Key, http.StatusUnauthorized)
}
