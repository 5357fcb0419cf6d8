package store_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestMigrationsAreUndone down to the first, with a message that waits, and done again: it is still there, and can be claimed.
func TestMigrationsAreUndone(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		ctx := t.Context()
		s, err := store.Open(ctx, url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tenant, err := s.CreateTenant(ctx, "algo", "Algo")
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		err = s.Accept(ctx, []*gateway.Message{{
			ID: "waits", TenantKey: tenant.Key, TenantID: "algo", To: "4915550000001", Type: gateway.TypeText, Text: "kept", Priority: gateway.PriorityNormal,
			WhatsAppID: "3EB0", Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting, CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		if n, err := store.MigrateDown(ctx, url, 1000, log); err == nil || n != 0 {
			t.Errorf("undone beyond what there is: %d", n)
		}
		if n, err := store.MigrateDown(ctx, url, 1, log); err != nil || n < 20 {
			t.Fatalf("%d migrations were undone: %v", n, err)
		}
		if n, err := store.MigrateDown(ctx, url, 1, log); err != nil || n != 0 {
			t.Errorf("%d migrations were undone again: %v", n, err)
		}
		again := open(t, url, store.Options{})
		m, err := again.Message(ctx, tenant.Key, "waits")
		if err != nil || m.Text != "kept" || m.Status != gateway.StatusQueued {
			t.Errorf("afterwards the message is %+v, %v", m, err)
		}
	})
}

// TestAnOlderVersionRefusesANewerDatabase, and changes nothing of it.
func TestAnOlderVersionRefusesANewerDatabase(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Writer().ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)`)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err := store.Open(t.Context(), url, store.Options{}); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("opened: %v", err)
			if s != nil {
				_ = s.Close()
			}
		}
		if _, err := store.MigrateDown(t.Context(), url, 1, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("migrated down: %v", err)
		}
	})
}
