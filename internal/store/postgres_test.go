package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// patient is for the URL of a Postgres in which a test holds a transaction open while it does other things: the server ends one after five seconds
// as the hub wants it, which a machine may stand still for.
const patient = "&idle_in_transaction_session_timeout=60s"

func newTenant(t *testing.T, s *store.Store, id string) gateway.Tenant {
	t.Helper()
	tenant, err := s.CreateTenant(t.Context(), id, "")
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

func accept(t *testing.T, s *store.Store, msgs ...*gateway.Message) {
	t.Helper()
	if err := s.Accept(t.Context(), msgs, nil); err != nil {
		t.Fatal(err)
	}
}

func lease(t *testing.T, s *store.Store, owner string, ttl time.Duration) gateway.Fence {
	t.Helper()
	sessions, err := s.AcquireSessions(t.Context(), owner, ttl, 1)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("acquired %v, %v", sessions, err)
	}
	return sessions[0].Fence()
}

func begin(instance string) func(*gateway.Message) ([]gateway.Event, error) {
	return func(m *gateway.Message) ([]gateway.Event, error) { return m.Begin(time.Now(), instance) }
}

// eventually polls a condition for at most a minute: the machine may be shared.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestPostgresProcessesThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	url := services.Postgres(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), url, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Accept(t.Context(), nil, nil); gateway.CodeOf(err) != gateway.CodeUnavailable {
				t.Errorf("a closed store answers %v", err)
			}
			if err := s.SetSetting(t.Context(), "x", "y"); gateway.CodeOf(err) != gateway.CodeUnavailable {
				t.Errorf("a closed store answers %v", err)
			}
		})
	}
	wg.Wait()
}

