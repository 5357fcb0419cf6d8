package store_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// databases runs a benchmark on both.
func databases(b *testing.B, run func(b *testing.B, s *store.Store)) {
	b.Helper()
	for name, url := range map[string]func(b *testing.B) string{
		"SQLite":   func(b *testing.B) string { return "sqlite://" + filepath.Join(b.TempDir(), "hub.db") },
		"Postgres": func(b *testing.B) string { return services.Postgres(b) },
	} {
		b.Run(name, func(b *testing.B) {
			s, err := store.Open(b.Context(), url(b), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // the benchmark is over
			run(b, s)
		})
	}
}

// One message in each call, 128 callers, one tenant.
func BenchmarkAccept(b *testing.B) {
	databases(b, func(b *testing.B, s *store.Store) {
		tenant, err := s.CreateTenant(b.Context(), "algo", "")
		if err != nil {
			b.Fatal(err)
		}
		var next atomic.Int64
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := s.Accept(b.Context(), []*gateway.Message{message(tenant, int(next.Add(1)))}, nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// 1,000 messages in each call.
func BenchmarkAcceptMany(b *testing.B) {
	databases(b, func(b *testing.B, s *store.Store) {
		tenant, err := s.CreateTenant(b.Context(), "algo", "")
		if err != nil {
			b.Fatal(err)
		}
		next := 0
		for b.Loop() {
			batch := make([]*gateway.Message, 1000)
			for i := range batch {
				next++
				batch[i] = message(tenant, next)
			}
			if err := s.Accept(b.Context(), batch, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What one send costs: a claim and the record of its outcome.
func BenchmarkClaimAndRecord(b *testing.B) {
	databases(b, func(b *testing.B, s *store.Store) {
		tenant, err := s.CreateTenant(b.Context(), "algo", "")
		if err != nil {
			b.Fatal(err)
		}
		sessions, err := s.AcquireSessions(b.Context(), "worker", time.Hour, 1)
		if err != nil || len(sessions) != 1 {
			b.Fatal(sessions, err)
		}
		f := sessions[0].Fence()
		backlog := make([]*gateway.Message, b.N)
		for n := range backlog {
			backlog[n] = message(tenant, n)
		}
		if err := s.Accept(b.Context(), backlog, nil); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for _, m := range backlog {
			claimed, err := s.Claim(b.Context(), f, gateway.Ticket{TenantKey: tenant.Key, MessageID: m.ID, Lane: m.Priority}, begin("worker"))
			if err != nil || claimed == nil {
				b.Fatal(claimed, err)
			}
			_, err = s.Update(b.Context(), tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
				return m.Apply(time.Now(), "worker", gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &gateway.Sent{At: time.Now()}}), nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
