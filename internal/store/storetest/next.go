package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testNextRecipients(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	other := w.newTenant("other")
	add := func(tenant gateway.Tenant, lane gateway.Priority, to string) *gateway.Message {
		m := w.message(tenant, lane)
		m.To = to
		must(t, w.Accept(ctx, []*gateway.Message{m}, nil))
		return m
	}
	want := func(limit int, recipients ...string) {
		t.Helper()
		got, messages, err := w.NextRecipients(ctx, w.tenant.Key, limit)
		must(t, err)
		again := 0 // one of them gets two of the messages that are looked at
		if slices.Contains(got, "49170000000") {
			again = 1
		}
		if !slices.Equal(got, recipients) || messages != len(got)+again {
			t.Fatalf("the next %d are %v, of %d messages, want %v", limit, got, messages, recipients)
		}
	}
	want(10)
	for i := range 3 {
		add(w.tenant, gateway.PriorityBulk, fmt.Sprint("4917000000", i))
	}
	add(w.tenant, gateway.PriorityBulk, "49170000000") // again
	first := add(w.tenant, gateway.PriorityNormal, "49171000000")
	add(w.tenant, gateway.PriorityNormal, "120363000000000001@g.us")
	add(w.tenant, gateway.PriorityNormal, "5550001@lid")
	add(w.tenant, gateway.PriorityHigh, "49172000000")
	add(other, gateway.PriorityNormal, "49173000000")
	want(10, "49172000000", "49171000000", "5550001@lid", "49170000000", "49170000001", "49170000002")
	want(3, "49172000000", "49171000000", "5550001@lid")
	want(4, "49172000000", "49171000000", "5550001@lid", "49170000000")
	want(1, "49172000000")

	// What is being sent is none of the next.
	fence := w.lease("worker", time.Minute)
	if m := w.claim(fence, first); m == nil || m.ID != first.ID {
		t.Fatalf("claimed %v", m)
	}
	want(2, "49172000000", "5550001@lid")
}