func TestExclusiveWorkIsDoneByOneProcessAtATime(t *testing.T) {
	t.Parallel()
	url := services.Postgres(t)
	var running, ran atomic.Int32
	var wg sync.WaitGroup
	for range 3 {
		s := open(t, url, store.Options{})
		for range 3 {
			wg.Go(func() {
				err := s.Exclusive(t.Context(), func(ctx context.Context) error {
					if running.Add(1) > 1 {
						t.Error("two at a time")
					}
					defer running.Add(-1)
					ran.Add(1)
					return s.Ping(ctx)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if ran.Load() != 9 {
		t.Fatalf("%d ran", ran.Load())
	}
}

func TestPostgresSessionsAreDurableAndBounded(t *testing.T) {
	t.Parallel()
	// A server, or the URL, may say that commits need not be on disk; the hub does not have it.
	s := open(t, services.Postgres(t)+"&synchronous_commit=off&lock_timeout=7s", store.Options{Conns: 9})
	for name, want := range map[string]string{
		"synchronous_commit": "on", "lock_timeout": "7s", "idle_in_transaction_session_timeout": "5s", "application_name": "wapro-hub",
	} {
		var got string
		if err := s.Writer().QueryRowContext(t.Context(), "SHOW "+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if s.Dialect() != "pgx" || s.Writer().Stats().MaxOpenConnections != 9 {
		t.Errorf("dialect %s, %d connections", s.Dialect(), s.Writer().Stats().MaxOpenConnections)
	}
}

// Two processes accept for the same tenants at once: the counters have neither holes nor doubles, and follow the commits.
func TestAcceptsOfManyProcessesShareCountersOfTenants(t *testing.T) {
	t.Parallel()
	const callers, each = 12, 20
	url := services.Postgres(t)
	processes := []*store.Store{open(t, url, store.Options{}), open(t, url, store.Options{})}
	tenants := []gateway.Tenant{newTenant(t, processes[0], "a"), newTenant(t, processes[0], "b"), newTenant(t, processes[0], "c")}
	var wg sync.WaitGroup
	for caller := range callers {
		s, tenant := processes[caller%2], tenants[caller%3]
		wg.Go(func() {
			last := int64(0)
			for i := range each {
				m := message(tenant, caller*1000+i)
				if err := s.Accept(t.Context(), []*gateway.Message{m}, nil); err != nil {
					t.Error(err)
					return
				}
				if m.Seq <= last {
					t.Errorf("seq %d after %d", m.Seq, last)
				}
				last = m.Seq
			}
		})
	}
	wg.Wait()
	for _, tenant := range tenants {
		var n, highest, counter int64
		err := processes[0].Writer().QueryRowContext(t.Context(), `SELECT COUNT(*), MAX(m.seq), MAX(t.last_seq)
			FROM messages m JOIN tenants t ON t.tenant_key = m.tenant_key WHERE t.tenant_key = $1`, tenant.Key).Scan(&n, &highest, &counter)
		if err != nil || n != callers/3*each || highest != n || counter != n {
			t.Errorf("%d messages of %s up to %d, counted %d, %v", n, tenant.ID, highest, counter, err)
		}
	}
}

// A transaction that depends on a lease holds it: another worker takes it over after the commit, not in between. A worker
// that stands still in the middle of one is thrown out by the server.
func TestLeaseIsNotTakenInTheMiddleOfATransaction(t *testing.T) {
	t.Parallel()
	url := services.Postgres(t)
	slow, heir := open(t, url+"&idle_in_transaction_session_timeout=20s", store.Options{}), open(t, url, store.Options{})
	newTenant(t, slow, "algo")
	f := lease(t, slow, "slow", 5*time.Second) // time for a slow machine to begin, and then to see that nobody takes it
	tx, err := slow.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.CheckFenceIn(t.Context(), tx, f); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lease runs out", func() bool { return errors.Is(slow.CheckFence(t.Context(), f), gateway.ErrFenced) })
	if taken, err := heir.AcquireSessions(t.Context(), "heir", time.Minute, 1); err != nil || len(taken) != 0 {
		t.Fatalf("taken while it was relied on: %v, %v", taken, err)
	}
	eventually(t, "the heir takes over", func() bool {
		taken, err := heir.AcquireSessions(t.Context(), "heir", time.Minute, 1)
		return err == nil && len(taken) == 1 && taken[0].Epoch == f.Epoch+1
	})
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO settings (name, value) VALUES ('ratchet', 'rolled back')`); err == nil {
		t.Fatal("the paused transaction went on")
	}
	if err := tx.Rollback(); err == nil {
		t.Log("rolled back on a connection that is gone")
	}
	again, err := slow.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Rollback()
	if err := slow.CheckFenceIn(t.Context(), again, f); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("the old lease holds: %v", err)
	}
}

// Receipts name messages in any order, while those are claimed, canceled and deleted: nobody is told of a deadlock.
func TestWritersInEachOthersWayAreTriedAgain(t *testing.T) {
	t.Parallel()
	const messages, rounds = 8, 8
	url := services.Postgres(t)
	a, b := open(t, url, store.Options{}), open(t, url, store.Options{})
	tenant := newTenant(t, a, "algo")
	f := lease(t, a, "worker", time.Minute)
	var stanzas []string
	for n := range messages {
		m := message(tenant, n)
		m.To = "12036304@g.us"
		accept(t, a, m)
		stanzas = append(stanzas, m.WhatsAppID)
	}
	touch := func(m *gateway.Message) ([]gateway.Event, error) { m.Attempts++; return nil, nil }
	var wg sync.WaitGroup
	for round := range rounds {
		for i, s := range []*store.Store{a, b} {
			wg.Go(func() {
				order := append(append([]string{}, stanzas[(round+i)%messages:]...), stanzas...)
				r := gateway.Receipt{Kind: gateway.ReceiptRead, StanzaIDs: order, Sender: fmt.Sprint(round), At: time.Now()}
				err := s.Receive(t.Context(), tenant.Key, r, func(m *gateway.Message, _ gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
					m.Attempts++
					return gateway.Confirmed{Delivered: true, Read: true}, nil, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := s.Update(t.Context(), tenant.Key, fmt.Sprintf("m%06d", round%messages), &f, touch); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := s.UpdateSession(t.Context(), f, func(v *gateway.Session) { v.Restriction.Count++ }); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := s.RenewSessions(t.Context(), "worker", time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	session, err := a.Session(t.Context(), tenant.Key)
	if err != nil || session.Restriction.Count != 2*rounds {
		t.Fatalf("%d of %d changes of the session are left, %v", session.Restriction.Count, 2*rounds, err)
	}
	attempts := 0
	list, err := a.Messages(t.Context(), tenant.Key, gateway.MessageFilter{})
	for _, m := range list {
		attempts += m.Attempts
	}
	if want := 2*rounds*messages + 2*rounds; err != nil || attempts != want {
		t.Fatalf("%d of %d changes of messages are left, %v", attempts, want, err)
	}
}

// Deadlocks that the order of locks does not exclude are ended by the server, and the loser is run again.
func TestDeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t)+patient, store.Options{})
	tenant := newTenant(t, s, "algo")
	accept(t, s, message(tenant, 1), message(tenant, 2))
	// Somebody else locks the second, waits for the receipt to lock the first, and then wants that too.
	other, err := s.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	lock := func(id string) error {
		_, err := other.ExecContext(t.Context(), `SELECT 1 FROM messages WHERE id = $1 FOR UPDATE`, id)
		return err
	}
	if err := lock("m000002"); err != nil {
		t.Fatal(err)
	}
	runs := atomic.Int32{}
	first := make(chan struct{})
	received := make(chan error, 1)
	go func() {
		r := gateway.Receipt{Kind: gateway.ReceiptRead, StanzaIDs: []string{"3EB0000002", "3EB0000001"}, Sender: "x", At: time.Now()}
		received <- s.Receive(t.Context(), tenant.Key, r, func(m *gateway.Message, _ gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
			if m.ID == "m000001" && runs.Add(1) == 1 {
				close(first)
			}
			m.Attempts++
			return gateway.Confirmed{}, nil, nil
		})
	}()
	<-first
	err = lock("m000001") // the server ends one of the two
	if err == nil {
		err = other.Commit()
	} else {
		err = other.Rollback()
	}
	if err != nil && !errors.Is(err, sql.ErrTxDone) {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	list, err := s.Messages(t.Context(), tenant.Key, gateway.MessageFilter{})
	if err != nil || len(list) != 2 || list[0].Attempts != 1 || list[1].Attempts != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
}

func TestTextThatPostgresCannotStoreIsTheCallersFault(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{})
	tenant := newTenant(t, s, "algo")
	bad, good := message(tenant, 1), message(tenant, 2)
	bad.Reference = "a zero \x00"
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Accept(t.Context(), []*gateway.Message{bad}, nil); gateway.CodeOf(err) != gateway.CodeInvalidBody {
			t.Errorf("got %v", err)
		}
	})
	wg.Go(func() {
		if err := s.Accept(t.Context(), []*gateway.Message{good}, nil); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
}

// More transactions than connections: they wait for their turn, and a check of the lease inside of one needs no other
// connection.
func TestPoolIsNotHeldByThoseWhoWaitForIt(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{Conns: 6})
	newTenant(t, s, "algo")
	f := lease(t, s, "worker", time.Minute)
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			tx, err := s.Writer().BeginTx(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer tx.Rollback()
			if err := s.CheckFenceIn(t.Context(), tx, f); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if opened := s.Writer().Stats().OpenConnections; opened > 6 {
		t.Fatalf("%d connections", opened)
	}
}

// A long transaction that depends on a lease does not keep its owner from renewing it, but does keep others from taking it.
func TestLeaseIsRenewedBesideATransactionThatDependsOnIt(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t)+patient, store.Options{})
	newTenant(t, s, "algo")
	f := lease(t, s, "worker", time.Hour)
	tx, err := s.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := s.CheckFenceIn(t.Context(), tx, f); err != nil {
		t.Fatal(err)
	}
	if held, err := s.RenewSessions(t.Context(), "worker", time.Hour); err != nil || len(held) != 1 {
		t.Fatalf("renewed %v, %v", held, err)
	}
	if err := s.ReleaseSessions(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	if taken, err := s.AcquireSessions(t.Context(), "other", time.Hour, 1); err != nil || len(taken) != 0 {
		t.Fatalf("taken in the middle of a transaction that depends on it: %v, %v", taken, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if taken, err := s.AcquireSessions(t.Context(), "other", time.Hour, 1); err != nil || len(taken) != 1 {
		t.Fatalf("taken %v, %v", taken, err)
	}
}

// What is added to a tenant that is being deleted would keep the tenant's row, and with it every later opening of the database.
func TestOptOutsAreNotAddedBesideADeletion(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t)+patient, store.Options{})
	tenant := newTenant(t, s, "algo")
	tx, err := s.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `UPDATE tenants SET deleted_at = 1`); err != nil {
		t.Fatal(err)
	}
	added := make(chan error, 1)
	go func() {
		_, err := s.AddOptOuts(t.Context(), tenant.Key, []gateway.OptOut{{Recipient: "4915550000001", Source: gateway.OptOutByAPI, CreatedAt: time.Now()}})
		added <- err
	}()
	eventually(t, "it waits for the deletion", func() bool {
		var waiting int
		err := s.Writer().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting == 1 || len(added) == 1
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-added; !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
		t.Fatalf("added to a tenant that is gone: %v", err)
	}
}

// The batches of a bulk are not flushed one by one, so a server that breaks down and is back at once may have lost one: then the bulk
// is not accepted.
func TestABulkThatLostAMessageIsNotAccepted(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{})
	tenant := newTenant(t, s, "algo")
	b := &gateway.Bulk{ID: "bulk", TenantKey: tenant.Key, Lane: gateway.PriorityBulk, Rows: 3, Total: 3, MaxFailureRate: 1, CreatedAt: time.Now()}
	if err := s.CreateBulk(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var staged []*gateway.Message
	for n := range b.Rows {
		m := message(tenant, n)
		m.Priority, m.BulkID, m.Seq = b.Lane, b.ID, b.FirstSeq+int64(n)
		staged = append(staged, m)
	}
	if err := s.StageBulk(t.Context(), b, staged); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Writer().ExecContext(t.Context(), `DELETE FROM messages WHERE id = $1`, staged[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := s.PublishBulk(t.Context(), b, nil); err == nil {
		t.Error("it was accepted")
	}
	if _, err := s.Bulk(t.Context(), tenant.Key, b.ID); !errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}) {
		t.Errorf("it is shown: %v", err)
	}
	if err := s.StageBulk(t.Context(), b, staged[1:2]); err != nil {
		t.Fatal(err)
	}
	if err := s.PublishBulk(t.Context(), b, nil); err != nil {
		t.Error(err)
	}
}
