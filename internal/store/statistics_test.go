package store_test

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// Postgres hears of a backlog without its own turn to look at the tables, which would come a minute later, and until then plans nothing that
// reads it all.
func TestPostgresHearsThatTablesHaveGrown(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{})
	if _, err := s.Writer().ExecContext(t.Context(), `ALTER TABLE messages SET (autovacuum_enabled = false)`); err != nil {
		t.Fatal(err)
	}
	tenant := newTenant(t, s, "algo")
	backlog := make([]*gateway.Message, 3000)
	for n := range backlog {
		backlog[n] = message(tenant, n)
	}
	accept(t, s, backlog...)
	claim(t, s, "EXPLAIN (COSTS OFF) ")

	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-look.C {
		var known float64
		if err := s.Writer().QueryRowContext(t.Context(), `SELECT reltuples FROM pg_class WHERE relname = 'messages'`).Scan(&known); err != nil {
			t.Fatal(err)
		}
		if known >= 3000 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Postgres knows of %v messages", known)
		}
	}
}
