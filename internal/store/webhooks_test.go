package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// hooked is a database with a tenant that has a webhook "hook" and so many events, the first at place 1, of so many messages.
type hooked struct {
	*store.Store
	t      *testing.T
	url    string
	tenant gateway.Tenant
	now    time.Time
}

func newHooked(t *testing.T, url string, events, subjects int) hooked {
	t.Helper()
	h := hooked{open(t, url, store.Options{}), t, url, gateway.Tenant{}, time.Now().UTC().Truncate(time.Microsecond)}
	h.tenant = newTenant(t, h.Store, "algo")
	h.webhook("hook")
	h.exec(`INSERT INTO events (tenant_key, pos, id, kind, subject, at, data)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT %d, i, 'e' || i, 'message.sent', 's' || (i %% %d), %d, '{}' FROM n`, events, h.tenant.Key, subjects, h.now.UnixMicro())
	return h
}

func (h hooked) webhook(id string) {
	h.t.Helper()
	h.must(h.CreateWebhook(h.t.Context(), gateway.Webhook{
		ID: id, TenantKey: h.tenant.Key, URL: "https://example.com/", Events: []string{"*"}, Secret: []byte("sealed"), Status: gateway.WebhookEnabled, Since: h.now, CreatedAt: h.now,
	}))
}

// deliveries has the webhook be told of all events, at a time.
func (h hooked) deliveries(id string, next int64) {
	h.t.Helper()
	h.exec(`INSERT INTO webhook_deliveries (endpoint_id, pos, tenant_key, subject, attempts, next_at) SELECT '%s', pos, tenant_key, subject, 0, %d FROM events`, id, next)
}

func (h hooked) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h hooked) exec(format string, args ...any) {
	h.t.Helper()
	_, err := h.Writer().ExecContext(h.t.Context(), fmt.Sprintf(format, args...))
	h.must(err)
}

func (h hooked) count(query string) (n int) {
	h.t.Helper()
	h.must(h.Writer().QueryRowContext(h.t.Context(), query).Scan(&n))
	return n
}

func (h hooked) due() []gateway.DueWebhook {
	h.t.Helper()
	list, err := h.DueWebhooks(h.t.Context(), h.now, 10)
	h.must(err)
	return list
}

// when runs statements in the database at an event of a table, if a condition on its row (ROW) holds.
func (h hooked) when(event, table, condition, do string) {
	h.t.Helper()
	row := map[bool]string{true: "OLD", false: "NEW"}[strings.HasSuffix(event, "DELETE")]
	condition = strings.ReplaceAll(condition, "ROW", row)
	if h.Dialect() == "sqlite" {
		h.exec(`CREATE TRIGGER once %s ON %s WHEN %s BEGIN %s; END`, event, table, condition, strings.ReplaceAll(do, "FAIL", "SELECT RAISE(ABORT, 'as asked')"))
		return
	}
	h.exec(`CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s; RETURN %s; END $$`, strings.ReplaceAll(do, "FAIL", "RAISE EXCEPTION 'as asked'"), row)
	h.exec(`CREATE TRIGGER once %s ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION once()`, event, table, condition)
}

func (h hooked) never(table string) {
	h.t.Helper()
	if h.Dialect() == "sqlite" {
		h.exec(`DROP TRIGGER once`)
		return
	}
	h.exec(`DROP TRIGGER once ON %s`, table)
}

// TestAReplayLeavesOutWhatIsForgottenMeanwhile: a delivery without its event would hold up its subject for ever.
func TestAReplayLeavesOutWhatIsForgottenMeanwhile(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		const events = store.SettleBatch + 20
		h := newHooked(t, url, events, events)
		// The last ten are forgotten while the first part is replayed.
		h.when("AFTER INSERT", "webhook_deliveries", "ROW.pos = 7", fmt.Sprintf("DELETE FROM events WHERE pos > %d", events-10))
		n, err := h.Replay(t.Context(), h.tenant.Key, "hook", 0, h.now.Add(-time.Hour))
		if err != nil || n != events-10 {
			t.Errorf("%d were replayed, %v", n, err)
		}
		if lost := h.count(`SELECT COUNT(*) FROM webhook_deliveries WHERE pos NOT IN (SELECT pos FROM events)`); lost > 0 {
			t.Errorf("%d deliveries have no event", lost)
		}
		if due := h.due(); len(due) != 1 {
			t.Errorf("due are %v", due)
		}
	})
}

