package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func (w *world) schedule(after time.Duration) *gateway.Message {
	w.t.Helper()
	m := w.message(w.tenant, gateway.PriorityNormal)
	m.Status, m.SendAt, m.ExpiresAt = gateway.StatusScheduled, w.clock.Now().Add(after), w.clock.Now().Add(after+time.Hour)
	must(w.t, w.Accept(w.t.Context(), []*gateway.Message{m}, nil))
	return m
}

func (w *world) release(limit int) []string {
	w.t.Helper()
	now := w.clock.Now()
	tickets, err := w.Release(w.t.Context(), now, limit, func(m *gateway.Message) []gateway.Event { return m.Release(now) })
	must(w.t, err)
	released := []string{}
	for _, ticket := range tickets {
		if ticket.TenantKey != w.tenant.Key || ticket.Lane != gateway.PriorityNormal {
			w.t.Errorf("ticket %+v", ticket)
		}
		released = append(released, ticket.MessageID)
	}
	return released
}

func testRelease(t *testing.T, open Opener) {
	w := newWorld(t, open)
	f := w.lease("worker", time.Hour)
	late, soon, canceled, far := w.schedule(2*time.Minute), w.schedule(time.Minute), w.schedule(time.Minute), w.schedule(time.Hour)
	_, err := w.Update(t.Context(), w.tenant.Key, canceled.ID, nil,
		func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.clock.Now()) })
	must(t, err)
	if got := w.release(10); len(got) != 0 {
		t.Fatalf("released %v before its time", got)
	}
	if got := w.claim(f, soon); got != nil {
		t.Fatalf("claimed %s while it was scheduled", got.ID)
	}
	depth, err := w.Depth(t.Context(), w.tenant.Key)
	must(t, err)
	if depth.Normal != 0 {
		t.Errorf("%d messages wait", depth.Normal)
	}
	w.clock.Advance(3 * time.Minute)
	if got := w.release(1); !slices.Equal(got, []string{soon.ID}) {
		t.Fatalf("released %v, want the longest due", got)
	}
	if got := w.release(10); !slices.Equal(got, []string{late.ID}) {
		t.Fatalf("released %v", got)
	}
	if got := w.release(10); len(got) != 0 {
		t.Fatalf("released %v again", got)
	}
	events, err := w.Events(t.Context(), w.tenant.Key, soon.ID)
	must(t, err)
	if len(events) != 2 || events[0].Status != gateway.StatusScheduled || events[1].Status != gateway.StatusQueued {
		t.Errorf("history %+v", events)
	}
	if got := w.claim(f, late); got == nil || got.ID != late.ID { // accepted first
		t.Errorf("claimed %+v", got)
	}
	if m, err := w.Message(t.Context(), w.tenant.Key, far.ID); err != nil || m.Status != gateway.StatusScheduled {
		t.Errorf("%s, %v", m.Status, err)
	}
}

// testReleaseRace: several processes release, and the operator cancels, at the same time. Each message goes one way.
func testReleaseRace(t *testing.T, open Opener) {
	w := newWorld(t, open)
	const n = 60
	var list []*gateway.Message
	for range n {
		list = append(list, w.schedule(time.Minute))
	}
	w.clock.Advance(time.Minute)
	now := w.clock.Now()
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		released = map[string]int{}
		canceled = map[string]bool{}
	)
	for range 4 {
		wg.Go(func() {
			for range n {
				tickets, err := w.Release(t.Context(), now, 3, func(m *gateway.Message) []gateway.Event { return m.Release(now) })
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, ticket := range tickets {
					released[ticket.MessageID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for _, m := range slices.Backward(list) {
			before := gateway.Status("")
			after, err := w.Update(t.Context(), w.tenant.Key, m.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
				before = m.Status
				return m.Cancel(now)
			})
			if err != nil || after.Status != gateway.StatusCanceled {
				t.Errorf("cancel: %s, %v", after.Status, err)
			}
			mu.Lock()
			canceled[m.ID] = before == gateway.StatusScheduled
			mu.Unlock()
		}
	})
	wg.Wait()
	for _, m := range list {
		events, err := w.Events(t.Context(), w.tenant.Key, m.ID)
		must(t, err)
		want := []gateway.Status{gateway.StatusScheduled, gateway.StatusQueued, gateway.StatusCanceled}
		if canceled[m.ID] {
			want = []gateway.Status{gateway.StatusScheduled, gateway.StatusCanceled}
		}
		got := []gateway.Status{}
		for _, e := range events {
			got = append(got, e.Status)
		}
		if !slices.Equal(got, want) || released[m.ID] != len(want)-2 {
			t.Errorf("%s: history %v, released %d times", m.ID, got, released[m.ID])
		}
	}
}
