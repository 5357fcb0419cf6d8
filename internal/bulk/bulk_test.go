package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/bulk"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/testkit/services"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// world is the room over a real store, with one tenant whose session "worker" owns.
type world struct {
	*bulk.Service
	t      *testing.T
	store  *store.Store
	ledger *ledger.Ledger
	tenant gateway.Tenant
	fence  gateway.Fence
}

func newWorld(t *testing.T, url string, change ...func(*bulk.Deps)) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	w.store, err = store.Open(t.Context(), url, store.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.tenant, err = w.store.CreateTenant(t.Context(), "algo", "")
	must(t, err)
	sessions, err := w.store.AcquireSessions(t.Context(), "worker", time.Hour, 10)
	must(t, err)
	w.fence = sessions[0].Fence()
	w.ledger = ledger.New(w.store, time.Now)
	deps := bulk.Deps{Store: w.store, Ledger: w.ledger, ParseRecipient: intake.ParseRecipient, Dir: t.TempDir(), Window: 64}
	for _, c := range change {
		c(&deps)
	}
	w.Service = bulk.New(deps)
	return w
}

func sqlite(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "hub.db") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func number(i int) string { return fmt.Sprintf("9198%08d", i) }

// request is a bulk to n people.
func (w *world) request(n int) gateway.BulkRequest {
	w.t.Helper()
	rows, err := w.NewRows()
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, rows.Close()) })
	for i := range n {
		must(w.t, rows.Add(gateway.BulkRow{To: number(i), Vars: map[string]string{"name": fmt.Sprintf("number %d", i)}}))
	}
	return gateway.BulkRequest{Text: "Hello {{name}}, this is a message of a usual length.", Rows: rows, At: "/recipients"}
}

func (w *world) create(r gateway.BulkRequest) gateway.BulkProgress {
	w.t.Helper()
	p, err := w.Create(w.t.Context(), w.tenant, r, nil, nil)
	must(w.t, err)
	return p
}

// rows counts the rows of a table.
func (w *world) rows(table string) (n int) {
	w.t.Helper()
	must(w.t, w.store.Writer().QueryRowContext(w.t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n))
	return n
}

// feed feeds once and handles every ticket: the messages of rows for which fails is true fail, the others are sent.
func (w *world) feed(fails func(seq int64) bool) (handled int, more bool) {
	w.t.Helper()
	tickets, more, err := w.Feed(w.t.Context(), w.fence)
	must(w.t, err)
	for _, ticket := range tickets {
		m, err := w.ledger.Claim(w.t.Context(), w.fence, ticket, "worker")
		must(w.t, err)
		if m == nil || m.ID != ticket.MessageID {
			w.t.Fatalf("ticket %v claimed %+v", ticket, m)
		}
		o := gateway.Outcome{Kind: gateway.OutcomeSent, Sent: &gateway.Sent{RecipientJID: gateway.UserJID(m.To), At: time.Now()}}
		if fails(m.Seq) {
			o = gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp, Message: "no account"}}
		}
		_, err = w.ledger.Record(w.t.Context(), w.fence, m.ID, o)
		must(w.t, err)
	}
	return len(tickets), more
}

func never(int64) bool { return false }

// TestLargestBulk is accepted with little memory, and fed in order.
func TestLargestBulk(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{
		"SQLite":   sqlite,
		"Postgres": func(t *testing.T) string { return services.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) { // one after the other: the memory is that of the process
			w := newWorld(t, url(t))
			idle := heap()
			var peak atomic.Uint64
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						peak.Store(max(peak.Load(), heap()))
					case <-stop:
						return
					}
				}
			}()
			began := time.Now()
			p := w.create(w.request(manyRows))
			took := time.Since(began)
			close(stop)
			<-done
			if grown := int64(peak.Load()) - int64(idle); grown > 150<<20 {
				t.Errorf("it took %d MiB", grown>>20)
			} else {
				t.Logf("accepted in %s with %d MiB", took, grown>>20)
			}
			if p.Total != manyRows || w.rows("messages") != manyRows {
				t.Errorf("%d in all, %d messages", p.Total, w.rows("messages"))
			}
			now, err := w.Progress(t.Context(), w.tenant.Key, p.ID)
			must(t, err)
			if now.Counts[gateway.StatusQueued] != manyRows {
				t.Errorf("counts %v", now.Counts)
			}
			last := p.FirstSeq - 1
			for range 3 {
				n, more := w.feed(func(seq int64) bool {
					if seq != last+1 {
						t.Errorf("%d after %d", seq, last)
					}
					last = seq
					return false
				})
				if n == 0 || !more {
					t.Errorf("fed %d, more %t", n, more)
				}
			}
		})
	}
}

