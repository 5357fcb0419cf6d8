package queue_test

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
)

func TestALaneWithEnoughTicketsWantsNoMore(t *testing.T) {
	t.Parallel()
	keys := tenantKeys(2)
	full, other := keys[0], keys[1]
	opts := quick()
	opts.FullLane, opts.FullFor = 20, time.Hour
	q := queue.New(newRedis(t), opts)
	wanted := func() int { return len(q.Wanted(tickets(full, gateway.PriorityNormal, 5))) }
	enqueue(t, q, tickets(full, gateway.PriorityNormal, 19)...)
	if n := wanted(); n != 5 {
		t.Errorf("%d of 5 are wanted by a lane of 19", n)
	}
	enqueue(t, q, tickets(full, gateway.PriorityNormal, 30)...)
	mixed := append(tickets(full, gateway.PriorityNormal, 5), ticket(full, gateway.PriorityHigh, 1), ticket(other, gateway.PriorityNormal, 1))
	if wanted := q.Wanted(mixed); len(wanted) != 2 || wanted[0].Lane != gateway.PriorityHigh || wanted[1].TenantKey != other {
		t.Errorf("wanted beside a full lane: %v", wanted)
	}
	// Counted again, the lane was emptied.
	if err := q.DropTenant(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	enqueue(t, q, tickets(full, gateway.PriorityNormal, 10)...)
	if n := wanted(); n != 5 {
		t.Errorf("%d of 5 are wanted by a lane that was emptied", n)
	}
}

func TestAFullLaneIsSoonCountedAgain(t *testing.T) {
	t.Parallel()
	key := tenantKeys(1)[0]
	opts := quick()
	opts.FullLane, opts.FullFor = 10, time.Millisecond
	q := queue.New(newRedis(t), opts)
	enqueue(t, q, tickets(key, gateway.PriorityNormal, 30)...)
	eventually(t, "the lane is not taken for full any more", func() bool { return len(q.Wanted(tickets(key, gateway.PriorityNormal, 1))) == 1 })
}
