package storetest

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testAhead(t *testing.T, open Opener) {
	w := newWorld(t, open)
	f := w.lease("worker", time.Minute)
	ahead := func(m *gateway.Message, want int) {
		t.Helper()
		n, err := w.Ahead(t.Context(), m, 5)
		must(t, err)
		if n != want {
			t.Errorf("%d go before %s, want %d", n, m.ID, want)
		}
	}
	normal := w.accept(gateway.PriorityNormal, 3)
	bulk := w.accept(gateway.PriorityBulk, 2)
	high := w.accept(gateway.PriorityHigh, 1)[0]
	ahead(high, 0)
	ahead(normal[0], 1)
	ahead(normal[2], 3)
	ahead(bulk[0], 4)
	ahead(bulk[1], 5)
	w.record(w.claim(f, high), gateway.Outcome{Kind: gateway.OutcomeSent})
	ahead(bulk[1], 4)
	w.record(w.claim(f, normal[0]), gateway.Outcome{
		Kind: gateway.OutcomeRetry, RetryAt: w.clock.Now().Add(time.Hour), Failure: gateway.Failure{Code: gateway.CodeTimeout},
	})
	ahead(normal[1], 0)
	other := w.newTenant("beta")
	must(t, w.Accept(t.Context(), []*gateway.Message{w.message(other, gateway.PriorityHigh)}, nil))
	ahead(bulk[0], 2)
}