// heap is what the process has allocated and not freed yet, in bytes, garbage included.
func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestBulkPausesItselfWhenItsMessagesFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	p := w.create(w.request(300))
	// The first ones go well, then every second one fails.
	fails := func(seq int64) bool { return seq-p.FirstSeq >= 60 && seq%2 == 0 }
	sent := 0
	for {
		n, _ := w.feed(fails)
		if sent += n; n == 0 {
			break
		}
	}
	if sent < 80 || sent > 250 {
		t.Errorf("it paused after %d messages", sent)
	}
	paused, err := w.Progress(t.Context(), w.tenant.Key, p.ID)
	must(t, err)
	if paused.Status != gateway.BulkPaused || !strings.Contains(paused.Reason, " messages failed; the limit is 30 %") {
		t.Fatalf("%s: %s", paused.Status, paused.Reason)
	}
	// Resumed, it is judged by what comes now: by 20 at least.
	_, err = w.Resume(t.Context(), w.tenant.Key, p.ID)
	must(t, err)
	if n, _ := w.feed(never); n != 50 {
		t.Errorf("it went on with %d messages", n)
	}
	for {
		if n, _ := w.feed(never); n == 0 {
			break
		}
	}
	if end, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || end.Status != gateway.BulkFinished || end.Reason != "" {
		t.Errorf("end %+v, %v", end, err)
	}
}

// TestBulkPausesItselfWhenWhatWasHeldFails, though more than a thousand others are held still, and once more after it was resumed.
func TestBulkPausesItselfWhenWhatWasHeldFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), func(d *bulk.Deps) { d.Window = 8 })
	p := w.create(w.request(1300))
	if held := len(w.hold()); held < 80 {
		t.Fatalf("%d are held", held)
	}
	// A larger window would have as many more held.
	_, err := w.store.Writer().ExecContext(t.Context(), fmt.Sprintf(`UPDATE messages SET status = 'sending', phase = 'held', next_attempt_at = %d
		WHERE phase = 'staged' AND seq < %d`, time.Now().Add(15*24*time.Hour).UnixMicro(), p.FirstSeq+1200))
	must(t, err)
	gone := gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}}
	for range 2 {
		tickets, err := w.store.Reconsider(t.Context(), w.fence, time.Now(), gateway.JudgedAtLeast, func(m *gateway.Message) bool { return m.Reconsider(time.Now()) })
		must(t, err)
		for i, ticket := range tickets {
			w.begin(ticket)
			o := gone
			if i < 2 {
				o = gateway.Outcome{Kind: gateway.OutcomeSent}
			}
			_, err := w.ledger.Record(t.Context(), w.fence, ticket.MessageID, o)
			must(t, err)
		}
		if now, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || now.Rate == 0 || now.Remaining == 0 {
			t.Errorf("%.1f a second, %s left, %v", now.Rate, now.Remaining, err)
		}
		w.hold()
		paused, err := w.Get(t.Context(), w.tenant.Key, p.ID)
		must(t, err)
		if paused.Status != gateway.BulkPaused || !strings.HasPrefix(paused.Reason, "90 % of the last 20 messages failed") {
			t.Fatalf("%s: %s", paused.Status, paused.Reason)
		}
		_, err = w.Resume(t.Context(), w.tenant.Key, p.ID)
		must(t, err)
		w.hold()
		if now, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || now.Status != gateway.BulkRunning {
			t.Fatalf("resumed it is %s: %s, %v", now.Status, now.Reason, err)
		}
	}
}

func TestBulkThatMayFailGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	r := w.request(70)
	r.MaxFailureRate = 1
	p := w.create(r)
	total := 0
	for {
		n, _ := w.feed(func(int64) bool { return true })
		if total += n; n == 0 {
			break
		}
	}
	if end, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || end.Status != gateway.BulkFinished || end.Counts[gateway.StatusFailed] != 70 || total != 70 {
		t.Errorf("end %+v, %v", end, err)
	}
}

