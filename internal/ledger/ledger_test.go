package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
)

const (
	number = "4915550000001@s.whatsapp.net"
	lid    = "777@lid"
	own    = "4915559999999@s.whatsapp.net"
)

// world is a ledger over a real store with one tenant, whose session "worker" owns.
type world struct {
	*fakeclock.Clock
	*ledger.Ledger
	t      *testing.T
	store  *store.Store
	tenant gateway.Tenant
	fence  gateway.Fence
	made   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, Clock: fakeclock.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	var err error
	w.store, err = store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{Clock: w.Now})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.tenant, err = w.store.CreateTenant(t.Context(), "algo", "")
	must(t, err)
	w.fence = w.acquire("worker")
	w.Ledger = ledger.New(w.store, w.Now)
	return w
}

func (w *world) acquire(owner string) gateway.Fence {
	w.t.Helper()
	sessions, err := w.store.AcquireSessions(w.t.Context(), owner, time.Minute, 10)
	must(w.t, err)
	if len(sessions) != 1 {
		w.t.Fatalf("%s acquired %d sessions", owner, len(sessions))
	}
	return gateway.Fence{TenantKey: sessions[0].TenantKey, Owner: owner, Epoch: sessions[0].Epoch}
}

func (w *world) accept(change func(*gateway.Message)) *gateway.Message {
	w.t.Helper()
	w.made++
	m := &gateway.Message{
		ID: fmt.Sprintf("m%03d", w.made), TenantKey: w.tenant.Key, TenantID: w.tenant.ID, To: "4915550000001",
		Type: gateway.TypeText, Text: "hello", Priority: gateway.PriorityNormal, WhatsAppID: fmt.Sprintf("3EB0%03d", w.made),
		Status: gateway.StatusQueued, CreatedAt: w.Now(), ExpiresAt: w.Now().Add(time.Hour),
	}
	if change != nil {
		change(m)
	}
	must(w.t, w.store.Accept(w.t.Context(), []*gateway.Message{m}, nil))
	return m
}

func (w *world) claim(m *gateway.Message) *gateway.Message {
	w.t.Helper()
	got, err := w.Claim(w.t.Context(), w.fence, ticket(m), w.fence.Owner)
	must(w.t, err)
	return got
}

func (w *world) record(m *gateway.Message, o gateway.Outcome) gateway.Message {
	w.t.Helper()
	got, err := w.Record(w.t.Context(), w.fence, m.ID, o)
	must(w.t, err)
	return got
}

func (w *world) read(m *gateway.Message) gateway.Message {
	w.t.Helper()
	got, err := w.store.Message(w.t.Context(), w.tenant.Key, m.ID)
	must(w.t, err)
	return got
}

func (w *world) history(m *gateway.Message) []gateway.Status {
	w.t.Helper()
	events, err := w.store.Events(w.t.Context(), w.tenant.Key, m.ID)
	must(w.t, err)
	var statuses []gateway.Status
	for _, e := range events {
		statuses = append(statuses, e.Status)
	}
	return statuses
}

func ticket(m *gateway.Message) gateway.Ticket {
	return gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}
}

func sent() gateway.Outcome {
	return gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &gateway.Sent{RecipientJID: number, RecipientLID: lid}}
}

func receipt(m *gateway.Message, kind gateway.ReceiptKind, sender string) gateway.Receipt {
	return gateway.Receipt{Kind: kind, StanzaIDs: []string{m.WhatsAppID}, Chat: sender, Sender: sender}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMessageGoesItsWholeWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	m := w.accept(nil)
	claimed := w.claim(m)
	if claimed == nil || claimed.Attempts != 1 || claimed.InFlight != "worker" {
		t.Fatalf("claimed %+v", claimed)
	}
	w.record(m, gateway.Outcome{
		Kind: gateway.OutcomeRetry, RetryAt: w.Now().Add(time.Second), Failure: gateway.Failure{Code: gateway.CodeTimeout, Message: "No answer."},
	})
	if again := w.claim(m); again != nil {
		t.Fatalf("claimed before its time: %+v", again)
	}
	w.Advance(time.Second)
	if again := w.claim(m); again == nil || again.Attempts != 2 {
		t.Fatalf("claimed %+v", again)
	}
	w.record(m, sent())
	must(t, w.Receipt(ctx, w.tenant.Key, []string{own}, receipt(m, gateway.ReceiptDelivered, lid)))
	must(t, w.Receipt(ctx, w.tenant.Key, []string{own}, receipt(m, gateway.ReceiptRead, number)))
	must(t, w.Receipt(ctx, w.tenant.Key, []string{own}, receipt(m, gateway.ReceiptDelivered, number)))
	if got := w.read(m); got.Status != gateway.StatusRead || got.RecipientJID != number || got.Error != nil || got.Attempts != 2 {
		t.Fatalf("ended as %+v", got)
	}
	want := []gateway.Status{"queued", "sending", "sending", "sending", "sent", "delivered", "read"}
	if got := w.history(m); !slices.Equal(got, want) {
		t.Fatalf("history %v, want %v", got, want)
	}
}

