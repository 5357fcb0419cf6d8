package ledger_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestStoredStatusNeverMovesBackwards does to a stored message whatever may be done to it, in any order and more than once: the row
// never goes back, its history ends where it is, and its attempts are those that were made.
func TestStoredStatusNeverMovesBackwards(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		clock := fakeclock.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		s, err := store.Open(t.Context(), url, store.Options{Clock: clock.Now})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		made := 0
		rapid.Check(t, func(r *rapid.T) {
			made++ // a tenant for each message: a ticket claims the oldest of its tenant
			l := &life{T: r, testing: t, store: s, ledger: ledger.New(s, clock.Now), Clock: clock}
			l.begin(fmt.Sprint("tenant", made))
			for range rapid.IntRange(1, 12).Draw(r, "steps") {
				clock.Advance(time.Duration(rapid.Int64Range(0, 900).Draw(r, "seconds")) * time.Second)
				l.step()
			}
		})
	})
}

// life is one message and the worker whose turn it is.
type life struct {
	*rapid.T
	*fakeclock.Clock
	testing *testing.T
	store   *store.Store
	ledger  *ledger.Ledger
	tenant  gateway.Tenant
	fence   gateway.Fence
	before  []gateway.Fence // of workers that lost the lease
	row     gateway.Message
}

func (l *life) must(err error) {
	if err != nil {
		l.Fatal(err)
	}
}

func (l *life) begin(id string) {
	var err error
	l.tenant, err = l.store.CreateTenant(l.testing.Context(), id, "")
	l.must(err)
	l.acquire()
	now := l.Now()
	m := &gateway.Message{
		ID: id, TenantKey: l.tenant.Key, TenantID: id, To: "4915550000001", Type: gateway.TypeText, Text: "hello",
		Priority: gateway.PriorityNormal, WhatsAppID: "3EB0" + id, Status: gateway.StatusQueued, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		HoldUnknown: rapid.Bool().Draw(l.T, "left to the operator"),
	}
	if rapid.Bool().Draw(l.T, "scheduled") {
		m.Status, m.Phase, m.SendAt = gateway.StatusScheduled, gateway.PhaseSchedule, now.Add(10*time.Minute)
	}
	l.must(l.store.Accept(l.testing.Context(), []*gateway.Message{m}, nil))
	l.row, err = l.store.Message(l.testing.Context(), l.tenant.Key, id)
	l.must(err)
}

func (l *life) acquire() {
	owner := fmt.Sprint("worker", len(l.before))
	taken, err := l.store.AcquireSessions(l.testing.Context(), owner, time.Hour, 10)
	l.must(err)
	if len(taken) != 1 {
		l.Fatalf("took %d sessions", len(taken))
	}
	l.fence = taken[0].Fence()
}

