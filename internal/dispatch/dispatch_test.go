package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/dispatch"
	"github.com/wapro/hub/internal/gateway"
)

const (
	alice = "4915550000001"
	bob   = "4915550000002"
	carol = "4915550000003"
	group = "120363000000000001@g.us"
)

func TestEveryCauseHasItsOutcome(t *testing.T) {
	t.Parallel()
	type want struct {
		verdict  gateway.VerdictKind
		status   gateway.Status
		phase    gateway.Phase
		attempts int
		code     gateway.Code
	}
	var (
		retry = func(code gateway.Code) want {
			return want{gateway.VerdictRetry, gateway.StatusSending, gateway.PhaseBackoff, 1, code}
		}
		hold = func(code gateway.Code) want {
			return want{gateway.VerdictRetry, gateway.StatusSending, gateway.PhaseHeld, 0, code}
		}
		failed = func(code gateway.Code) want {
			return want{gateway.VerdictDone, gateway.StatusFailed, gateway.PhaseNone, 1, code}
		}
		wait = want{gateway.VerdictGiveBack, gateway.StatusSending, gateway.PhaseOffline, 0, gateway.CodeSessionOffline}
	)
	missing := gateway.Errorf(gateway.CodeMediaLost, "the stored file is missing")
	for _, test := range []struct {
		e    gateway.SendError
		want want
	}{
		{gateway.SendError{Cause: gateway.CauseOffline}, wait},
		{gateway.SendError{Cause: gateway.CauseFenced}, wait},
		{gateway.SendError{Cause: gateway.CauseStopped}, wait},
		{gateway.SendError{Cause: gateway.CauseDisconnected, OnWire: true}, retry(gateway.CodeDisconnected)},
		{gateway.SendError{Cause: gateway.CauseTimeout, OnWire: true}, retry(gateway.CodeTimeout)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 429}, retry(gateway.CodeThrottled)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 420}, retry(gateway.CodeThrottled)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 500}, retry(gateway.CodeServerError)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 599}, retry(gateway.CodeServerError)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 0}, retry(gateway.CodeServerError)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 400}, failed(gateway.CodeRejected)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 479}, failed(gateway.CodeRejected)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 403}, failed(gateway.CodeRejected)},
		{gateway.SendError{Cause: gateway.CauseAck, Server: 463}, hold(gateway.CodeReachOutLimited)},
		{gateway.SendError{Cause: gateway.CauseIQ, Server: 429}, hold(gateway.CodeRateOverLimit)},
		{gateway.SendError{Cause: gateway.CauseIQ, Server: 503}, retry(gateway.CodeServerError)},
		{gateway.SendError{Cause: gateway.CauseIQ, Server: 404}, retry(gateway.CodeServerError)},
		{gateway.SendError{Cause: gateway.CauseNotOnWhatsApp}, failed(gateway.CodeNotOnWhatsApp)},
		{gateway.SendError{Cause: gateway.CauseNoCiphertext}, retry(gateway.CodeNoCiphertext)},
		{gateway.SendError{Cause: gateway.CauseUpload, Server: 500}, retry(gateway.CodeUploadFailed)},
		{gateway.SendError{Cause: gateway.CauseUpload}, retry(gateway.CodeUploadFailed)},
		{gateway.SendError{Cause: gateway.CauseUpload, Server: 413}, failed(gateway.CodeUploadFailed)},
		{gateway.SendError{Cause: gateway.CauseMedia, Err: missing}, failed(gateway.CodeMediaLost)},
		{gateway.SendError{Cause: gateway.CauseMedia, Err: &fs.PathError{Op: "open", Err: fs.ErrPermission}}, retry(gateway.CodeStorage)},
		{gateway.SendError{Cause: gateway.CauseMedia, Err: fmt.Errorf("read: %w", context.DeadlineExceeded)}, retry(gateway.CodeTimeout)},
		{gateway.SendError{Cause: gateway.CauseMedia, Err: fmt.Errorf("read: %w", context.Canceled)}, wait},
		{gateway.SendError{Cause: gateway.CauseFetching}, hold(gateway.CodeMediaURLPending)},
		{gateway.SendError{Cause: gateway.CausePreviewing}, hold(gateway.CodePreviewPending)},
		{gateway.SendError{Cause: gateway.CauseFetch}, retry(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 200, Err: errors.New("broke off")}, retry(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 503}, retry(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 429}, retry(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 200, Err: gateway.Errorf(gateway.CodeMediaBusy, "busy")}, retry(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 302}, failed(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 404}, failed(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 200, Err: gateway.Errorf(gateway.CodeMediaMismatch, "a page")}, failed(gateway.CodeMediaURLFailed)},
		{gateway.SendError{Cause: gateway.CauseFetch, Err: gateway.Errorf(gateway.CodeMediaURLRefused, "private")}, failed(gateway.CodeMediaURLRefused)},
		{gateway.SendError{Cause: gateway.CauseFetch, Server: 200, Err: gateway.Errorf(gateway.CodeMediaTooLarge, "long")}, failed(gateway.CodeMediaTooLarge)},
		{gateway.SendError{Cause: gateway.CauseGroup}, failed(gateway.CodeGroupForbidden)},
		{gateway.SendError{Cause: gateway.CauseStore}, retry(gateway.CodeStorage)},
		{gateway.SendError{Cause: gateway.CauseInternal, OnWire: true}, retry(gateway.CodeInternal)},
		{gateway.SendError{Cause: "a cause of tomorrow"}, retry(gateway.CodeInternal)},
	} {
		t.Run(fmt.Sprintf("%s %d %v", test.e.Cause, test.e.Server, test.e.Err), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fail(test.e)
			m := w.accept(alice)
			verdict := w.handle(m)
			stored := w.stored(m)
			got := want{verdict.Kind, stored.Status, stored.Phase, stored.Attempts, ""}
			if stored.Error != nil {
				got.code = stored.Error.Code
			}
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if stored.Uncertain != test.e.OnWire {
				t.Errorf("uncertain is %t, on wire was %t", stored.Uncertain, test.e.OnWire)
			}
			if stored.InFlight != "" {
				t.Error("still in hand")
			}
			if verdict.Kind == gateway.VerdictRetry && !stored.NextAttemptAt.Equal(w.Now().Add(verdict.Delay)) {
				t.Errorf("the ticket comes after %v, the message at %v", verdict.Delay, stored.NextAttemptAt)
			}
		})
	}
}

func TestASentMessageUsesItsTicketUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept(alice)
	if v := w.handle(m); v.Kind != gateway.VerdictDone {
		t.Fatalf("verdict %v", v)
	}
	if got := w.stored(m); got.Status != gateway.StatusSent || got.RecipientJID != gateway.UserJID(alice) {
		t.Fatalf("%s to %s", got.Status, got.RecipientJID)
	}
	if v := w.handle(m); v.Kind != gateway.VerdictDone || w.sends() != 1 {
		t.Fatalf("a second ticket: %v after %d sends", v, w.sends())
	}
}

func TestBackoffDoublesToItsCapAndAttemptsRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(gateway.SendError{Cause: gateway.CauseAck, Server: 500})
	m := w.accept(alice)
	// Half of each bound, as the scripted dice say.
	for i, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 32000} {
		v := w.handle(m)
		if v.Kind != gateway.VerdictRetry || v.Delay != want*time.Millisecond {
			t.Fatalf("attempt %d: %+v, want a delay of %v ms", i+1, v, int(want))
		}
		if early := w.handle(m); early.Kind != gateway.VerdictDone || w.sends() != i+1 {
			t.Fatalf("attempt %d: sent before it was due", i+1)
		}
		w.Advance(v.Delay)
	}
	if v := w.handle(m); v.Kind != gateway.VerdictDone {
		t.Fatalf("last attempt: %+v", v)
	}
	if got := w.stored(m); got.Status != gateway.StatusFailed || got.Attempts != gateway.MaxAttempts {
		t.Fatalf("%s after %d attempts", got.Status, got.Attempts)
	}
}

func TestNoAttemptIsPlannedBeyondTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(gateway.SendError{Cause: gateway.CauseAck, Server: 463})
	m := w.accept(alice)
	v := w.handle(m)
	if v.Delay != time.Hour {
		t.Fatalf("held for %v", v.Delay)
	}
	w.Advance(m.ExpiresAt.Sub(w.Now()) - time.Minute)
	if v = w.handle(m); v.Kind != gateway.VerdictRetry || v.Delay != time.Minute {
		t.Fatalf("%+v, but it expires in a minute", v)
	}
	w.Advance(time.Minute)
	sends := w.sends()
	if v = w.handle(m); v.Kind != gateway.VerdictDone || w.sends() != sends {
		t.Fatalf("%+v after %d sends", v, w.sends()-sends)
	}
	if got := w.stored(m); got.Status != gateway.StatusExpired {
		t.Fatalf("status %s", got.Status)
	}
}

func TestATicketWhoseTurnWentToAnOlderMessageComesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	older, newer := w.accept(alice), w.accept(bob)
	if v := w.handle(newer); v.Kind != gateway.VerdictAgain {
		t.Fatalf("verdict %+v", v)
	}
	if w.stored(older).Status != gateway.StatusSent || w.stored(newer).Status != gateway.StatusQueued {
		t.Fatal("the newer message overtook")
	}
	if v := w.handle(newer); v.Kind != gateway.VerdictDone || w.stored(newer).Status != gateway.StatusSent {
		t.Fatalf("verdict %+v", v)
	}
}

