package intake

import (
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Accepts that are answered at the same time hand their tickets over in any order; the queue gets each tenant's in the order of its messages.
func TestTicketsOfOneCallAreInOrder(t *testing.T) {
	t.Parallel()
	in := &Intake{Deps: Deps{Clock: time.Now}}
	in.tickets.idle = make(chan struct{}) // nobody delivers them
	for _, m := range []gateway.Message{
		{TenantKey: 1, ID: "c", Seq: 3}, {TenantKey: 2, ID: "z", Seq: 9}, {TenantKey: 1, ID: "a", Seq: 1}, {TenantKey: 2, ID: "y", Seq: 8}, {TenantKey: 1, ID: "b", Seq: 2},
	} {
		in.enqueue(t.Context(), &m)
	}
	order := map[int64][]string{}
	for _, ticket := range in.nextTickets(nil) {
		order[ticket.TenantKey] = append(order[ticket.TenantKey], ticket.MessageID)
	}
	if !slices.Equal(order[1], []string{"a", "b", "c"}) || !slices.Equal(order[2], []string{"y", "z"}) {
		t.Errorf("the order is %v", order)
	}
}
