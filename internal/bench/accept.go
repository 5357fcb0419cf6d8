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
	what := fmt.Sprintf("accepts, %d connections", connections)
	rates, own, whole := make([]row, len(echos)), make([]row, len(echos)), make([]row, len(echos))
	parts := map[string][]pair{}
	for range b.pairs {
		hub := ours.measure(b, b.accept)
		for i, a := range echos {
			echo := a.measure(b, b.accept)
			rates[i].pairs = append(rates[i].pairs, pair{hub.rate, echo.rate})
			own[i].pairs = append(own[i].pairs, pair{hub.own, echo.own})
			whole[i].pairs = append(whole[i].pairs, pair{hub.whole(), echo.whole()})
		}
		for _, program := range programs {
			parts[program] = append(parts[program], pair{hub: hub.spent[program]})
		}
	}
	for i, a := range echos {
		rates[i].what, rates[i].unit = what, "/s"
		own[i].what, own[i].unit = what+": CPU time of one", " ms"
		whole[i].what, whole[i].unit = what+": CPU time of one, all programs and the client", " ms"
		for _, r := range []row{rates[i], own[i], whole[i]} {
			r.shape, r.baseline = b.shape.name, a.name
			b.table.add(r)
		}
	}
	for _, program := range programs {
		if b.shape.postgres || program == "api" || program == client {
			b.table.add(row{what: what + ": CPU time of one, " + program, shape: b.shape.name, unit: " ms", pairs: parts[program]})
		}
	}
}

// client is this program, as spent calls it.
const client = "the client"

// programs take part in an accept.
var programs = []string{"api", "worker", "postgres", "redis-server", client} //nolint:gochecknoglobals // a constant that Go cannot spell

// acceptor is a process that answers 202 to POST /message.
type acceptor struct {
	addr string
	pid  int
	name string
}

// accepts is what one run showed: how many were accepted a second, and the milliseconds of CPU time for one, of the process that
// answered and of all.
type accepts struct {
	rate  float64
	own   float64
	spent map[string]float64
}

func (a accepts) whole() (sum float64) {
	for _, ms := range a.spent {
		sum += ms
	}
	return sum
}

// measure lets it accept for d.
func (a acceptor) measure(b *bench, d time.Duration) accepts {
	b.Helper()
	before, ownBefore := spent(b), processUsage(b, a.pid).cpu
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
	n := float64(accepted)
	run := accepts{rate: n / took.Seconds(), own: milliseconds(processUsage(b, a.pid).cpu-ownBefore) / n, spent: map[string]float64{}}
	for program, cpu := range spent(b) {
		run.spent[program] = max(0, milliseconds(cpu-before[program])/n) // less: a process of that name has ended
	}
	return run
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
