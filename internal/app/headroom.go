package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// headroom is how much a process may allocate between two collections, however little it keeps. Each request leaves some ten kilobytes behind,
// each send two hundred, and next to nothing stays, so that with Go's own rule, as much again as is kept, the heap of a few megabytes would be
// collected dozens of times a second under load. What keeps more than this is collected by Go's rule.
const headroom = 64 << 20

// leastPercent and mostPercent bound what is set: Go's own rule, and a heap that is all but empty.
const leastPercent, mostPercent = 100, 1600

// keepHeadroom adjusts the pace of the collector after each collection, for the rest of the process' life. An operator's GOGC stands.
func keepHeadroom() {
	if os.Getenv("GOGC") == "" {
		adjustHeadroom(leastPercent)
	}
}

func adjustHeadroom(set int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 {
		return // a Go that does not know the metric keeps its own pace
	}
	percent := percentFor(live[0].Value.Uint64())
	if percent > set+set/10 || percent < set-set/10 || percent == leastPercent && set != leastPercent { // each change stops the world for a moment
		debug.SetGCPercent(percent)
		set = percent
	}
	// Whatever is unreachable is found by the next collection.
	runtime.AddCleanup(new([64]byte), adjustHeadroom, set)
}

// percentFor is the GOGC with which live bytes leave headroom for as much as headroom.
func percentFor(live uint64) int {
	if live == 0 {
		return mostPercent
	}
	return int(min(max(headroom*100/live, leastPercent), mostPercent))
}
