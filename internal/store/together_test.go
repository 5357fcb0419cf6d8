package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

const together = 12 // messages, each of a tenant of its own

// crowd is a store with messages of many tenants, whose leases one worker has.
type crowd struct {
	*store.Store
	t        *testing.T
	messages []*gateway.Message
	fences   []gateway.Fence
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{Store: open(t, services.Postgres(t)+patient, store.Options{}), t: t}
	for n := range together {
		tenant := newTenant(t, c.Store, fmt.Sprint("tenant", n))
		m := message(tenant, n)
		accept(t, c.Store, m)
		c.messages = append(c.messages, m)
	}
	taken, err := c.AcquireSessions(t.Context(), "worker", time.Hour, together)
	if err != nil || len(taken) != together {
		t.Fatalf("took %d sessions, %v", len(taken), err)
	}
	for _, v := range taken {
		c.fences = append(c.fences, v.Fence())
	}
	return c
}

// atOnce calls do for each of n, and lets what they write begin when all of it waits.
func (c *crowd) atOnce(n int, do func(i int) error) []error {
	c.t.Helper()
	waiting, release := c.HoldQueues()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	eventually(c.t, "all wait", func() bool {
		changes, claims, held := waiting()
		return changes+claims+held == n
	})
	release()
	wg.Wait()
	return errs
}

func (c *crowd) claim(i int) (*gateway.Message, error) {
	return c.Claim(c.t.Context(), c.fences[i], gateway.Ticket{TenantKey: c.fences[i].TenantKey, MessageID: c.messages[i].ID, Lane: gateway.PriorityNormal}, begin("worker"))
}

func (c *crowd) claimAll() {
	c.t.Helper()
	for i := range c.messages {
		if m, err := c.claim(i); err != nil || m == nil {
			c.t.Fatalf("claimed %v, %v", m, err)
		}
	}
}

func (c *crowd) sent(i int) error {
	_, err := c.Update(c.t.Context(), c.messages[i].TenantKey, c.messages[i].ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		return m.Apply(time.Now(), "worker", gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &gateway.Sent{RecipientJID: "4915550000001@s.whatsapp.net"}}), nil
	})
	return err
}

func (c *crowd) receipt(i int, kind gateway.ReceiptKind) error {
	r := gateway.Receipt{Kind: kind, StanzaIDs: []string{c.messages[i].WhatsAppID}, Chat: "x", Sender: "x", At: time.Now()}
	return c.Receive(c.t.Context(), c.messages[i].TenantKey, r, func(m *gateway.Message, had gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
		has, events := m.Receive(time.Now(), r, had)
		return has, events, nil
	})
}

func (c *crowd) stored(i int) gateway.Message {
	c.t.Helper()
	m, err := c.Message(c.t.Context(), c.messages[i].TenantKey, c.messages[i].ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *crowd) history(i int) (list []gateway.Status) {
	c.t.Helper()
	events, err := c.Events(c.t.Context(), c.messages[i].TenantKey, c.messages[i].ID)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range events {
		list = append(list, e.Status)
	}
	return list
}

// transactions counts those that wrote the messages as they are.
func (c *crowd) transactions() (n int) {
	c.t.Helper()
	if err := c.Writer().QueryRowContext(c.t.Context(), `SELECT COUNT(DISTINCT xmin::text) FROM messages`).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func none(t *testing.T, errs []error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What waits at the same time is one transaction: claims, outcomes, and the outcome with the receipts of the same message, whatever came first, each with
// its row of history.
func TestChangesOfManyTenantsAreOneTransaction(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	none(t, c.atOnce(together, func(i int) error {
		m, err := c.claim(i)
		if err == nil && (m == nil || m.ID != c.messages[i].ID) {
			err = fmt.Errorf("claimed %v", m)
		}
		return err
	}))
	if n := c.transactions(); n != 1 {
		t.Errorf("the claims took %d transactions", n)
	}
	none(t, c.atOnce(3*together, func(n int) error {
		switch i := n / 3; n % 3 {
		case 0:
			return c.sent(i)
		case 1:
			return c.receipt(i, gateway.ReceiptDelivered)
		default:
			return c.receipt(i, gateway.ReceiptRead)
		}
	}))
	if n := c.transactions(); n != 1 {
		t.Errorf("outcomes and receipts took %d transactions", n)
	}
	for i := range c.messages {
		m, history := c.stored(i), c.history(i)
		if m.Status != gateway.StatusRead || m.InFlight != "" || m.RecipientJID == "" || m.DeliveredCount != 1 || m.ReadCount != 1 {
			t.Errorf("message %d is %+v", i, m)
		}
		rising := slices.IsSortedFunc(history, func(a, b gateway.Status) int {
			if a.CanMove(b) {
				return -1
			}
			return 1
		})
		if !rising || len(history) < 3 || history[1] != gateway.StatusSending || history[len(history)-1] != gateway.StatusRead {
			t.Errorf("the history of message %d is %v", i, history)
		}
	}
}

// A row that the database refuses fails alone.
func TestOneBadChangeFailsAloneAmongMany(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.claimAll()
	const bad = 5
	errs := c.atOnce(together, func(i int) error {
		if i != bad {
			return c.sent(i)
		}
		_, err := c.Update(t.Context(), c.messages[i].TenantKey, c.messages[i].ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
			return m.Apply(time.Now(), "worker", gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeMediaLost, Message: "a\x00b"}}), nil
		})
		return err
	})
	for i, err := range errs {
		want := gateway.StatusSent
		if i == bad {
			want = gateway.StatusSending
		}
		if m := c.stored(i); (err != nil) != (i == bad) || m.Status != want {
			t.Errorf("message %d is %s, %v", i, m.Status, err)
		}
	}
	if gateway.CodeOf(errs[bad]) != gateway.CodeInvalidBody {
		t.Errorf("the bad one failed with %v", errs[bad])
	}
	none(t, []error{c.sent(bad)})
}

