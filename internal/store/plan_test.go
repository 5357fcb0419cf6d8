package store_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// hot are the statements that must find their rows by an index, or a backlog of 100,000 slows every claim.
func hot() map[string]string {
	const open = `phase NOT IN ('', 'schedule')`
	return map[string]string{
		`SELECT id FROM messages WHERE tenant_key = 1 AND lane = 'bulk' AND ` + open +
			` AND phase = 'waiting' AND next_attempt_at = 0 AND seq <= 7 ORDER BY seq LIMIT 1`: "messages_unfinished",
		`SELECT id FROM messages WHERE tenant_key = 1 AND lane = 'bulk' AND ` + open +
			` AND phase = 'backoff' AND next_attempt_at <= 7 ORDER BY next_attempt_at, seq LIMIT 5`: "messages_unfinished",
		`SELECT lane, COUNT(*), MIN(seq) FROM messages WHERE tenant_key = 1 AND ` + open + ` GROUP BY lane`: "messages_unfinished",
		`SELECT id FROM messages WHERE ` + open + ` AND expires_at > 0 AND expires_at <= 7 AND in_flight = ''
			ORDER BY expires_at LIMIT 5`: "messages_expiry",
		`SELECT sent_at FROM messages WHERE tenant_key = 1 AND sent_at > 7 AND sent_at <> 0 ORDER BY sent_at DESC LIMIT 5`:                                "messages_sent",
		strings.NewReplacer("$1", "1", "$2", "7").Replace(`SELECT sent_at FROM messages WHERE ` + store.FirstContacts + ` ORDER BY sent_at DESC LIMIT 5`): "messages_sent",
		`SELECT failed_at FROM messages WHERE tenant_key = 1 AND failed_at <> 0 AND failed_at >= 3 AND failed_at < 7 ORDER BY failed_at DESC LIMIT 5`:     "messages_failed",
		`SELECT id FROM messages WHERE phase = 'schedule' AND send_at <= 7 ORDER BY send_at, seq LIMIT 5`:                                                 "messages_schedule",
		`SELECT id FROM messages WHERE tenant_key = 1 AND in_flight <> '' AND in_flight <> 'x' ORDER BY seq LIMIT 5`:                                      "messages_in_flight",
		`SELECT 1 FROM messages WHERE media_sha256 = 'x' AND media_sha256 <> '' LIMIT 1`:                                                                  "messages_media",
		`SELECT id FROM messages WHERE stanza_id = 'x' AND tenant_key = 1`:                                                                                "messages_stanza",
		`SELECT id FROM messages WHERE tenant_key = 1 AND seq < 7 ORDER BY seq DESC LIMIT 50`:                                                             "messages_seq",
		`SELECT id FROM messages WHERE tenant_key = 1 AND bulk_id = 'x' AND bulk_id <> '' ORDER BY seq DESC LIMIT 50`:                                     "messages_bulk",
		`SELECT id FROM messages WHERE tenant_key = 1 AND ended = 'failed' AND ended <> ''
			ORDER BY seq DESC LIMIT 50`: "messages_ended",
		`SELECT 1 FROM messages WHERE tenant_key = 1 AND bulk_id = 'bulk2' AND bulk_id <> '' AND status IN ('scheduled', 'queued', 'sending')
			AND phase > '' LIMIT 1`: "messages_bulk_",
		`SELECT id FROM messages WHERE tenant_key = 1 AND bulk_id = 'bulk2' AND bulk_id <> '' AND status = 'queued'
			AND phase IN ('waiting', 'staged') LIMIT 5`: "messages_bulk_",
		`SELECT id FROM messages WHERE tenant_key = 1 AND recipient = 'x' AND seq < 7 ORDER BY seq DESC LIMIT 50`: "messages_recipient",
		`SELECT seq FROM messages WHERE tenant_key = 1 AND bulk_id = 'bulk2' AND bulk_id <> '' AND status = 'queued' AND phase = 'staged'
			ORDER BY seq LIMIT 1`: "messages_bulk_", // by status and phase on SQLite, by phase on Postgres
		`SELECT bulk_id, status, COUNT(*) FROM messages WHERE bulk_id IN ('bulk2', 'bulk4') AND bulk_id <> '' AND tenant_key = 1
			GROUP BY bulk_id, status`: "messages_bulk", // with the statuses or, before a vacuum, without
		`SELECT status FROM messages WHERE tenant_key = 1 AND bulk_id = 'bulk2' AND bulk_id <> '' AND phase = '' AND seq < 2900
			ORDER BY seq DESC LIMIT 1000`: "messages_", // its numbers are its own, so either index of them serves
		recipients("by JID"):  "messages_contact",
		recipients("by name"): "messages_recipient",
	}
}

// recipients is a statement about a recipient, with its arguments.
func recipients(name string) string {
	return strings.NewReplacer("$1", "1", "$2", "'x'", "$3", "5", "$4", "'x'", "$5", "'y'").Replace(store.Recipients()[name])
}

// sentTo looks a recipient up by what the tenant wrote, twice, and by what WhatsApp says.
func sentTo(t *testing.T, s *store.Store, how string) {
	t.Helper()
	plan := explain(t, s.Writer(), how+strings.ReplaceAll(recipients("times"), "> 'x'", "> 7"))
	if strings.Count(plan, "messages_recipient") != 2 || strings.Count(plan, "messages_contact") != 1 || strings.Contains(plan, "Seq Scan on messages") {
		t.Errorf("the last sends to somebody are found by %s", plan)
	}
}

