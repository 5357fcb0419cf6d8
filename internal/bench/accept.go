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
	startChild(b, "echo", echoSettings{}, &plain)
	startChild(b, "echo", echoSettings{Redis: queue}, &enqueues)

	rate := func(addr string, d time.Duration) float64 {
		end := time.Now().Add(d)
		accepted, took, err := load(b.Context(), addr, func(i int64) []byte {
			if !time.Now().Before(end) {
				return nil
			}
			return postRequest("/api/"+tenant+"/message", testkit.TenantKey, messageBody(fmt.Sprintf("49160%07d", i%10_000_000)))
		})
		if err != nil {
			b.Fatal(err)
		}
		return float64(accepted) / took.Seconds()
	}
	targets := []string{h.addr(), plain.Addr, enqueues.Addr}
	for _, addr := range targets {
		rate(addr, b.accept/3) // connections, caches, the heap's size
	}
	against := [2]row{{baseline: "echo"}, {baseline: "echo + asynq.Enqueue"}}
	for range b.pairs {
		figures := [3]float64{}
		for i, addr := range targets {
			figures[i] = rate(addr, b.accept)
		}
		for i := range against {
			against[i].pairs = append(against[i].pairs, pair{figures[0], figures[i+1]})
		}
	}
	for _, r := range against {
		r.what, r.shape, r.unit = "accepts, 64 connections", b.shape.name, "/s"
		b.table.add(r)
	}
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