// A store that loses its answer: the change is on disk, the caller is told that it failed.
type forgetful struct {
	*store.Store
	lose int
}

var errLost = errors.New("the answer was lost")

func (f *forgetful) Update(ctx context.Context, tenantKey int64, id string, fence *gateway.Fence,
	apply func(*gateway.Message) ([]gateway.Event, error),
) (gateway.Message, error) {
	m, err := f.Store.Update(ctx, tenantKey, id, fence, apply)
	if f.lose > 0 {
		f.lose--
		return gateway.Message{}, errLost
	}
	return m, err
}

func TestRecordMayBeRepeatedAfterALostAnswer(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]gateway.Outcome{
		"sent":  sent(),
		"retry": {Kind: gateway.OutcomeRetry, Failure: gateway.Failure{Code: gateway.CodeTimeout}},
		"hold":  {Kind: gateway.OutcomeHold, Failure: gateway.Failure{Code: gateway.CodeReachOutLimited}},
		"wait":  {Kind: gateway.OutcomeWait},
		"end":   {Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := o
			o.RetryAt = w.Now().Add(time.Minute)
			m := w.accept(nil)
			w.claim(m)
			l := ledger.New(&forgetful{Store: w.store, lose: 1}, w.Now)
			if _, err := l.Record(t.Context(), w.fence, m.ID, o); !errors.Is(err, errLost) {
				t.Fatalf("got %v", err)
			}
			first, history := w.read(m), w.history(m)
			w.Advance(time.Second)
			got, err := l.Record(t.Context(), w.fence, m.ID, o)
			must(t, err)
			if got.Status != first.Status || got.Attempts != first.Attempts || got.Phase != first.Phase ||
				!got.UpdatedAt.Equal(first.UpdatedAt) || !slices.Equal(w.history(m), history) {
				t.Fatalf("recorded %+v, again %+v", first, got)
			}
		})
	}
}

func TestRecordAfterTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	one, two := w.accept(nil), w.accept(nil)
	w.claim(one)
	w.claim(two)
	must(t, w.store.ReleaseSessions(ctx, "worker"))
	old := w.fence
	w.fence = w.acquire("heir")

	// Not taken over yet: the row is still in the old worker's hands, so its word counts.
	if got, err := w.Record(ctx, old, one.ID, gateway.Outcome{Kind: gateway.OutcomeWait}); err != nil || got.Phase != gateway.PhaseOffline {
		t.Fatalf("recorded %+v, %v", got, err)
	}
	got, err := w.Abandon(ctx, w.fence, two.ID, "heir")
	must(t, err)
	if got.Deaths != 1 || !got.Uncertain || got.Status != gateway.StatusSending {
		t.Fatalf("taken over as %+v", got)
	}
	if _, err := w.Abandon(ctx, old, two.ID, "worker"); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("the old worker takes over: %v", err)
	}
	// Taken over: only its proof does.
	if got, err := w.Record(ctx, old, two.ID, gateway.Outcome{Kind: gateway.OutcomePermanent}); err != nil || got.Status != gateway.StatusSending {
		t.Fatalf("recorded %+v, %v", got, err)
	}
	if got, err := w.Record(ctx, old, two.ID, sent()); err != nil || got.Status != gateway.StatusSent {
		t.Fatalf("recorded %+v, %v", got, err)
	}
	if _, err := w.Claim(ctx, old, ticket(one), "worker"); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("the old worker claims: %v", err)
	}
	if _, err := w.Claim(ctx, w.fence, ticket(one), "worker"); err == nil {
		t.Fatal("claimed for a process that does not own the lease")
	}
}

