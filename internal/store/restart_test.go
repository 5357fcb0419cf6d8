package store_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// Postgres is killed again and again while messages are accepted and claimed. Whoever was told that something is stored
// finds it, whoever was told that it is not does not, nothing is half there, and the store heals by itself. A claim alone may be forgotten,
// which whoever holds it finds out before anything goes out.
func TestNothingIsHalfDoneWhenPostgresIsKilled(t *testing.T) {
	t.Parallel()
	const callers, kills = 8, 4
	server := services.PostgresServer(t)
	s := open(t, server.URL, store.Options{})
	tenant := newTenant(t, s, "algo")
	f := lease(t, s, "worker", time.Hour)

	stop := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(stop) }) }
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	type told struct {
		id  string
		err error
	}
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		accepted []told
		claimed  = map[string]bool{}
	)
	defer func() { end(); wg.Wait() }() // also when the test gives up
	for caller := range callers {
		wg.Go(func() {
			for n := 0; !stopped(); n++ {
				m := message(tenant, (caller+1)*100_000+n)
				err := s.Accept(t.Context(), []*gateway.Message{m}, nil)
				if err != nil && gateway.CodeOf(err) != gateway.CodeUnavailable {
					t.Errorf("accepting: %v", err)
				}
				mu.Lock()
				accepted = append(accepted, told{m.ID, err})
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for !stopped() {
			mu.Lock()
			id := ""
			if len(accepted) > 0 {
				id = accepted[rand.IntN(len(accepted))].id
			}
			mu.Unlock()
			m, err := s.Claim(t.Context(), f, gateway.Ticket{TenantKey: tenant.Key, MessageID: id, Lane: gateway.PriorityNormal}, begin("worker"))
			if err != nil && gateway.CodeOf(err) != gateway.CodeUnavailable {
				t.Errorf("claiming: %v", err)
			}
			if m == nil || err != nil {
				continue
			}
			mu.Lock()
			claimed[m.ID] = true
			mu.Unlock()
		}
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, a := range accepted {
			if a.err == nil {
				n++
			}
		}
		return n
	}
	for range kills {
		before := count()
		eventually(t, "work goes on", func() bool { return count() > before+50 })
		server.Kill()
		server.Start(t)
	}
	before := count()
	eventually(t, "work goes on", func() bool { return count() > before+50 })
	end()
	wg.Wait()

	failed := 0
	for _, a := range accepted {
		events, err := s.Events(t.Context(), tenant.Key, a.id)
		if (a.err == nil) != (err == nil) {
			t.Errorf("%s: told %v, found %v", a.id, a.err, err)
		}
		if err == nil && len(events) == 0 {
			t.Errorf("%s has no history", a.id)
		}
		if a.err != nil {
			failed++
		}
	}
	inHand := 0
	list, err := s.Writer().QueryContext(t.Context(), `SELECT id FROM messages WHERE in_flight = 'worker'`)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	for list.Next() {
		var id string
		if err := list.Scan(&id); err != nil {
			t.Fatal(err)
		}
		if inHand++; !claimed[id] {
			t.Errorf("%s is in a hand that does not know of it", id)
		}
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	forgotten := 0
	for id := range claimed {
		m, err := s.Message(t.Context(), tenant.Key, id)
		events, eventsErr := s.Events(t.Context(), tenant.Key, id)
		if err != nil || eventsErr != nil {
			t.Fatal(err, eventsErr)
		}
		tx, err := s.Writer().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		held := s.CheckClaimIn(t.Context(), tx, f, gateway.Claim{MessageID: id, Attempt: 1})
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Status == gateway.StatusSending && m.InFlight == "worker" && m.Attempts == 1 && len(events) == 2 && held == nil:
		case m.Status == gateway.StatusQueued && m.InFlight == "" && m.Attempts == 0 && len(events) == 1 && errors.Is(held, gateway.ErrClaimLost):
			forgotten++
		default:
			t.Errorf("%s was claimed and is half there: %+v, %d events, its claim: %v", id, m, len(events), held)
		}
	}
	if inHand+forgotten != len(claimed) {
		t.Errorf("%d claimed, %d in hand, %d forgotten", len(claimed), inHand, forgotten)
	}
	var holes int
	err = s.Writer().QueryRowContext(t.Context(), `SELECT MAX(seq) - COUNT(*) FROM messages`).Scan(&holes)
	if err != nil || holes < 0 {
		t.Errorf("%d numbers are missing, %v", holes, err)
	}
	t.Logf("%d accepted, %d claimed, %d claims forgotten, %d told of a failure, %d numbers left out", count(), inHand, forgotten, failed, holes)
}

func TestPostgresThatIsAwayIsSaidToBe(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	s := open(t, server.URL, store.Options{})
	tenant := newTenant(t, s, "algo")
	server.Stop()
	for what, do := range map[string]func() error{
		"ping":    func() error { return s.Ping(t.Context()) },
		"read":    func() error { _, err := s.Tenant(t.Context(), "algo"); return err },
		"accept":  func() error { return s.Accept(t.Context(), []*gateway.Message{message(tenant, 1)}, nil) },
		"setting": func() error { return s.SetSetting(t.Context(), "x", "y") },
		"fence":   func() error { return s.CheckFence(t.Context(), gateway.Fence{TenantKey: tenant.Key}) },
	} {
		if err := do(); gateway.CodeOf(err) != gateway.CodeUnavailable || errors.Is(err, gateway.ErrFenced) {
			t.Errorf("%s: %v", what, err)
		}
	}
	server.Start(t)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	accept(t, s, message(tenant, 1))
}
