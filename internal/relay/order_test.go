package relay_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/relay"
)

// pop removes the first ticket, by lane as a strict queue does.
func (q *queue) pop() (gateway.Ticket, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, lane := range gateway.Priorities() {
		i := slices.IndexFunc(q.tickets, func(t gateway.Ticket) bool { return t.Lane == lane })
		if i >= 0 {
			t := q.tickets[i]
			q.tickets = slices.Delete(q.tickets, i, i+1)
			return t, true
		}
	}
	return gateway.Ticket{}, false
}

// Tickets are lost, doubled and shuffled, the process dies with messages in hand, attempts fail; every message is sent
// once, and first attempts of a lane keep the order of acceptance.
func TestOrderSurvivesAQueueThatForgets(t *testing.T) {
	t.Parallel()
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	w := newWorld(t, relay.Options{Window: 20})
	ctx := t.Context()
	sends := map[string]int{}
	first := map[gateway.Priority][]int64{}
	left := 0
	for _, lane := range gateway.Priorities() {
		left += len(w.accept(lane, 50))
	}
	deaths := 0
	for step := 0; left > 0; step++ {
		if step > 20_000 {
			t.Fatalf("%d messages are left", left)
		}
		switch random.IntN(40) {
		case 0: // Redis forgets everything
			w.queue.take()
		case 1: // and gives what is left in any order, a part of it twice
			w.queue.set(func(q *queue) {
				random.Shuffle(len(q.tickets), func(i, j int) { q.tickets[i], q.tickets[j] = q.tickets[j], q.tickets[i] })
				q.tickets = append(q.tickets, q.tickets[:len(q.tickets)/3]...)
			})
		case 2:
			left += len(w.accept(gateway.PriorityNormal, min(3, max(0, 200-w.made))))
		}
		ticket, ok := w.queue.pop()
		if !ok {
			w.Advance(time.Second)
			w.takeOver()
			continue
		}
		m, err := w.ledger.Claim(ctx, w.fence, ticket, "me")
		must(t, err)
		if m == nil {
			continue
		}
		if m.ID != ticket.MessageID {
			must(t, w.queue.Enqueue(ctx, ticket)) // its turn went to an older one
		}
		if m.Attempts == 1 && m.Deaths == 0 && !slices.Contains(first[m.Priority], m.Seq) {
			first[m.Priority] = append(first[m.Priority], m.Seq)
		}
		failure := gateway.Failure{Code: gateway.CodeTimeout, Message: "No answer.", Retryable: true}
		switch random.IntN(8) {
		case 0:
			w.record(m.ID, gateway.Outcome{Kind: gateway.OutcomeRetry, Failure: failure, RetryAt: w.Now().Add(time.Second)})
			continue
		case 1:
			w.record(m.ID, gateway.Outcome{Kind: gateway.OutcomeWait})
			continue
		case 2:
			w.record(m.ID, gateway.Outcome{Kind: gateway.OutcomeHold, Failure: failure, RetryAt: w.Now().Add(3 * time.Second)})
			continue
		case 3:
			if m.Deaths == 0 && deaths < 30 { // the process dies with it in hand, another one takes over
				deaths++
				must(t, w.store.ReleaseSessions(ctx, "me"))
				w.die(m)
				continue
			}
		}
		w.record(m.ID, gateway.Outcome{Kind: gateway.OutcomeSent})
		sends[m.ID]++
		left--
	}
	for id, n := range sends {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	if len(sends) != w.made || deaths == 0 {
		t.Fatalf("%d of %d messages were sent, %d deaths", len(sends), w.made, deaths)
	}
	for lane, seqs := range first {
		if !slices.IsSorted(seqs) {
			t.Errorf("first attempts of lane %s: %v", lane, seqs)
		}
	}
}

// die lets m fall into the hands of a process that is gone, and this one take over.
func (w *world) die(m *gateway.Message) {
	w.t.Helper()
	_, err := w.store.Update(w.t.Context(), m.TenantKey, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.InFlight = "gone"
		return nil, nil
	})
	must(w.t, err)
	w.fence = w.acquire("me")
	w.takeOver()
}
