package main

import (
	"context"
	"fmt"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// accept measures POST /message at 64 kept connections: authentication by key, strict decoding, validation, one durable commit
// shared by whoever waits for it, the enqueue, the answer. The baselines are echo handlers that decode the same body (echo.go).
//
// It does not measure sends: the tenant is not paired, so that its messages wait. The client takes its part of the machine from all
// three alike, which draws the ratios towards 1.
func accept(b *bench) {
	h := startHub(b, testkit.StartSimulator(b))
	queue := h.redis
	if queue == "" {
		queue = services.Redis(b)
	}
	var plain, enqueues echoReady
	ours := acceptor{addr: h.addr(), pid: h.api.PID()}
	echos := []acceptor{
		{name: "echo", pid: startChild(b, "echo", echoSettings{}, &plain).pid},
		{name: "echo + asynq.Enqueue", pid: startChild(b, "echo", echoSettings{Redis: queue}, &enqueues).pid},
	}
	echos[0].addr, echos[1].addr = plain.Addr, enqueues.Addr

	for _, a := range append(echos, ours) {
		a.measure(b, b.accept/3) // connections, caches, the heap's size
	}
	rates, costs := make([]row, len(echos)), make([]row, len(echos))
	for range b.pairs {
		ourRate, ourCost := ours.measure(b, b.accept)
		for i, a := range echos {
			rate, cost := a.measure(b, b.accept)
			rates[i].pairs = append(rates[i].pairs, pair{ourRate, rate})
			costs[i].pairs = append(costs[i].pairs, pair{ourCost, cost})
		}
	}
	for i, a := range echos {
		rates[i].what, rates[i].unit = fmt.Sprintf("accepts, %d connections", connections), "/s"
		costs[i].what, costs[i].unit = rates[i].what+": CPU time of one", " ms"
		for _, r := range []row{rates[i], costs[i]} {
			r.shape, r.baseline = b.shape.name, a.name
			b.table.add(r)
		}
	}
}

// acceptor is a process that answers 202 to POST /message.
type acceptor struct {
	addr string
	pid  int
	name string
}

// measure lets it accept for d and returns how many it accepted a second and the milliseconds of CPU time that its process took for
// one.
func (a acceptor) measure(b *bench, d time.Duration) (rate, cost float64) {
	b.Helper()
	before := processUsage(b, a.pid).cpu
	end := time.Now().Add(d)
	accepted, took, err := load(b.Context(), a.addr, func(i int64) []byte {
		if !time.Now().Before(end) {
			return nil
		}
		return postRequest("/api/"+tenant+"/message", testkit.TenantKey, messageBody(fmt.Sprintf("49160%07d", i%10_000_000)))
	})
	if err != nil {
		b.Fatal(err)
	}
	spent := processUsage(b, a.pid).cpu - before
	return float64(accepted) / took.Seconds(), milliseconds(spent) / float64(accepted)
}

func messageBody(to string) string { return fmt.Sprintf(`{"to":%q,"message":%q}`, to, text) }

// acceptAll has the hub accept messages as fast as it can.
func (h *hub) acceptAll(ctx context.Context, requests [][]byte) error {
	_, _, err := load(ctx, h.addr(), func(i int64) []byte {
		if i >= int64(len(requests)) {
			return nil
		}
		return requests[i]
	})
	return err
}