// A high bulk and a bulk one have a lane each; in one lane the older bulk goes first.
func TestBulksTakeTheirTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	first, second := w.create(w.request(100)), w.create(w.request(100))
	urgent := w.request(10)
	urgent.Priority = gateway.PriorityHigh
	high := w.create(urgent)
	tickets, _, err := w.Feed(t.Context(), w.fence)
	must(t, err)
	of := map[string]int{}
	for _, ticket := range tickets {
		m, err := w.store.Message(t.Context(), w.tenant.Key, ticket.MessageID)
		must(t, err)
		of[m.BulkID]++
	}
	if of[first.ID] != 50 || of[second.ID] != 0 || of[high.ID] != 10 {
		t.Errorf("places: first %d, second %d, high %d", of[first.ID], of[second.ID], of[high.ID])
	}
	_, err = w.Pause(t.Context(), w.tenant.Key, first.ID)
	must(t, err)
	tickets, _, err = w.Feed(t.Context(), w.fence)
	must(t, err)
	if len(tickets) != 50 {
		t.Errorf("a paused bulk keeps the next one from its %d places", 50-len(tickets))
	}
}

func TestCanceledBulkIsEndedByTheFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), func(d *bulk.Deps) { d.Ledger = brokenLedger{} })
	p := w.create(w.request(600))
	_, err := w.Cancel(t.Context(), w.tenant.Key, p.ID)
	if !errors.Is(err, errBroken) {
		t.Fatalf("canceled: %v", err)
	}
	healthy := bulk.New(bulk.Deps{Store: w.store, Ledger: w.ledger})
	for calls := 0; ; calls++ {
		_, more, err := healthy.Feed(t.Context(), w.fence)
		must(t, err)
		if !more {
			break
		}
		if calls > 10 {
			t.Fatal("it never ends")
		}
	}
	if end, err := healthy.Get(t.Context(), w.tenant.Key, p.ID); err != nil || end.Status != gateway.BulkCanceled || end.FinishedAt.IsZero() ||
		end.Counts[gateway.StatusCanceled] != 600 {
		t.Errorf("end %+v, %v", end, err)
	}
}

// hold feeds and holds every message for a fortnight, until there is nothing to feed.
func (w *world) hold() (held []gateway.Ticket) {
	w.t.Helper()
	for {
		tickets, _, err := w.Feed(w.t.Context(), w.fence)
		must(w.t, err)
		if len(tickets) == 0 {
			return held
		}
		for _, ticket := range tickets {
			w.begin(ticket)
			_, err = w.ledger.Record(w.t.Context(), w.fence, ticket.MessageID, gateway.Outcome{
				Kind: gateway.OutcomeHold, RetryAt: time.Now().Add(14 * 24 * time.Hour),
				Failure: gateway.Failure{Code: gateway.CodePaced, Message: "The tenant's cap of first contacts a day is reached."},
			})
			must(w.t, err)
		}
		held = append(held, tickets...)
	}
}

// begin claims the message of a ticket.
func (w *world) begin(ticket gateway.Ticket) {
	w.t.Helper()
	m, err := w.ledger.Claim(w.t.Context(), w.fence, ticket, "worker")
	must(w.t, err)
	if m == nil || m.ID != ticket.MessageID {
		w.t.Fatalf("ticket %v claimed %+v", ticket, m)
	}
}

