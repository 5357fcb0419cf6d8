package main

import (
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// TestALeakIsTold from what only goes up and down, and from what fills up once.
func TestALeakIsTold(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	made := func(heap func(part float64) float64) (samples []sample) {
		for i := range 60 {
			samples = append(samples, sample{at: time.Duration(i) * time.Second, heap: heap(float64(i)/60) * (1 << 20) * (1 + 0.1*(random.Float64()-0.5))})
		}
		return samples
	}
	heap := looks()[0]
	for name, test := range map[string]struct {
		heap func(part float64) float64
		flat bool
	}{
		"flat":                  {func(float64) float64 { return 60 }, true},
		"shrinks":               {func(p float64) float64 { return 60 - 30*p }, true},
		"fills up in the first": {func(p float64) float64 { return 20 + 40*min(1, 4*p) }, true},
		"grows by a half":       {func(p float64) float64 { return 60 + 30*p }, false},
		"grows slowly":          {func(p float64) float64 { return 60 + 24*p }, false},
	} {
		if v := heap.judge(made(test.heap)); v.flat != test.flat {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if heap.judge(made(func(float64) float64 { return 60 })[:8]).flat {
		t.Error("eight samples prove something")
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-for", "10s"}, {"-part", "2"}, {"-tenants", "0"}, {"more"}, {"-unknown"}} {
		if status := run(t.Context(), args, io.Discard, io.Discard); status != 2 {
			t.Errorf("%v ends with %d", args, status)
		}
	}
}