// TestADeletionIsMadeInParts: of a webhook and of a tenant. What was deleted is gone at once, however far the removal of what it had comes, and
// that goes on where it stopped.
func TestADeletionIsMadeInParts(t *testing.T) {
	t.Parallel()
	const events = 1200
	for what, remove := range map[string]func(hooked) error{
		"webhook": func(h hooked) error {
			err := h.DeleteWebhook(h.t.Context(), h.tenant.Key, "hook")
			if left := h.count(`SELECT COUNT(*) FROM webhook_deliveries`); err == nil && left != events {
				h.t.Errorf("the deletion itself removed %d deliveries", events-left)
			}
			return errors.Join(err, h.PurgeWebhooks(h.t.Context()))
		},
		"tenant": func(h hooked) error { return h.DeleteTenant(h.t.Context(), "algo") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			services.EachDatabase(t, func(t *testing.T, url string) {
				ctx := t.Context()
				h := newHooked(t, url, events, 10)
				h.deliveries("hook", 0)
				h.exec(`INSERT INTO webhook_attempts (endpoint_id, event_id, kind, attempt, at, status, took, error, outcome, next_at)
					SELECT 'hook', id, kind, 1, at, 500, 1, '', 'retry', 0 FROM events`)
				h.when("BEFORE DELETE", "webhook_deliveries", fmt.Sprintf("ROW.pos = %d", events), "FAIL")
				if err := remove(h); err == nil {
					t.Fatal("the last part was removed")
				}
				if left := h.count(`SELECT COUNT(*) FROM webhook_deliveries`); left != events%500 {
					t.Errorf("%d deliveries are left", left)
				}
				list, err := h.Webhooks(ctx, h.tenant.Key)
				if due := h.due(); err != nil || len(list) > 0 || len(due) > 0 {
					t.Errorf("there are %v, due %v, %v", list, due, err)
				}
				notFound := &gateway.Error{Code: gateway.CodeNotFound}
				_, err = h.Webhook(ctx, h.tenant.Key, "hook")
				_, err2 := h.TestWebhook(ctx, h.tenant.Key, "hook", h.now)
				_, err3 := h.UpdateWebhook(ctx, h.tenant.Key, "hook", func(*gateway.Webhook) error { return nil })
				if err4 := remove(h); !errors.Is(err, notFound) || !errors.Is(err2, notFound) || !errors.Is(err3, notFound) || !errors.Is(err4, notFound) {
					t.Errorf("it answers %v, %v, %v, %v", err, err2, err3, err4)
				}
				if secrets := h.count(`SELECT COUNT(*) FROM webhook_endpoints WHERE url <> '' OR length(secret) > 0`); secrets > 0 {
					t.Error("its secret is kept")
				}
				h.never("webhook_deliveries")
				if what == "tenant" {
					open(t, url, store.Options{}) // where deletions of tenants go on
				} else if err := h.PurgeWebhooks(ctx); err != nil {
					t.Fatal(err)
				}
				if left := h.count(`SELECT (SELECT COUNT(*) FROM webhook_deliveries) + (SELECT COUNT(*) FROM webhook_attempts) + (SELECT COUNT(*) FROM webhook_endpoints)`); left > 0 {
					t.Errorf("%d rows are left", left)
				}
			})
		})
	}
}

// TestAWebhookWhoseFirstIsPutOffIsNotDue: an event that came while the one before it was put off has no time of its own.
func TestAWebhookWhoseFirstIsPutOffIsNotDue(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		h := newHooked(t, url, 2, 1)
		h.deliveries("hook", 0)
		h.exec(`UPDATE webhook_deliveries SET next_at = %d WHERE pos = 1`, h.now.Add(time.Hour).UnixMicro())
		list, err := h.NextDeliveries(t.Context(), "hook", h.now, 10)
		if due := h.due(); err != nil || len(list) > 0 || len(due) > 0 {
			t.Errorf("due is %v, to post %v, %v", due, list, err)
		}
		h.now = h.now.Add(time.Hour)
		list, err = h.NextDeliveries(t.Context(), "hook", h.now, 10)
		if due := h.due(); err != nil || len(list) != 1 || list[0].Notice.Pos != 1 || len(due) != 1 {
			t.Errorf("an hour later due is %v, to post %v, %v", due, list, err)
		}
	})
}