// TestCanceledBulkEndsWithWhatIsHeldOfIt: as many messages as may be held at all, and one that is in hand. None waits for its own time.
func TestCanceledBulkEndsWithWhatIsHeldOfIt(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{"SQLite": sqlite, "Postgres": func(t *testing.T) string { return services.Postgres(t) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, url(t), func(d *bulk.Deps) { d.Window = 24 })
			p := w.create(w.request(400))
			last := []gateway.Ticket{}
			held := w.hold()
			if len(held) < 10*24 || len(held) >= 400 {
				t.Fatalf("%d of 400 are held", len(held))
			}
			// One of them comes back, and is in hand when the bulk is canceled.
			_, err := w.store.Reconsider(t.Context(), w.fence, time.Now(), 1, func(m *gateway.Message) bool {
				last = append(last, gateway.Ticket{TenantKey: m.TenantKey, MessageID: m.ID, Lane: m.Priority})
				return m.Reconsider(time.Now())
			})
			must(t, err)
			w.begin(last[0])
			canceled, err := w.Cancel(t.Context(), w.tenant.Key, p.ID)
			must(t, err)
			if canceled.Counts[gateway.StatusSending] != 1 || canceled.Counts[gateway.StatusFailed] != len(held)-1 ||
				canceled.Counts[gateway.StatusCanceled] != 400-len(held) || canceled.Status != gateway.BulkCanceled {
				t.Errorf("canceled %s %v of %d held", canceled.Status, canceled.Counts, len(held))
			}
			w.hold() // the sweep, which finds one in hand
			if now, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || !now.FinishedAt.IsZero() {
				t.Errorf("finished at %s with a message in hand, %v", now.FinishedAt, err)
			}
			_, err = w.ledger.Record(t.Context(), w.fence, last[0].MessageID, gateway.Outcome{
				Kind: gateway.OutcomeHold, RetryAt: time.Now().Add(time.Hour), Failure: gateway.Failure{Code: gateway.CodeReachOutLimited},
			})
			must(t, err)
			w.hold() // what was held only now is ended by the next one
			if end, err := w.Get(t.Context(), w.tenant.Key, p.ID); err != nil || end.FinishedAt.IsZero() || end.Counts[gateway.StatusFailed] != len(held) {
				t.Errorf("%+v, %v", end, err)
			}
		})
	}
}

// TestWhatOneBulkHasHeldDoesNotKeepAnotherBack, whether it runs, is paused or canceled.
func TestWhatOneBulkHasHeldDoesNotKeepAnotherBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), func(d *bulk.Deps) { d.Window = 8 })
	strangers := w.create(w.request(200))
	if held := len(w.hold()); held < 80 || held > 90 {
		t.Fatalf("%d are held at once; the queue has a ticket for each", held)
	}
	for _, stop := range []func(context.Context, int64, string) (gateway.BulkProgress, error){nil, w.Pause, w.Cancel} {
		if stop != nil {
			_, err := stop(t.Context(), w.tenant.Key, strangers.ID)
			must(t, err)
		}
		known := w.create(w.request(20))
		for n := 1; n > 0; {
			n, _ = w.feed(never)
		}
		if end, err := w.Get(t.Context(), w.tenant.Key, known.ID); err != nil || end.Status != gateway.BulkFinished || end.Counts[gateway.StatusSent] != 20 {
			t.Errorf("the other bulk: %s %v, %v", end.Status, end.Counts, err)
		}
	}
	if end, err := w.Get(t.Context(), w.tenant.Key, strangers.ID); err != nil || end.FinishedAt.IsZero() {
		t.Errorf("the canceled one: %+v, %v", end, err)
	}
}

var errBroken = errors.New("broken")

type brokenLedger struct{}

func (brokenLedger) CancelBulk(context.Context, int64, string, int) (int, error) { return 0, errBroken }

// Whatever breaks while a bulk is stored: nothing of it is there, neither then nor later.
func TestBulkThatBreaksLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(*brokenStore){
		"the second batch is not stored":          func(s *brokenStore) { s.stage = 2 },
		"the second batch is stored, unconfirmed": func(s *brokenStore) { s.stage, s.after = 2, true },
		"it is not accepted":                      func(s *brokenStore) { s.publish = true },
		"nor removed":                             func(s *brokenStore) { s.publish, s.discard = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var broken *brokenStore
			w := newWorld(t, sqlite(t), func(d *bulk.Deps) {
				broken = &brokenStore{Store: d.Store}
				breaks(broken)
				d.Store = broken
			})
			_, err := w.Create(t.Context(), w.tenant, w.request(1100), nil, nil)
			if !errors.Is(err, errBroken) {
				t.Fatalf("created: %v", err)
			}
			if list, err := w.store.Messages(t.Context(), w.tenant.Key, gateway.MessageFilter{}); err != nil || len(list) > 0 {
				t.Errorf("%d messages are shown, %v", len(list), err)
			}
			if broken.discard {
				// As after kill -9: another process finds what is left when its maker has been silent for a while.
				if w.rows("messages") != 1100 {
					t.Errorf("%d messages", w.rows("messages"))
				}
				_, err := w.store.Writer().ExecContext(t.Context(), `UPDATE bulks SET touched_at = touched_at - 3600000000`)
				must(t, err)
			}
			// A request cleans up for some seconds only; the relay does the rest.
			must(t, bulk.New(bulk.Deps{Store: w.store}).Tidy(t.Context()))
			if w.rows("messages") != 0 || w.rows("message_events") != 0 || w.rows("bulks") != 0 {
				t.Errorf("left: %d messages, %d rows of history, %d bulks", w.rows("messages"), w.rows("message_events"), w.rows("bulks"))
			}
		})
	}
}

