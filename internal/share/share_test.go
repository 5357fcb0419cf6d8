package share_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/share"
)

func TestATenantsShareIsNotMore(t *testing.T) {
	t.Parallel()
	p := share.New(5, 2)
	take := func(tenant int64, want *share.Full) (leave func()) {
		t.Helper()
		leave, err := p.Take(tenant)
		got, _ := errors.AsType[*share.Full](err)
		if (got == nil) != (want == nil) || got != nil && *got != *want || (leave == nil) != (err != nil) {
			t.Fatalf("tenant %d: %v, want %v", tenant, err, want)
		}
		return leave
	}
	own, all := &share.Full{Places: 2, Own: true}, &share.Full{Places: 5}
	leave := take(1, nil)
	take(1, nil)
	take(1, own)
	take(2, nil)
	take(0, nil)
	take(0, nil)
	take(0, all)
	take(3, all)
	take(1, own)
	leave()
	leave() // once is enough, and no more than once
	take(3, nil)
	take(1, all)
}

// TestWhoWaitsGetsWhatIsFreed: many more than there are places, and never more at a time than may be.
func TestWhoWaitsGetsWhatIsFreed(t *testing.T) {
	t.Parallel()
	const all, each, tenants, turns = 4, 2, 3, 200
	p := share.New(all, each)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	held := map[int64]int{}
	count := func(tenant int64, by int) {
		mu.Lock()
		defer mu.Unlock()
		held[tenant] += by
		sum := 0
		for _, n := range held {
			sum += n
		}
		if held[tenant] > each || sum > all {
			t.Errorf("held %v", held)
		}
	}
	var group sync.WaitGroup
	for tenant := range int64(tenants) {
		for range 8 {
			group.Go(func() {
				for range turns {
					leave, err := p.Wait(ctx, tenant+1)
					if err != nil {
						t.Error(err)
						return
					}
					count(tenant, 1)
					count(tenant, -1)
					leave()
				}
			})
		}
	}
	group.Wait()
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := share.New(1, 1)
	if _, err := p.Take(1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
