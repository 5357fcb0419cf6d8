package retention_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const day = 24 * time.Hour

// keep sets what the tenant keeps.
func (w *world) keep(r gateway.Retention) {
	w.t.Helper()
	_, err := w.store.UpdateSettings(w.t.Context(), w.tenant.Key, func(s *gateway.Settings) { s.Retention = r })
	w.must(err)
}

// message makes a text of a tenant that is not stored yet; a bulk's when it names one.
func (w *world) message(tenant gateway.Tenant, bulk string) *gateway.Message {
	w.made++
	return &gateway.Message{
		ID: fmt.Sprint("message", w.made), TenantKey: tenant.Key, TenantID: tenant.ID, To: "4915550000001", Type: gateway.TypeText, Text: "what it says",
		Priority: gateway.PriorityNormal, WhatsAppID: fmt.Sprint("3EB0", w.made), Status: gateway.StatusQueued, Phase: gateway.PhaseWaiting, BulkID: bulk,
		CreatedAt: w.Now(), UpdatedAt: w.Now(),
	}
}

// text accepts a message.
func (w *world) text(tenant gateway.Tenant, bulk string) string {
	w.t.Helper()
	m := w.message(tenant, bulk)
	w.must(w.store.Accept(w.t.Context(), []*gateway.Message{m}, nil))
	return m.ID
}

// ended is text, canceled at once.
func (w *world) ended(tenant gateway.Tenant, bulk string) string {
	w.t.Helper()
	id := w.text(tenant, bulk)
	_, err := w.store.Update(w.t.Context(), tenant.Key, id, nil, func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.Now()) })
	w.must(err)
	return id
}

// shown is what is left of messages: "text", "bare" without what it said, or "gone".
func (w *world) shown(tenant gateway.Tenant, ids ...string) (states []string) {
	w.t.Helper()
	list, err := w.store.MessagesByID(w.t.Context(), tenant.Key, ids)
	w.must(err)
	found := map[string]gateway.Message{}
	for _, m := range list {
		found[m.ID] = m
	}
	for _, id := range ids {
		switch m, ok := found[id]; {
		case !ok:
			states = append(states, "gone")
		case m.Dropped() && m.Text == "":
			states = append(states, "bare")
		case m.Text != "" && !m.Dropped():
			states = append(states, "text")
		default:
			states = append(states, "torn")
		}
	}
	return states
}

func (w *world) want(tenant gateway.Tenant, ids []string, want ...string) {
	w.t.Helper()
	if got := w.shown(tenant, ids...); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("of %v there is %v, want %v", ids, got, want)
	}
}

// TestTenantsKeepWhatTheyChose: messages and texts go when their time is over, whatever their number; those that are not finished, and those of others, stay.
func TestTenantsKeepWhatTheyChose(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		other, err := w.store.CreateTenant(ctx, "other", "")
		w.must(err)
		foreign := w.ended(other, "")
		w.keep(gateway.Retention{Messages: 30, Text: 14})
		ids := []string{w.ended(w.tenant, ""), w.text(w.tenant, ""), w.ended(w.tenant, "")}
		many := make([]*gateway.Message, 600) // more than one step
		for i := range many {
			many[i] = w.message(w.tenant, "")
		}
		w.must(w.store.Accept(ctx, many, nil))
		_, err = w.store.Writer().ExecContext(ctx, `UPDATE messages SET status = 'canceled', phase = '' WHERE status = 'queued' AND id <> '`+ids[1]+`'`)
		w.must(err)
		last := fmt.Sprint("message", w.made)
		w.Advance(13 * day)
		w.must(w.Round(ctx))
		w.want(w.tenant, ids, "text", "text", "text")
		w.Advance(day + time.Hour)
		late := w.ended(w.tenant, "")
		ids = append(ids, last, late)
		w.must(w.Round(ctx))
		w.want(w.tenant, ids, "bare", "text", "bare", "bare", "text")

		// What was not over when the walk came by is dropped after the next scan, which walks anew.
		_, err = w.store.Update(ctx, w.tenant.Key, ids[1], nil, func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.Now()) })
		w.must(err)
		w.Advance(15 * day)
		w.must(w.Round(ctx))
		w.want(w.tenant, ids[:3], "bare", "text", "bare")
		w.must(w.Scan(ctx))
		w.must(w.Round(ctx))
		w.want(w.tenant, ids, "bare", "bare", "bare", "bare", "bare")

		w.Advance(2 * day) // more than 30 days after the first, 17 after the others
		w.must(w.Round(ctx))
		w.want(w.tenant, ids, "gone", "bare", "gone", "gone", "bare")
		if events, err := w.store.Events(ctx, w.tenant.Key, ids[0]); err == nil && len(events) > 0 {
			w.t.Errorf("the history of a removed message is %+v", events)
		}
		w.want(other, []string{foreign}, "text")
	})
}

// TestFilesGoAfterTheirMessages that a tenant does not keep.
func TestFilesGoAfterTheirMessages(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		w.keep(gateway.Retention{Messages: 14})
		file := w.put("of a message")
		w.must(w.accept(file))
		_, err := w.store.Update(ctx, w.tenant.Key, fmt.Sprint("message", w.made), nil, func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.Now()) })
		w.must(err)
		w.Advance(13 * day)
		w.must(w.Round(ctx))
		if !w.there(file) {
			w.t.Fatal("removed before its message")
		}
		w.Advance(2 * day)
		w.must(w.Round(ctx))
		if w.there(file) {
			w.t.Error("the file of a message that is gone stays")
		}
	})
}

