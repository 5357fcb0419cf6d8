package main

import (
	"context"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit/services"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(runChild(context.Background(), role))
	}
	os.Exit(m.Run())
}

// Figures of a test are not worth anything; that there are any shows that the program still runs. One shape of each will do: the
// other differs in where the same programs keep their data.
func TestEverySectionFillsItsRows(t *testing.T) {
	t.Parallel()
	small := options{
		n: 4, pairs: 1, many: 2, accept: 600 * time.Millisecond, samples: 2, window: 400 * time.Millisecond,
		recipients: 500, tenants: []int{1, 3}, waiting: []int{20, 40},
	}
	rows := map[string]int{
		"accept/postgres": 11, "bulk/postgres": 2, "stores/postgres": 4, "send/embedded": 16, "latency/embedded": 4, "neighbours/embedded": 2, "hooks/embedded": 1,
		"growth-tenants/embedded": 0, "growth-waiting/embedded": 0,
	}
	ran := 0
	for _, s := range sections() {
		want, chosen := rows[s.name]
		if !chosen {
			continue
		}
		ran++
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			services.RedisTool(t)
			results := newTable()
			s.run(&bench{TB: t, options: small, shape: s.shape, table: results})
			if len(results.rows) != want {
				t.Errorf("%d rows, want %d", len(results.rows), want)
			}
			for _, r := range results.rows {
				coarse := strings.Contains(r.what, "CPU time of one")  // counted in ticks of 10 ms, of which a short run may have none
				alone := strings.Contains(r.what, "memory above idle") // nothing comparable exists
				switch {
				case alone: // so small a bulk may take no more than the collector gave back meanwhile
					if r.baseline != "" || math.IsNaN(r.hub()) {
						t.Errorf("%+v", r)
					}
				case r.baseline == "" && !coarse, !positive(r.hub()) && (!coarse || r.hub() != 0), !positive(r.base()) && (!coarse || r.base() != 0):
					t.Errorf("%+v", r)
				}
			}
			if lines := strings.Count(results.String(), "\n"); want > 0 && lines != 2+want {
				t.Errorf("the table has %d lines:\n%s", lines, results)
			}
			if want > 0 {
				return
			}
			for line := range strings.Lines(results.String()) { // matrices: a figure for each size
				if cells := strings.Count(line, "|"); strings.HasPrefix(line, "|") && cells != 4 || strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
					t.Errorf("a line of %d cells: %s", cells, line)
				}
			}
			if strings.Count(results.String(), "|---") != 3 {
				t.Errorf("not a table of two sizes:\n%s", results)
			}
		})
	}
	if ran != len(rows) {
		t.Errorf("ran %d sections of %v, want %d", ran, names(), len(rows))
	}
}

// Two idle sessions cost less than what varies from start to start, so that only figures of a whole process can be told to be right.
func TestIdleSessionsAreMeasured(t *testing.T) {
	t.Parallel()
	services.RedisTool(t)
	results := newTable()
	idle(&bench{TB: t, options: options{sessions: 2, window: time.Second}, shape: onPostgres, table: results})
	if len(results.rows) != 5 {
		t.Fatalf("%d rows", len(results.rows))
	}
	for _, r := range results.rows {
		switch {
		case strings.HasSuffix(r.what, "resident memory of the process"):
			if r.hub() < 5 || r.base() < 5 { // MiB; less is no Go program with a database
				t.Errorf("%+v", r)
			}
		case strings.HasSuffix(r.what, "Redis commands of the whole hub"):
			if r.hub() < 0 || r.baseline != "" {
				t.Errorf("%+v", r)
			}
		case math.IsNaN(r.hub()), math.IsNaN(r.base()):
			t.Errorf("%+v", r)
		}
	}
}

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 0) }

func TestTableShowsMedians(t *testing.T) {
	t.Parallel()
	results := newTable()
	results.add(row{what: "sends", shape: "embedded", unit: "/s", baseline: "bare", pairs: []pair{{100, 200}, {300, 100}, {50, 50}}})
	results.add(row{what: "commands", shape: "postgres", unit: "/s", pairs: []pair{{hub: 0.5}}})
	text := results.String()
	for _, line := range []string{
		"| sends | embedded | 100/s | bare | 100/s | **1.00** | 0.50 - 3.00 of 3 |",
		"| commands | postgres | 0.50/s | - | - | - | - |",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
}

func TestPercentiles(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 4, 2, 3, 6}
	for p, want := range map[float64]float64{50: 3.5, 99: 6, 17: 2, 1: 1} {
		if got := percentile(values, p); got != want {
			t.Errorf("p%.0f is %v, want %v", p, got, want)
		}
	}
	if got := percentile(values[:5], 50); got != 3 {
		t.Errorf("the median of five is %v", got)
	}
	if got := percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestFlagsChooseSections(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-quick", "-only", "^accept/", "-n", "7"}, os.Stderr)
	if err != nil || o.n != 7 || !o.quick || o.pairs != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	chosen := 0
	for _, name := range names() {
		if o.only.MatchString(name) {
			chosen++
		}
	}
	if chosen != 2 {
		t.Errorf("%d of %v", chosen, names())
	}
	if _, err := parse([]string{"-only", "("}, os.Stderr); err == nil {
		t.Error("a broken expression is accepted")
	}
}