func TestAnOlderMessageThatBacksOffGetsATicketOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(gateway.SendError{Cause: gateway.CauseTimeout})
	older, newer := w.accept(alice), w.accept(bob)
	if v := w.handle(newer); v.Kind != gateway.VerdictAgain {
		t.Fatalf("verdict %+v", v)
	}
	if at := w.queue.tickets[older.ID]; !at.Equal(w.stored(older).NextAttemptAt) || at.IsZero() {
		t.Fatalf("a ticket for %v, the message is due at %v", at, w.stored(older).NextAttemptAt)
	}
}

func TestAMessageGivenBackByItsSessionIsTakenUpByAnyTicket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(gateway.SendError{Cause: gateway.CauseOffline})
	older, newer := w.accept(alice), w.accept(bob)
	if v := w.handle(newer); v.Kind != gateway.VerdictGiveBack {
		t.Fatalf("verdict %+v", v)
	}
	w.succeed()
	if v := w.handle(newer); v.Kind != gateway.VerdictAgain || w.stored(older).Status != gateway.StatusSent {
		t.Fatalf("verdict %+v, the older is %s", v, w.stored(older).Status)
	}
}

func TestALostLeaseGivesTheTicketBackUntouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept(alice)
	w.fence.Epoch--
	if v := w.handle(m); v.Kind != gateway.VerdictGiveBack || w.sends() != 0 {
		t.Fatalf("verdict %+v after %d sends", v, w.sends())
	}
	if got := w.stored(m); got.Status != gateway.StatusQueued {
		t.Fatalf("status %s", got.Status)
	}
}

func TestAPanicOfTheSessionIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer(func(context.Context, *gateway.Message) (gateway.Sent, error) { panic("boom") })
	m := w.accept(alice)
	if v := w.handle(m); v.Kind != gateway.VerdictRetry {
		t.Fatalf("verdict %+v", v)
	}
	if got := w.stored(m); !got.Uncertain || got.Attempts != 1 || got.InFlight != "" {
		t.Fatalf("%+v", got)
	}
	log := w.log.String()
	if !strings.Contains(log, `"panic":"string"`) || !strings.Contains(log, `"tenant":"algo"`) || strings.Contains(log, "boom") {
		t.Errorf("logged: %s", log)
	}
}

func TestASendHasADeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var limit time.Duration
	w.answer(func(ctx context.Context, _ *gateway.Message) (gateway.Sent, error) {
		deadline, _ := ctx.Deadline()
		limit = time.Until(deadline)
		return gateway.Sent{}, &gateway.SendError{Cause: gateway.CauseTimeout, Err: context.DeadlineExceeded}
	})
	w.handle(w.accept(alice))
	if limit <= 0 || limit > 5*time.Second {
		t.Fatalf("a text may take %v", limit)
	}
}

func TestAnOutcomeIsRecordedAlthoughTheDatabaseFails(t *testing.T) {
	t.Parallel()
	for _, persist := range []bool{false, true} {
		t.Run(fmt.Sprintf("persisted %t", persist), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ledger.breakNext(3, persist)
			m := w.accept(alice)
			if v := w.handle(m); v.Kind != gateway.VerdictDone {
				t.Fatalf("verdict %+v", v)
			}
			if got := w.stored(m); got.Status != gateway.StatusSent || w.sends() != 1 {
				t.Fatalf("%s after %d sends", got.Status, w.sends())
			}
		})
	}
}

// The handler is told to end while the database is away. The row is in the hands of this process, so nobody else would
// ever record what came of it.
func TestAnOutcomeThatCouldNotBeRecordedIsRecordedWithTheNextTicket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ledger.breakNext(1_000_000, false)
	w.fail(gateway.SendError{Cause: gateway.CauseTimeout, OnWire: true})
	m := w.accept(alice)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.ledger.broke = cancel
	ticket := gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}
	if v := w.Handle(ctx, w.fence, ticket); v.Kind != gateway.VerdictGiveBack {
		t.Fatalf("verdict %+v", v)
	}
	w.ledger.breakNext(0, false)
	if v := w.handle(m); v.Kind != gateway.VerdictDone {
		t.Fatalf("verdict %+v", v)
	}
	if got := w.stored(m); got.Phase != gateway.PhaseBackoff || !got.Uncertain || got.InFlight != "" || w.sends() != 1 {
		t.Fatalf("%+v after %d sends", got, w.sends())
	}
}