// TestDueWebhooksTakeTurns when more are due than a sweep enqueues.
func TestDueWebhooksTakeTurns(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		ctx := t.Context()
		h := newHooked(t, url, 1, 1)
		h.deliveries("hook", 0)
		for _, id := range []string{"other", "third"} {
			h.webhook(id)
			h.deliveries(id, 0)
		}
		served := map[string]int{}
		for range 3 {
			due, err := h.DueWebhooks(ctx, h.now, 1)
			h.must(err)
			if len(due) != 1 {
				t.Fatalf("due are %v", due)
			}
			turn := gateway.WebhookTurn{WebhookID: due[0].ID, Owner: "w1"}
			if w, err := h.TakeWebhookTurn(ctx, turn, time.Hour); err != nil || w == nil {
				t.Fatalf("the turn is %v, %v", w, err)
			}
			h.must(h.EndWebhookTurn(ctx, turn)) // nothing of it was taken
			served[due[0].ID]++
		}
		if len(served) != 3 {
			t.Errorf("turns had %v", served)
		}
	})
}

// TestFailingWebhooksHaveTurnsBesideAnyNumberOfOthers that always have something to be told of: a sweep finds one that fails each time, and each of the others in
// turn.
func TestFailingWebhooksHaveTurnsBesideAnyNumberOfOthers(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		const limit, others = 3, 9 // a tenant has ten
		ctx := t.Context()
		h := newHooked(t, url, 1, 1)
		h.deliveries("hook", 0)
		h.exec(`UPDATE webhook_endpoints SET failures = 1`)
		for i := range others {
			h.webhook(fmt.Sprint("healthy", i))
			h.deliveries(fmt.Sprint("healthy", i), 0)
		}
		served := map[string]int{}
		for range 4 * others / limit {
			due, err := h.DueWebhooks(ctx, h.now, limit)
			h.must(err)
			if len(due) != limit+1 || due[limit] != (gateway.DueWebhook{ID: "hook", Failing: true}) {
				t.Fatalf("due are %v", due)
			}
			for _, d := range due {
				turn := gateway.WebhookTurn{WebhookID: d.ID, Owner: "w1"}
				if w, err := h.TakeWebhookTurn(ctx, turn, time.Hour); err != nil || w == nil {
					t.Fatalf("the turn of %s is %v, %v", d.ID, w, err)
				}
				h.must(h.EndWebhookTurn(ctx, turn)) // nothing of it was taken
				served[d.ID]++
			}
		}
		for id, n := range served {
			if id != "hook" && (n < 2 || n > 6) { // four, but that turns which end in the same millisecond go by the id
				t.Errorf("%s had %d turns", id, n)
			}
		}
		if len(served) != others+1 {
			t.Errorf("turns had %v", served)
		}
	})
}

// TestARecoveryIsMadeInParts: however much waits for another attempt, a webhook that takes again what it is told is not held up by one long statement; what is
// left is found by whoever comes next, and what fails meanwhile waits its time.
func TestARecoveryIsMadeInParts(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		const events, part = 1200, 500
		ctx := t.Context()
		h := newHooked(t, url, events, events)
		later := h.now.Add(time.Hour)
		h.deliveries("hook", later.UnixMicro())
		h.exec(`UPDATE webhook_endpoints SET failures = 7, rest_until = 1`)
		turn := gateway.WebhookTurn{WebhookID: "hook", Owner: "w1"}
		record := func(pos int, outcome gateway.DeliveryOutcome, rest time.Time) gateway.Webhook {
			t.Helper()
			w, _, err := h.RecordDeliveries(ctx, turn, time.Hour, []gateway.DeliveryAttempt{{
				WebhookID: "hook", Pos: int64(pos), EventID: fmt.Sprint("e", pos), Subject: fmt.Sprint("s", pos%events), Outcome: outcome, NextAt: later, At: h.now,
			}}, func(w *gateway.Webhook) { w.RestUntil = rest })
			h.must(err)
			return w
		}
		awake := func() int { return h.count(`SELECT COUNT(*) FROM webhook_deliveries WHERE next_at = 0`) }
		if w := record(1, gateway.DeliveryTaken, time.Time{}); !w.Waking || awake() != 0 {
			t.Fatalf("when it is back it is %+v, due are %d", w, awake())
		}
		more, err := h.WakeDeliveries(ctx, "hook", part)
		if err != nil || !more || awake() != part {
			t.Fatalf("after a part %d are due, %t, %v", awake(), more, err)
		}
		record(2, gateway.DeliveryRetry, time.Time{}) // fails anew, behind the part
		// The process dies; another finds it.
		h.exec(`UPDATE webhook_endpoints SET turn = ''`)
		h.exec(`UPDATE webhook_deliveries SET next_at = %d`, later.UnixMicro()) // nothing is due now
		if due := h.due(); len(due) != 1 {
			t.Fatalf("due are %v", due)
		}
		if w, err := h.TakeWebhookTurn(ctx, turn, time.Hour); err != nil || w == nil || !w.Waking {
			t.Fatalf("the next one has %+v, %v", w, err)
		}
		for steps := 0; more; steps++ {
			if more, err = h.WakeDeliveries(ctx, "hook", part); err != nil || steps > events/part {
				t.Fatalf("after %d parts there are more, %v", steps, err)
			}
		}
		if got := awake(); got != events-part-1 { // those that were looked at before are not looked at again
			t.Errorf("%d are due at last", got)
		}
		if w, err := h.Webhook(ctx, h.tenant.Key, "hook"); err != nil || w.Waking {
			t.Errorf("at last it is %+v, %v", w, err)
		}
		if more, err := h.WakeDeliveries(ctx, "hook", part); err != nil || more {
			t.Errorf("there are more, %v", err)
		}
	})
}