// TestBulksGoWhole: never some of their messages, and not while one is not finished.
func TestBulksGoWhole(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		w.keep(gateway.Retention{Messages: 14})
		for _, id := range []string{"done", "open"} {
			_, err := w.store.Writer().ExecContext(ctx, fmt.Sprintf(`INSERT INTO bulks (id, tenant_key, name, status, reason, lane, retry_of, first_seq, row_count, total, invalid,
				max_failure_rate, judge_from, created_at, started_at, finished_at, touched_at)
				VALUES ('%s', %d, 'News', 'finished', '', 'normal', '', 1, 2, 2, 0, 1, 0, 1, 1, %d, 0)`, id, w.tenant.Key, w.Now().UnixMicro()))
			w.must(err)
		}
		done := []string{w.ended(w.tenant, "done"), w.ended(w.tenant, "done")}
		open := []string{w.ended(w.tenant, "open"), w.text(w.tenant, "open")}
		w.Advance(13 * day)
		w.must(w.Round(ctx))
		w.want(w.tenant, done, "text", "text")
		w.Advance(2 * day)
		w.must(w.Round(ctx))
		stale, err := w.store.StaleBulks(ctx, time.Hour)
		w.must(err)
		if len(stale) != 1 || stale[0].ID != "done" {
			w.t.Fatalf("to be removed: %+v", stale)
		}
		if _, err := w.store.Bulk(ctx, w.tenant.Key, "done"); err == nil {
			w.t.Error("a bulk that is being removed is shown")
		}
		w.must(w.store.DiscardBulk(ctx, w.tenant.Key, "done"))
		w.want(w.tenant, append(done, open...), "gone", "gone", "text", "text")
	})
}

// TestEventsGoWithWhatTheyRepeat: after the days for events, or those for texts when these are fewer.
func TestEventsGoWithWhatTheyRepeat(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		exec := func(format string, args ...any) {
			w.t.Helper()
			_, err := w.store.Writer().ExecContext(ctx, fmt.Sprintf(format, args...))
			w.must(err)
		}
		exec(`INSERT INTO event_streams (tenant_key, since, heard_at, last_pos) VALUES (%d, 1, %d, 700)`, w.tenant.Key, w.Now().Add(1000*day).UnixMicro())
		var rows []string
		for pos := range 700 { // more than one step, one an hour
			rows = append(rows, fmt.Sprintf(`(%d, %d, 'e%d', 'message.sent', 'm', %d, '{}')`, w.tenant.Key, pos+1, pos, w.Now().Add(time.Duration(pos)*time.Hour).UnixMicro()))
		}
		exec(`INSERT INTO events (tenant_key, pos, id, kind, subject, at, data) VALUES %s`, strings.Join(rows, ", "))
		left := func() (n int) {
			w.t.Helper()
			w.must(w.store.Writer().QueryRowContext(ctx, `SELECT COUNT(*) FROM events`).Scan(&n))
			return n
		}
		w.Advance(700 * time.Hour)
		w.must(w.Round(ctx))
		if n := left(); n != 700 {
			w.t.Fatalf("%d events are left of a tenant that chose nothing", n)
		}
		w.keep(gateway.Retention{Text: 14, Events: 20})
		w.must(w.Round(ctx))
		if n := left(); n != 14*24 {
			w.t.Errorf("%d events are left of 14 days", n)
		}
		w.keep(gateway.Retention{Events: 1})
		w.must(w.Round(ctx))
		if n := left(); n != 24 {
			w.t.Errorf("%d events are left of one day", n)
		}
	})
}

// TestReceivedMessagesGo with the texts, or with the messages.
func TestReceivedMessagesGo(t *testing.T) {
	eachDialect(t, func(w *world) {
		ctx := w.t.Context()
		other, err := w.store.CreateTenant(ctx, "other", "")
		w.must(err)
		var rows []string
		for i := range 600 {
			for _, key := range []int64{w.tenant.Key, other.Key} {
				rows = append(rows, fmt.Sprintf(`('%d-%04d', %d, 's%d', 'c', 'c', '', '', '', 'text', 'hello', '', '', '', '', 1, %d)`,
					key, i, key, i, w.Now().Add(time.Duration(i)*time.Hour).UnixMicro()))
			}
		}
		_, err = w.store.Writer().ExecContext(ctx, `INSERT INTO inbound_messages (id, tenant_key, stanza_id, chat, sender, sender_alt, number, push_name, type, body,
			content, refers_to, refers_to_id, opt_out, at, received_at) VALUES `+strings.Join(rows, ", "))
		w.must(err)
		left := func(key int64) (n int) {
			w.t.Helper()
			w.must(w.store.Writer().QueryRowContext(ctx, fmt.Sprintf(`SELECT COUNT(*) FROM inbound_messages WHERE tenant_key = %d`, key)).Scan(&n))
			return n
		}
		w.Advance(600 * time.Hour)
		w.keep(gateway.Retention{Messages: 400, Text: 14})
		w.must(w.Round(ctx))
		if n, foreign := left(w.tenant.Key), left(other.Key); n != 14*24 || foreign != 600 {
			w.t.Errorf("%d of 14 days are left, and %d of another tenant", n, foreign)
		}
	})
}
