package session

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/wapro/hub/internal/gateway"
)

// TestSharesAreEvenAndComeToRest moves sessions as any number of workers would, each looking at a moment of its own.
func TestSharesAreEvenAndComeToRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shares := gateway.Shares{Held: map[string]int{}}
		var workers []string
		for i := range rapid.IntRange(1, 7).Draw(t, "workers") {
			id := fmt.Sprint("worker", i)
			workers = append(workers, id)
			shares.Held[id] = rapid.IntRange(0, 20).Draw(t, id)
			shares.Total += shares.Held[id]
		}
		shares.Free = rapid.IntRange(0, 20).Draw(t, "free")
		shares.Total += shares.Free
		sum := 0
		for _, id := range workers {
			sum += fairShare(shares, id)
		}
		if sum != shares.Total {
			t.Fatalf("the shares add up to %d of %d", sum, shares.Total)
		}
		before, most, moved := shares.Free, shares.Total, 0
		for idle := 0; idle <= len(workers); {
			id := workers[rapid.IntRange(0, len(workers)-1).Draw(t, "who")]
			if idle > 0 { // at the end everybody looks once
				id = workers[idle-1]
			}
			took := min(shares.Free, max(0, fairShare(shares, id)-shares.Held[id]))
			gave := 0
			if took == 0 {
				gave = surplus(shares, id)
			}
			shares.Held[id] += took - gave
			shares.Free += gave - took
			moved += gave
			idle++
			if took+gave > 0 {
				idle = 0
			}
			if moved > most {
				t.Fatalf("%d of %d sessions were moved, %d were free, and it goes on: %+v", moved, most, before, shares)
			}
		}
		lowest, highest := shares.Total, 0
		for _, held := range shares.Held {
			lowest, highest = min(lowest, held), max(highest, held)
		}
		if shares.Free != 0 || highest-lowest > 1 {
			t.Fatalf("comes to rest as %+v", shares)
		}
	})
}

func TestWorkerThatIsNotSeenYetHasAShare(t *testing.T) {
	t.Parallel()
	shares := gateway.Shares{Held: map[string]int{"one": 4}, Total: 4}
	if got := fairShare(shares, "two"); got != 2 {
		t.Errorf("its share is %d of 4", got)
	}
	if got := fairShare(gateway.Shares{Total: 3}, "alone"); got != 3 {
		t.Errorf("the share of a worker that is alone is %d of 3", got)
	}
}