// brokenStore fails before or after it has done what it is asked for.
type brokenStore struct {
	bulk.Store
	stage            int // the call that fails
	calls            atomic.Int32
	after            bool
	publish, discard bool
}

func (s *brokenStore) StageBulk(ctx context.Context, b *gateway.Bulk, msgs []*gateway.Message) error {
	if int(s.calls.Add(1)) != s.stage {
		return s.Store.StageBulk(ctx, b, msgs)
	}
	if s.after {
		return errors.Join(s.Store.StageBulk(ctx, b, msgs), errBroken)
	}
	return errBroken
}

func (s *brokenStore) PublishBulk(ctx context.Context, b *gateway.Bulk, idem *gateway.IdempotencyCompletion) error {
	if s.publish {
		return errBroken
	}
	return s.Store.PublishBulk(ctx, b, idem)
}

func (s *brokenStore) DiscardBulk(ctx context.Context, tenantKey int64, id string) error {
	if s.discard {
		return errBroken
	}
	return s.Store.DiscardBulk(ctx, tenantKey, id)
}

func TestThoseWhoOptedOutAreLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	_, err := w.store.AddOptOuts(t.Context(), w.tenant.Key, []gateway.OptOut{{Recipient: number(1), Source: gateway.OptOutByAPI, CreatedAt: time.Now()}})
	must(t, err)
	p := w.create(w.request(3))
	if p.Total != 2 || p.Invalid != 1 || len(p.Rejected) != 1 || p.Rejected[0].Row != 2 || p.Rejected[0].Code != gateway.CodeOptedOut {
		t.Errorf("bulk %+v", p)
	}
	rows, err := w.NewRows()
	must(t, err)
	defer rows.Close()
	must(t, rows.Add(gateway.BulkRow{To: number(1)}))
	_, err = w.Create(t.Context(), w.tenant, gateway.BulkRequest{Text: "x", Rows: rows, At: "/recipients"}, nil, nil)
	if !errors.Is(err, &gateway.Error{Code: gateway.CodeInvalidRecipient}) {
		t.Errorf("a bulk to nobody: %v", err)
	}
}

// The table has each row once and in order, however the valid and the invalid ones fall on pages.
func TestResultsHaveEveryRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	rows, err := w.NewRows()
	must(t, err)
	defer rows.Close()
	const n = 1100
	valid := func(i int) bool { return i%2 == 0 || i > 500 && i < 520 }
	for i := range n {
		to := number(i)
		if !valid(i) {
			to = "=1"
		}
		must(t, rows.Add(gateway.BulkRow{To: to}))
	}
	p := w.create(gateway.BulkRequest{Text: "x", Rows: rows, At: "/recipients", OnInvalid: gateway.SkipInvalid})
	if len(p.Rejected) != min(p.Invalid, gateway.MaxRejected) || p.Invalid+p.Total != n {
		t.Errorf("%d rejected of %d invalid and %d valid", len(p.Rejected), p.Invalid, p.Total)
	}
	var table strings.Builder
	must(t, w.Results(t.Context(), p.Bulk, &table))
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	if len(lines) != n+1 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines[1:] {
		want := fmt.Sprintf("%d,%s,queued,", i+1, number(i))
		if !valid(i) {
			want = fmt.Sprintf("%d,'=1,invalid,invalid_recipient,", i+1)
		}
		if !strings.HasPrefix(line, want) {
			t.Fatalf("line %d is %q, want %q", i+1, line, want)
		}
	}
	if err := w.Results(t.Context(), p.Bulk, brokenWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that goes away: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
