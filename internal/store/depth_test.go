package store_test

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestABacklogIsCountedUpToABound: beyond it there are at least so many, and the oldest is still the oldest.
func TestABacklogIsCountedUpToABound(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		s := open(t, url, store.Options{})
		tenant := newTenant(t, s, "algo")
		begun := time.Now().UTC().Truncate(time.Hour)
		for n := range 10 {
			m := message(tenant, n)
			m.CreatedAt = begun.Add(time.Duration(n) * time.Minute)
			m.UpdatedAt = m.CreatedAt
			if n >= 7 {
				m.Priority = gateway.PriorityHigh
			}
			accept(t, s, m)
		}
		for limit, want := range map[int]gateway.QueueDepth{
			100: {High: 3, Normal: 7, OldestSince: begun},
			5:   {High: 3, Normal: 5, OldestSince: begun},
		} {
			if depth, err := s.DepthUpTo(t.Context(), tenant.Key, limit); err != nil || depth != want {
				t.Errorf("up to %d: %+v, %v; want %+v", limit, depth, err, want)
			}
		}
	})
}