// A message that two processes died of is not claimed beside others, and does not let newer ones pass either.
func TestClaimAfterTwoDeathsMustBeAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	first, next := w.accept(nil), w.accept(nil)
	for death := 1; death <= gateway.AloneAfter; death++ {
		w.claim(first)
		must(t, w.store.ReleaseSessions(ctx, w.fence.Owner))
		w.fence = w.acquire(fmt.Sprintf("heir %d", death))
		if got, err := w.Abandon(ctx, w.fence, first.ID, w.fence.Owner); err != nil || got.Deaths != death {
			t.Fatalf("taken over as %+v, %v", got, err)
		}
	}
	for _, m := range []*gateway.Message{first, next} {
		if got, err := w.Claim(ctx, w.fence, ticket(m), w.fence.Owner); got != nil || !errors.Is(err, gateway.ErrNotAlone) {
			t.Fatalf("claimed %+v, %v", got, err)
		}
	}
	got, err := w.ClaimAlone(ctx, w.fence, ticket(next), w.fence.Owner)
	if err != nil || got == nil || got.ID != first.ID {
		t.Fatalf("claimed %+v, %v", got, err)
	}
	must(t, w.store.ReleaseSessions(ctx, w.fence.Owner))
	w.fence = w.acquire("the last heir")
	if got, err := w.Abandon(ctx, w.fence, first.ID, w.fence.Owner); err != nil || got.Status != gateway.StatusFailed || got.Error.Code != gateway.CodePoison {
		t.Fatalf("taken over as %+v, %v", got, err)
	}
	w.claim(next)
}

func TestClaimPassesOverWhatIsTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var late []*gateway.Message
	for range 3 {
		late = append(late, w.accept(func(m *gateway.Message) { m.ExpiresAt = w.Now().Add(time.Minute) }))
	}
	m := w.accept(nil)
	w.Advance(2 * time.Minute)
	if got := w.claim(m); got == nil || got.ID != m.ID {
		t.Fatalf("claimed %+v", got)
	}
	for _, l := range late {
		if got := w.read(l); got.Status != gateway.StatusExpired || got.Attempts != 0 || got.InFlight != "" {
			t.Fatalf("too late: %+v", got)
		}
	}
	last := w.accept(func(m *gateway.Message) { m.ExpiresAt = w.Now().Add(time.Minute) })
	w.Advance(time.Minute)
	if got := w.claim(last); got != nil {
		t.Fatalf("claimed what is too late: %+v", got)
	}
	must(t, w.Expire(t.Context(), w.tenant.Key, m.ID)) // in hand, and not late: stays
	if got := w.read(m); got.Status != gateway.StatusSending {
		t.Fatalf("%+v", got)
	}
}

func TestCancelIsIdempotentAndLosesToAClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	m := w.accept(nil)
	for range 2 {
		if got, err := w.Cancel(ctx, w.tenant.Key, m.ID); err != nil || got.Status != gateway.StatusCanceled {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got := w.history(m); !slices.Equal(got, []gateway.Status{"queued", "canceled"}) {
		t.Fatalf("history %v", got)
	}
	claimed := w.accept(nil)
	w.claim(claimed)
	if _, err := w.Cancel(ctx, w.tenant.Key, claimed.ID); gateway.CodeOf(err) != gateway.CodeNotCancelable {
		t.Fatalf("got %v", err)
	}
	if _, err := w.Cancel(ctx, w.tenant.Key, "unknown"); gateway.CodeOf(err) != gateway.CodeNotFound {
		t.Fatalf("got %v", err)
	}
	if _, err := w.Cancel(ctx, w.tenant.Key+1, m.ID); gateway.CodeOf(err) != gateway.CodeNotFound {
		t.Fatalf("another tenant got %v", err)
	}

	// Racing: exactly one of the two wins.
	for range 30 {
		m := w.accept(nil)
		var wg sync.WaitGroup
		var cancelErr, claimErr error
		var got *gateway.Message
		wg.Go(func() { _, cancelErr = w.Cancel(ctx, w.tenant.Key, m.ID) })
		wg.Go(func() { got, claimErr = w.Claim(ctx, w.fence, ticket(m), "worker") })
		wg.Wait()
		must(t, claimErr)
		if (cancelErr == nil) == (got != nil) {
			t.Fatalf("cancel says %v, claim got %v", cancelErr, got)
		}
	}
}

func TestReceiptsOfStrangersMoveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	m := w.accept(nil)
	w.claim(m)
	w.record(m, sent())
	for _, r := range []gateway.Receipt{
		receipt(m, gateway.ReceiptRead, "5@lid"),
		receipt(m, gateway.ReceiptRead, own),
		receipt(m, "sender", number),
		receipt(m, "read-self", number),
		{Kind: gateway.ReceiptRead, StanzaIDs: []string{"3EB0NEVER"}, Chat: number, Sender: number},
		{Kind: gateway.ReceiptRead, StanzaIDs: []string{m.WhatsAppID}, Chat: "1-2@g.us", Sender: number},
	} {
		must(t, w.Receipt(ctx, w.tenant.Key, []string{own}, r))
		if got := w.read(m); got.Status != gateway.StatusSent || got.DeliveredCount != 0 {
			t.Errorf("%+v moved it to %s", r, got.Status)
		}
	}
	must(t, w.Receipt(ctx, w.tenant.Key+1, []string{own}, receipt(m, gateway.ReceiptRead, number)))
	if got := w.read(m); got.Status != gateway.StatusSent {
		t.Errorf("another tenant's receipt moved it to %s", got.Status)
	}
}

// The LID of a recipient is known for certain only when the attempt is recorded; its receipt may come before.
func TestReceiptWaitsForTheRecipientsNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept(nil)
	w.claim(m)
	done := make(chan error, 1)
	go func() {
		done <- w.Receipt(t.Context(), w.tenant.Key, []string{own}, receipt(m, gateway.ReceiptDelivered, lid))
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(120 * time.Millisecond):
	}
	w.record(m, sent())
	must(t, <-done)
	if got := w.read(m); got.Status != gateway.StatusDelivered {
		t.Fatalf("%+v", got)
	}

	// Nobody records it: the receipt must come again, so it is not accepted.
	stuck := w.accept(nil)
	w.claim(stuck)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.Receipt(ctx, w.tenant.Key, []string{own}, receipt(stuck, gateway.ReceiptDelivered, lid)); err == nil {
		t.Fatal("a receipt was accepted that changed nothing")
	}
}

func TestGroupCountsItsMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept(func(m *gateway.Message) { m.To = "1-2@g.us" })
	w.claim(m)
	w.record(m, gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &gateway.Sent{RecipientJID: "1-2@g.us", Missed: []string{"9@lid"}}})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			member := fmt.Sprintf("%d@lid", i%10)
			r := receipt(m, []gateway.ReceiptKind{gateway.ReceiptDelivered, gateway.ReceiptRead}[i/10%2], member)
			r.Chat = "1-2@g.us"
			if err := w.Receipt(t.Context(), w.tenant.Key, []string{own}, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := w.read(m); got.Status != gateway.StatusRead || got.DeliveredCount != 10 || got.ReadCount != 10 {
		t.Fatalf("%s, delivered %d, read %d", got.Status, got.DeliveredCount, got.ReadCount)
	}
}

// Two clocks that differ must not look like a lost lease, which would stop the tenant.
func TestClaimThatIsNotDueByOurClockIsNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept(nil)
	w.claim(m)
	w.record(m, gateway.Outcome{Kind: gateway.OutcomeRetry, RetryAt: w.Now().Add(time.Second)})
	slow := ledger.New(w.store, func() time.Time { return w.Now().Add(-time.Minute) })
	w.Advance(time.Second)
	if got, err := slow.Claim(t.Context(), w.fence, ticket(m), w.fence.Owner); got != nil || err != nil {
		t.Fatalf("got %+v, %v", got, err)
	}
}
