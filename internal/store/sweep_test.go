package store_test

import (
	"fmt"
	"maps"
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

const (
	sweepWindow  = 300
	sweepBacklog = 20_000
)

// sweeps are the statements of a sweep over the bulk lane of tenant 1, with their arguments.
func sweeps(s *store.Store, now time.Time) map[string]string {
	at, window := strconv.FormatInt(now.UnixMicro(), 10), strconv.Itoa(sweepWindow)
	arguments := map[string][]string{
		"tenants":                      {"'worker'"},
		"unfinished":                   {"1", "'bulk'", at, window},
		"postponed":                    {"1", "'bulk'", at, window},
		"expirable":                    {at, window},
		"backlog":                      {"1"},
		"depth":                        {"1", window},
		"ahead in a lane":              {"1", "'bulk'", "9000000", window},
		"ahead in a bulk":              {"1", "'b'", "9000000", window},
		"held":                         {"1", "'bulk'", at, window},
		"held before":                  {"1", "'bulk'", at, "9000000", "'paced'", "'a cap'", window},
		"a step of a purge":            {"1", "9000000", "0", "0", "'bulk'", "'waiting'", window},
		"a step of a purge, scheduled": {"1", "9000000", "0", window},
		"held of a bulk":               {"1", "'b'", window},
		"a step of a cancellation":     {"1", "'b'", window},
		"elsewhere":                    {"1", "'worker'", window},
	}
	queries := s.Sweep()
	maps.Copy(queries, s.Waits())
	return fill(queries, arguments)
}

// fill gives statements their arguments, both by name.
func fill(queries map[string]string, arguments map[string][]string) map[string]string {
	filled := map[string]string{}
	for name, query := range queries {
		for i, argument := range arguments[name] {
			query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i+1), argument)
		}
		filled[name] = query
	}
	return filled
}

// On SQLite the plan is the same however long the backlog is: what is searched and ordered by an index ends at its limit.
func TestSweepsReadNoMoreThanTheirWindow(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{})
	for name, query := range sweeps(s, time.Now()) {
		plan := explain(t, s.Writer(), "EXPLAIN QUERY PLAN "+query)
		if strings.Contains(plan, "SCAN m") || strings.Contains(plan, "TEMP B-TREE") || !strings.Contains(plan, "INDEX messages_") {
			t.Errorf("%s goes by %s", name, plan)
		}
	}
}

// Postgres says how many rows each step of a plan has read.
func TestSweepsReadNoMoreThanTheirWindowOnPostgres(t *testing.T) {
	t.Parallel()
	s := open(t, services.Postgres(t), store.Options{})
	tenant := newTenant(t, s, "algo")
	for i := range 20 {
		newTenant(t, s, fmt.Sprint("idle", i))
	}
	if taken, err := s.AcquireSessions(t.Context(), "worker", time.Hour, 100); err != nil || len(taken) != 21 {
		t.Fatalf("took %d sessions, %v", len(taken), err)
	}
	b := gateway.Bulk{ID: "b", TenantKey: tenant.Key, Lane: gateway.PriorityBulk, Rows: sweepBacklog, CreatedAt: time.Now()}
	if err := s.CreateBulk(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	backlog := make([]*gateway.Message, sweepBacklog)
	for n := range backlog {
		m := message(tenant, n)
		m.Priority, m.BulkID, m.Seq = gateway.PriorityBulk, b.ID, b.FirstSeq+int64(n)
		backlog[n] = m
	}
	if err := s.StageBulk(t.Context(), &b, backlog); err != nil {
		t.Fatal(err)
	}
	b.Total = sweepBacklog
	if err := s.PublishBulk(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, query := range []string{
		`UPDATE messages SET phase = 'waiting' WHERE seq % 50 <> 1`,
		fmt.Sprintf(`UPDATE messages SET status = 'sending', phase = 'backoff', next_attempt_at = %d WHERE seq %% 50 = 1`, now.Add(time.Hour).UnixMicro()),
		`ANALYZE`,
	} {
		if _, err := s.Writer().ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	steps := regexp.MustCompile(`(?:actual rows=([0-9.]+) loops=([0-9]+)|Rows Removed by [A-Za-z ]+: ([0-9.]+))`)
	for name, query := range sweeps(s, now) {
		plan := explain(t, s.Writer(), "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "+query)
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
			if rows > sweepWindow {
				t.Errorf("%s reads %.0f rows: %s", name, rows, plan)
			}
		}
	}
}
