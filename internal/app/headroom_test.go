package app

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestHeadroomShrinksWithWhatIsKept(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 1600, 1 << 20: 1600, 4 << 20: 1600, 8 << 20: 800, 16 << 20: 400, 64 << 20: 100, 1 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d MiB the collector may let %d %% gather, want %d", live>>20, got, want)
		}
	}
}

// The pace follows each collection, for as long as the process lives. It is the process' own, so no test runs beside.
func TestHeadroomIsKeptAfterEachCollection(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(101)
	keepHeadroom()
	deadline := time.Now().Add(time.Minute)
	for debug.SetGCPercent(101) == 101 { // nobody has changed it since
		if time.Now().After(deadline) {
			t.Fatal("nothing adjusts the collector's pace")
		}
		runtime.GC()
	}
	debug.SetGCPercent(before)
}
