package queue_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
)

// Asynq is asked about the first ticket of a kind only, and its script runs for many at once. What it finds in Redis is all the same what
// it would have put there itself, ticket by ticket.
func TestTicketsOfABatchAreWhatAsynqMakesOfEach(t *testing.T) {
	t.Parallel()
	var list []gateway.Ticket
	keys := tenantKeys(2)
	for i := range 7 {
		for _, lane := range gateway.Priorities() {
			list = append(list, gateway.Ticket{TenantKey: keys[i%2], MessageID: uuid.NewString(), Lane: lane})
		}
	}
	list = append(list, tickets(keys[0], gateway.PriorityNormal, 3)...) // short ids, that could be found by accident
	list = append(list, list[3])                                        // twice

	together, apart := newRedis(t), newRedis(t)
	enqueue(t, queue.New(together, quick()), list...)
	for _, one := range list {
		enqueue(t, queue.New(apart, quick()), one)
	}
	for _, key := range keys {
		for _, lane := range gateway.Priorities() {
			name := fmt.Sprintf("t:%d:%s", key, lane)
			if lane == gateway.PriorityNormal {
				name = fmt.Sprintf("t:%d", key)
			}
			got := together.LRange(t.Context(), "asynq:{"+name+"}:pending", 0, -1).Val()
			want := apart.LRange(t.Context(), "asynq:{"+name+"}:pending", 0, -1).Val()
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Fatalf("queue %s holds %v, asynq makes it %v", name, got, want)
			}
			for _, id := range want {
				task := "asynq:{" + name + "}:t:" + id
				got, want := together.HGetAll(t.Context(), task).Val(), apart.HGetAll(t.Context(), task).Val()
				if got["pending_since"] == "" || want["pending_since"] == "" {
					t.Fatalf("task %s waits since %q and %q", id, got["pending_since"], want["pending_since"])
				}
				delete(got, "pending_since")
				delete(want, "pending_since")
				if want["msg"] == "" || !maps.Equal(got, want) {
					t.Fatalf("task %s is %q, asynq makes it %q", id, got, want)
				}
			}
		}
	}
}
