package store_test

import (
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// A transaction that began first may end last: its events have a place behind those that readers have seen already, and are not passed over.
func TestEventsOfLateCommitsAreNotPassedOver(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t)+patient, store.Options{})
	ctx, tenant := t.Context(), newTenant(t, s, "algo")
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Listen(ctx, tenant.Key)
	fine(err)
	const tell = `INSERT INTO event_outbox (tenant_key, kind, subject, at, data) VALUES ($1, $2, 'x', 7, '{}')`
	late, err := s.Writer().BeginTx(ctx, nil)
	fine(err)
	defer late.Rollback()
	_, err = late.ExecContext(ctx, tell, tenant.Key, "session.online")
	fine(err)
	_, err = s.Writer().ExecContext(ctx, tell, tenant.Key, "session.offline")
	fine(err)

	read := func(after int64, want gateway.EventKind) int64 {
		t.Helper()
		_, err := s.SettleEvents(ctx, tenant.Key)
		fine(err)
		list, err := s.Notices(ctx, tenant.Key, after, nil, 10)
		fine(err)
		if len(list) != 1 || list[0].Kind != want || list[0].Pos <= after {
			t.Fatalf("behind %d there is %+v", after, list)
		}
		return list[0].Pos
	}
	first := read(0, "session.offline")
	fine(late.Commit())
	read(first, "session.online")
}