// That a message was sent is recorded beside the next send, whatever the database says to that at first, and without another ticket for it. The
// one after that waits: what is behind does not add up.
func TestASentMessageIsRecordedBesideTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ledger.breakNext(1_000_000, false)
	first, second, third := w.accept(alice), w.accept(alice), w.accept(alice)
	ticket := func(m *gateway.Message) gateway.Ticket {
		return gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}
	}
	if v := w.Dispatcher.Handle(t.Context(), w.fence, ticket(first)); v.Kind != gateway.VerdictDone || w.stored(first).Status != gateway.StatusSending {
		t.Fatalf("verdict %+v", v)
	}
	next := make(chan gateway.Verdict)
	go func() { next <- w.Dispatcher.Handle(t.Context(), w.fence, ticket(second)) }()
	for w.sends() < 2 {
		select {
		case v := <-next:
			t.Fatalf("the second message was not sent while the first was not recorded: %+v", v)
		default:
			runtime.Gosched()
		}
	}
	select {
	case v := <-next:
		t.Fatalf("two outcomes are behind: %+v", v)
	case <-time.After(20 * time.Millisecond):
	}
	w.ledger.breakNext(0, false)
	if v := <-next; v.Kind != gateway.VerdictDone {
		t.Fatalf("verdict %+v", v)
	}
	if v := w.handle(third); v.Kind != gateway.VerdictDone || w.sends() != 3 {
		t.Fatalf("verdict %+v after %d sends", v, w.sends())
	}
	for _, m := range []*gateway.Message{first, second, third} {
		if got := w.stored(m); got.Status != gateway.StatusSent || got.InFlight != "" || got.Attempts != 1 {
			t.Errorf("stored %+v", got)
		}
	}
}

func TestTheEndOfTheHandlerDoesNotLoseItsOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.answer(func(ctx context.Context, _ *gateway.Message) (gateway.Sent, error) {
		cancel()
		<-ctx.Done()
		return gateway.Sent{}, &gateway.SendError{Cause: gateway.CauseStopped, OnWire: true, Err: ctx.Err()}
	})
	m := w.accept(alice)
	ticket := gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority}
	if v := w.Handle(ctx, w.fence, ticket); v.Kind != gateway.VerdictGiveBack {
		t.Fatalf("verdict %+v", v)
	}
	if got := w.stored(m); !got.Uncertain || got.InFlight != "" || got.Attempts != 0 {
		t.Fatalf("uncertain %t, in the hands of %q, %d attempts", got.Uncertain, got.InFlight, got.Attempts)
	}
}

// away is a ledger whose database does not answer.
type away struct{ dispatch.Ledger }

func (away) Claim(context.Context, gateway.Fence, gateway.Ticket, string) (*gateway.Message, error) {
	return nil, fmt.Errorf("claim message: %w", gateway.Errorf(gateway.CodeUnavailable, "The database does not answer."))
}

// Else every ticket of every lane would be tried and put back once a second.
func TestWithoutADatabaseTicketsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept(alice)
	ledger := w.Ledger
	w.Ledger = away{ledger}
	if v := w.handle(m); v.Kind != gateway.VerdictGiveBack || w.sends() != 0 {
		t.Errorf("verdict %+v after %d sends", v, w.sends())
	}
	w.Ledger = ledger
	if v := w.handle(m); v.Kind != gateway.VerdictDone || w.stored(m).Status != gateway.StatusSent {
		t.Errorf("verdict %+v", v)
	}
}

// A database that died right after the claim has forgotten it: the attempt, of which nothing went out, was none, and the ticket comes again.
func TestForgottenClaimIsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.accept("4915550001")
	forgotten := false
	w.answer(func(ctx context.Context, claimed *gateway.Message) (gateway.Sent, error) {
		_, err := w.store.Update(ctx, claimed.TenantKey, claimed.ID, nil, func(row *gateway.Message) ([]gateway.Event, error) {
			row.Status, row.Phase, row.Attempts, row.InFlight, forgotten = gateway.StatusQueued, gateway.PhaseWaiting, 0, "", true
			return nil, nil
		})
		must(t, err)
		return gateway.Sent{}, &gateway.SendError{Cause: gateway.CauseClaimLost, Err: gateway.ErrClaimLost}
	})
	if v := w.handle(m); v.Kind != gateway.VerdictAgain || !forgotten {
		t.Errorf("the verdict is %+v", v)
	}
	if got := w.stored(m); got.Status != gateway.StatusQueued || got.Attempts != 0 || got.Error != nil {
		t.Errorf("stored %+v", got)
	}
	w.succeed()
	if v := w.handle(m); v.Kind != gateway.VerdictDone {
		t.Errorf("the verdict is %+v", v)
	}
	if got := w.stored(m); got.Status != gateway.StatusSent || got.Attempts != 1 {
		t.Errorf("stored %+v", got)
	}
}