// served are the statements of h.Deliveries with their arguments.
func (h hooked) served() map[string]string {
	at, before := fmt.Sprint(h.now.UnixMicro()), fmt.Sprint(h.now.Add(-time.Hour).UnixMicro())
	return fill(h.Deliveries(), map[string][]string{"due": {at, "500"}, "next": {"'hook'", at, "8"}, "forgettable": {before, "500"}})
}

// TestWebhooksReadOnlyWhatIsDue: however much waits for another attempt, and however much is not old.
func TestWebhooksReadOnlyWhatIsDue(t *testing.T) {
	t.Parallel()
	h := newHooked(t, "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), 1, 1)
	for name, query := range h.served() {
		plan := explain(t, h.Writer(), "EXPLAIN QUERY PLAN "+query)
		for _, whole := range []string{"SCAN d", "SCAN p", "SCAN e;", "SCAN a;"} {
			if strings.Contains(plan+";", whole) {
				t.Errorf("%s goes by %s", name, plan)
			}
		}
		if name != "forgettable" && (strings.Count(plan, "webhook_deliveries_due") != strings.Count(query, "next_at <") ||
			!strings.Contains(plan, "webhook_deliveries_subject")) {
			t.Errorf("%s goes by %s", name, plan)
		}
	}
}

func TestWebhooksReadOnlyWhatIsDueOnPostgres(t *testing.T) {
	t.Parallel()
	const events = 20_000
	h := newHooked(t, services.Postgres(t), events, events/4)
	h.deliveries("hook", h.now.Add(time.Hour).UnixMicro())
	h.exec(`UPDATE webhook_deliveries SET next_at = 0 WHERE subject IN ('s1', 's2')`)
	h.exec(`INSERT INTO webhook_attempts (endpoint_id, event_id, kind, attempt, at, status, took, error, outcome, next_at)
		SELECT 'hook', id, kind, 1, at, 500, 1, '', 'retry', 0 FROM events`)
	h.exec(`ANALYZE`)
	steps := regexp.MustCompile(`(?:actual rows=([0-9.]+) loops=([0-9]+)|Rows Removed by [A-Za-z ]+: ([0-9.]+))`)
	for name, query := range h.served() {
		plan := explain(t, h.Writer(), "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "+query)
		found := steps.FindAllStringSubmatch(plan, -1)
		if len(found) == 0 {
			t.Errorf("%s: no rows are told by %s", name, plan)
		}
		for _, step := range found {
			rows, err := strconv.ParseFloat(step[1]+step[3], 64)
			if err != nil {
				t.Fatalf("%s: %v in %s", name, err, plan)
			}
			if loops, err := strconv.Atoi(step[2]); err == nil {
				rows *= float64(loops)
			}
			if rows > 500 {
				t.Errorf("%s reads %.0f rows: %s", name, rows, plan)
			}
		}
	}
}
