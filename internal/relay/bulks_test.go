package relay_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/relay"
)

// bulks has some tickets to give, one with each call.
type bulks struct {
	mu          sync.Mutex
	left        int
	fed, tidied int
	fail        error
}

func (b *bulks) Feed(_ context.Context, f gateway.Fence) ([]gateway.Ticket, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fed++; b.left == 0 || b.fail != nil {
		return nil, false, b.fail
	}
	b.left--
	return []gateway.Ticket{{TenantKey: f.TenantKey, MessageID: fmt.Sprintf("bulk %d", b.left), Lane: gateway.PriorityBulk}}, b.left > 0, nil
}

func (b *bulks) Tidy(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tidied++
	return nil
}

func (b *bulks) get() (left, fed, tidied int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left, b.fed, b.tidied
}

// A lane that empties fast is fed between sweeps, for as long as that is so.
func TestLanesAreFedBetweenSweeps(t *testing.T) {
	t.Parallel()
	b := &bulks{left: 5}
	w := newWorld(t, relay.Options{Interval: time.Hour, Bulks: b})
	w.accept(gateway.PriorityNormal, 1)
	w.start()
	w.eventually("everything is fed", func() bool { left, _, _ := b.get(); return left == 0 })
	w.eventually("every ticket is enqueued", func() bool { n, _ := w.queue.Pending(t.Context(), w.tenant.Key, gateway.PriorityBulk); return n == 5 })
	if _, fed, tidied := b.get(); fed != 5 || tidied != 1 {
		t.Errorf("fed %d times, tidied %d times in one sweep", fed, tidied)
	}
	w.Wake()
	w.eventually("the next sweep feeds again", func() bool { _, fed, tidied := b.get(); return fed == 6 && tidied == 2 })
}

// A lane is fed before it is consumed, and what fails for the bulks does not keep other messages from their tickets.
func TestTakeOverFeedsTheLanes(t *testing.T) {
	t.Parallel()
	b := &bulks{left: 1}
	w := newWorld(t, relay.Options{Bulks: b})
	single := w.accept(gateway.PriorityHigh, 1)
	w.takeOver()
	w.wantTickets("bulk 0", single[0])
	b.fail = errors.New("the database does not answer")
	if err := w.TakeOver(t.Context(), w.fence); !errors.Is(err, b.fail) {
		t.Errorf("took over with %v", err)
	}
	w.wantTickets(single...)
}