// A claim whose lease is lost, or whose queue is paused, is none; those beside it are.
func TestOneLostLeaseFailsOneClaimAmongMany(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	// Known from a look before, so that only the claim itself can find out.
	for i := range c.messages {
		next := message(gateway.Tenant{Key: c.fences[i].TenantKey, ID: fmt.Sprint("tenant", i)}, 100+i)
		accept(t, c.Store, next)
		if m, err := c.claim(i); err != nil || m == nil {
			t.Fatalf("claimed %v, %v", m, err)
		}
		none(t, []error{c.sent(i)})
		c.messages[i] = next
	}
	const lost, paused = 3, 7
	closed := true
	if err := c.ReleaseSession(t.Context(), c.fences[lost]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetQueue(t.Context(), c.fences[paused].TenantKey, &closed, nil); err != nil {
		t.Fatal(err)
	}
	errs := c.atOnce(together, func(i int) error {
		m, err := c.claim(i)
		if err == nil && (m == nil || m.ID != c.messages[i].ID) {
			err = fmt.Errorf("claimed %v", m)
		}
		return err
	})
	for i, err := range errs {
		var want error
		switch i {
		case lost:
			want = gateway.ErrFenced
		case paused:
			want = gateway.ErrQueueClosed
		}
		if !errors.Is(err, want) || (c.stored(i).Status == gateway.StatusSending) != (want == nil) {
			t.Errorf("claim %d came to %v, the message is %s", i, err, c.stored(i).Status)
		}
	}
}

// Who holds the row of one tenant's message for long holds up nobody else.
func TestLockedMessageHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.claimAll()
	const locked = 2
	tx, err := c.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `SELECT 1 FROM messages WHERE id = $1 FOR UPDATE`, c.messages[locked].ID); err != nil {
		t.Fatal(err)
	}
	waiting, release := c.HoldQueues()
	first := make(chan error, 1)
	go func() { first <- c.sent(locked) }()
	eventually(t, "the outcome waits", func() bool { n, _, _ := waiting(); return n == 1 })
	release()
	for i := range 2 * locked {
		if i != locked {
			none(t, []error{c.sent(i), c.receipt(i, gateway.ReceiptDelivered)}) // behind it in the queue
		}
	}
	select {
	case err := <-first:
		t.Fatalf("a locked row was written: %v", err)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil || c.stored(locked).Status != gateway.StatusSent {
		t.Errorf("afterwards it is %s, %v", c.stored(locked).Status, err)
	}
}

// Writes under leases are one transaction; one whose lease or claim is lost writes nothing, one that is refused fails alone.
func TestWritesUnderLeasesAreOneTransaction(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.claimAll()
	if _, err := c.Writer().ExecContext(t.Context(), `CREATE TABLE kept (name TEXT PRIMARY KEY, content BYTEA NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	const statement = `{held}, given AS (INSERT INTO kept (name, content) SELECT t.name, t.content
			FROM unnest((SELECT $6::bigint[]), (SELECT $7::text[]), (SELECT $8::bytea[])) AS t (k, name, content) JOIN held USING (k))
		SELECT k FROM held`
	const lost, noClaim, refused = 1, 4, 8
	if err := c.ReleaseSession(t.Context(), c.fences[lost]); err != nil {
		t.Fatal(err)
	}
	write := func(except int) ([]bool, []error) {
		done := make([]bool, together)
		return done, c.atOnce(together, func(i int) (err error) {
			m := c.stored(i)
			claim := m.Claim()
			if i == noClaim {
				claim.Attempt++
			}
			content := []byte{1}
			if i == except {
				content = nil
			}
			done[i], err = c.ExecHeld(context.WithoutCancel(t.Context()), c.fences[i], claim, statement,
				[]string{fmt.Sprintf("%d of %d", i, except), fmt.Sprintf("%d of %d too", i, except)}, [][]byte{content, {2}})
			return err
		})
	}
	done, errs := write(-1)
	none(t, errs)
	var transactions, rows int
	if err := c.Writer().QueryRowContext(t.Context(), `SELECT COUNT(DISTINCT xmin::text), COUNT(*) FROM kept`).Scan(&transactions, &rows); err != nil {
		t.Fatal(err)
	}
	if transactions != 1 || rows != 2*(together-2) || done[lost] || done[noClaim] {
		t.Errorf("%d rows in %d transactions, done: %v", rows, transactions, done)
	}
	done, errs = write(refused)
	for i := range done {
		if want := i != lost && i != noClaim && i != refused; done[i] != want || (errs[i] != nil) != (i == refused) {
			t.Errorf("beside one that is refused, write %d is done: %t, %v", i, done[i], errs[i])
		}
	}

	// Nor does anybody wait for long behind a row that another transaction holds: the callers are told to write by themselves.
	tx, err := c.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO kept (name, content) VALUES ('0 of 100', '')`); err != nil {
		t.Fatal(err)
	}
	done, errs = write(100)
	none(t, errs)
	if slices.Contains(done, true) {
		t.Errorf("written beside a row that is held: %v", done)
	}
}