// claim looks for the oldest of two phases in the index, and sorts the two.
func claim(t *testing.T, s *store.Store, how string) {
	t.Helper()
	query := strings.NewReplacer("$1", "'am000009'", "$2", "1").Replace(store.SelectClaimable())
	plan := explain(t, s.Writer(), how+query)
	if strings.Count(plan, "messages_unfinished") != 2 || strings.Contains(plan, "Seq Scan on messages") || strings.Contains(plan, "SCAN o") {
		t.Errorf("a claim goes by %s", plan)
	}
}

func TestHotStatementsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{})
	claim(t, s, "EXPLAIN QUERY PLAN ")
	sentTo(t, s, "EXPLAIN QUERY PLAN ")
	for query, index := range hot() {
		plan := explain(t, s.Writer(), "EXPLAIN QUERY PLAN "+query)
		if !strings.Contains(plan, index) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\n  goes by %s", query, plan)
		}
	}
}

// Postgres chooses by what it knows of the rows, so there have to be some.
func TestHotStatementsUseTheirIndexesOnPostgres(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{})
	for _, id := range []string{"a", "b", "c"} {
		tenant := newTenant(t, s, id)
		backlog := make([]*gateway.Message, 3000)
		for n := range backlog {
			m := message(tenant, n)
			m.ID = id + m.ID
			m.To = fmt.Sprint(4915550000000 + n%500)
			if n%2 == 0 {
				m.Priority, m.BulkID, m.Reference = gateway.PriorityBulk, fmt.Sprint("bulk", n%20), fmt.Sprint("reference", n)
			}
			backlog[n] = m
		}
		accept(t, s, backlog...)
	}
	for _, query := range []string{
		// Most messages are finished, some of them badly.
		`UPDATE messages SET status = 'delivered', phase = '', sent_at = 1, recipient_jid = recipient WHERE seq % 10 > 0`,
		`UPDATE messages SET status = 'failed', phase = '' WHERE seq % 100 = 1`,
		`ANALYZE`,
	} {
		if _, err := s.Writer().ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	claim(t, s, "EXPLAIN (COSTS OFF) ")
	sentTo(t, s, "EXPLAIN (COSTS OFF) ")
	ahead := explain(t, s.Writer(), "EXPLAIN (COSTS OFF) "+
		strings.NewReplacer("$1", "'am000009'", "$2", "1", "$3", "'worker'", "$4", "1").Replace(store.SelectAhead()))
	if strings.Count(ahead, "messages_unfinished") != 2 || strings.Contains(ahead, "Seq Scan on messages") || strings.Contains(ahead, "Sort Key: o.seq") {
		t.Errorf("a claim looks ahead by %s", ahead)
	}
	for _, statement := range []string{store.ChangeTogether(), store.ClaimTogether()} {
		plan := explain(t, s.Writer(), "EXPLAIN (COSTS OFF) "+regexp.MustCompile(`\$[0-9]+`).ReplaceAllString(statement, "'{}'"))
		if !strings.Contains(plan, "Index Scan using messages_pkey") || !strings.Contains(plan, "Tid Scan on messages") || strings.Contains(plan, "Seq Scan on messages") {
			t.Errorf("what was gathered is written by %s", plan)
		}
	}
	for query, index := range hot() {
		plan := explain(t, s.Writer(), "EXPLAIN (COSTS OFF) "+query)
		if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan on messages") {
			t.Errorf("%s\n  goes by %s", query, plan)
		}
	}
}

// A receipt changes the row alone: on Postgres the new version stands beside the old one, and no index gets an entry.
func TestReceiptsTouchNoIndex(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{})
	tenant := newTenant(t, s, "algo")
	m := message(tenant, 1)
	m.BulkID, m.Reference = "bulk", "reference"
	accept(t, s, m)
	tx, err := s.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	inPlace := int64(0)
	for _, step := range []struct {
		change string
		hot    int64
	}{
		{`status = 'sending', phase = 'working', in_flight = 'worker', attempts = 1`, 0},
		{`status = 'sent', phase = '', in_flight = '', sent_at = 5, recipient_jid = 'x'`, 0},
		{`status = 'delivered', delivered_at = 6, delivered_count = 1, updated_at = 6`, 1},
		{`status = 'read', read_at = 7, read_count = 1, updated_at = 7`, 1},
	} {
		if _, err := tx.ExecContext(t.Context(), `UPDATE messages SET `+step.change); err != nil {
			t.Fatal(err)
		}
		var now int64
		if err := tx.QueryRowContext(t.Context(), `SELECT pg_stat_get_xact_tuples_hot_updated('messages'::regclass)`).Scan(&now); err != nil {
			t.Fatal(err)
		}
		if now-inPlace != step.hot {
			t.Errorf("%s: %d updates in place, want %d", step.change, now-inPlace, step.hot)
		}
		inPlace = now
	}
}

// explain returns the last column of every row of a plan.
func explain(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for rows.Next() {
		row := make([]any, len(columns))
		for i := range row {
			row[i] = new(sql.RawBytes)
		}
		if err := rows.Scan(row...); err != nil {
			t.Fatal(err)
		}
		plan.Write(*row[len(row)-1].(*sql.RawBytes))
		plan.WriteString("; ")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