// step does one thing, and looks at what became of the row.
func (l *life) step() {
	ctx, was := l.testing.Context(), l.row
	attempts := was.Attempts
	mayGiveBack := false
	switch rapid.SampledFrom([]string{"claim", "claim", "record", "record", "receipt", "cancel", "expire", "take over", "release", "purge"}).Draw(l.T, "step") {
	case "claim":
		m, err := l.ledger.ClaimAlone(ctx, l.fence, gateway.Ticket{TenantKey: l.tenant.Key, MessageID: was.ID, Lane: was.Priority}, l.fence.Owner)
		l.must(err)
		if m != nil {
			attempts++
		}
	case "record": // by a worker that may have lost the message meanwhile
		o := l.outcome()
		by := rapid.SampledFrom(append([]gateway.Fence{l.fence}, l.before...)).Draw(l.T, "by")
		after, err := l.ledger.Record(ctx, by, was.ID, o)
		l.must(err)
		inHand := by.Owner == was.InFlight
		if !inHand && o.Kind != gateway.OutcomeSent && !reflect.DeepEqual(after, was) {
			l.Fatalf("%s, which does not have it in hand, changed %+v to %+v", by.Owner, was, after)
		}
		mayGiveBack = inHand && (o.Kind == gateway.OutcomeWait || o.Kind == gateway.OutcomeHold || o.Failure.Code == gateway.CodeExpired)
	case "receipt":
		senders := []string{number, own, "1@s.whatsapp.net"}
		if was.InFlight != "" {
			senders = senders[:2] // who is not known yet is waited for, for seconds
		}
		sender := rapid.SampledFrom(senders).Draw(l.T, "sender")
		kind := rapid.SampledFrom([]gateway.ReceiptKind{gateway.ReceiptDelivered, gateway.ReceiptRead, gateway.ReceiptPlayed}).Draw(l.T, "kind")
		l.must(l.ledger.Receipt(ctx, l.tenant.Key, []string{own}, gateway.Receipt{
			Kind: kind, StanzaIDs: []string{was.WhatsAppID}, Chat: sender, Sender: sender, At: l.Now(),
		}))
	case "cancel":
		if _, err := l.ledger.Cancel(ctx, l.tenant.Key, was.ID); gateway.CodeOf(err) != gateway.CodeNotCancelable {
			l.must(err)
		}
	case "expire":
		l.must(l.ledger.Expire(ctx, l.tenant.Key, was.ID))
	case "take over":
		l.must(l.store.ReleaseSession(ctx, l.fence))
		l.before = append(l.before, l.fence)
		l.acquire()
		_, err := l.ledger.Abandon(ctx, l.fence, was.ID, l.fence.Owner)
		l.must(err)
	case "release":
		_, err := l.ledger.Release(ctx, 10)
		l.must(err)
	case "purge":
		_, err := l.ledger.Purge(ctx, l.tenant.Key)
		l.must(err)
	}
	var err error
	l.row, err = l.store.Message(ctx, l.tenant.Key, was.ID)
	l.must(err)
	if l.row.Attempts != attempts && (!mayGiveBack || l.row.Attempts != attempts-1) {
		l.Fatalf("%d attempts became %d: %+v", was.Attempts, l.row.Attempts, l.row)
	}
	l.check(was)
}

func (l *life) outcome() gateway.Outcome {
	kinds := []gateway.OutcomeKind{gateway.OutcomeSent, gateway.OutcomeRetry, gateway.OutcomeWait, gateway.OutcomeHold, gateway.OutcomePermanent}
	kind := rapid.SampledFrom(kinds).Draw(l.T, "outcome")
	if kind == gateway.OutcomeSent {
		return gateway.Outcome{Kind: kind, Sent: &gateway.Sent{RecipientJID: number, RecipientLID: lid, At: l.Now()}}
	}
	code := rapid.SampledFrom([]gateway.Code{gateway.CodeTimeout, gateway.CodeExpired}).Draw(l.T, "code")
	return gateway.Outcome{
		Kind: kind, OnWire: rapid.Bool().Draw(l.T, "on wire"), RetryAt: l.Now().Add(time.Minute),
		Failure: gateway.Failure{Code: code, Message: "because"},
	}
}

// check holds the row against what it was, and against its history.
func (l *life) check(was gateway.Message) {
	if was.Status != l.row.Status && !was.Status.CanMove(l.row.Status) {
		l.Fatalf("moved from %s to %s", was.Status, l.row.Status)
	}
	events, err := l.store.Events(l.testing.Context(), l.tenant.Key, l.row.ID)
	l.must(err)
	if len(events) == 0 || events[len(events)-1].Status != l.row.Status {
		l.Fatalf("the row is %s, its history %+v", l.row.Status, events)
	}
	for i, e := range events[1:] {
		if before := events[i]; e.Status != before.Status && !before.Status.CanMove(e.Status) || e.At.Before(before.At) {
			l.Fatalf("after %+v comes %+v", before, e)
		}
	}
}
