package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// sentAfter is a message of a tenant that was offered at a second and sent some seconds later.
func sentAfter(tenant, offered, took int) *verdict {
	m := accepted()
	m.tenant, m.offered, m.accepted = tenant, at(offered), at(offered)
	m.text = fmt.Sprintf("%d of %d", offered, tenant)
	s := show(m.stanza)
	s.From, s.At = tenantNumber(tenant), at(offered)
	h := []event{{Status: gateway.StatusQueued, At: at(offered)}, {Status: gateway.StatusSent, At: at(offered + took)}}
	return judge(m, gateway.StatusSent, h, []entry{s})
}

func happened(t *testing.T, name string, tenant, from, to int) *fault {
	t.Helper()
	for _, k := range kinds() {
		if k.name == name {
			return &fault{kind: &k, tenant: tenant, began: at(from), ended: at(to)}
		}
	}
	t.Fatalf("there is no kind %s", name)
	return nil
}

func TestRecoveryIsThatOfTheSlowestTenantAFaultCouldHit(t *testing.T) {
	t.Parallel()
	r := &result{
		shape: onPostgres,
		faults: []*fault{
			happened(t, "worker killed", everyTenant, 10, 11),
			happened(t, "acknowledgement withheld", 1, 12, 12),
			happened(t, "API killed", everyTenant, 900, 901), // nobody offers anything after it
		},
		verdicts: []*verdict{
			sentAfter(0, 1, 1), // long over
			sentAfter(0, 9, 3), // on its way when the worker was killed
			sentAfter(0, 13, 6), sentAfter(0, 14, 7), sentAfter(0, 15, 2), sentAfter(0, 16, 50),
			sentAfter(1, 13, 1), sentAfter(1, 14, 30),
		},
	}
	rows := map[string]*row{}
	for _, line := range r.rows() {
		rows[line.name] = line
	}
	check := func(name string, accepted int, recovery ...time.Duration) {
		t.Helper()
		if got := rows[name]; got.accepted != accepted || fmt.Sprint(got.recoveries) != fmt.Sprint(recovery) {
			t.Errorf("%s: %d messages and %v, want %d and %v", name, got.accepted, got.recoveries, accepted, recovery)
		}
	}
	check("worker killed", 7, 7*time.Second) // tenant 1 is left out, for it waits for its acknowledgement
	check("acknowledgement withheld", 2, 30*time.Second)
	check("API killed", 0)
	check("no fault", 1)
	if all := rows["**all**"]; all.accepted != 8 || all.times != 3 || all.shown != 8 {
		t.Errorf("all: %+v", all)
	}
}

func TestOffendersAreToldWithTheirTimeline(t *testing.T) {
	t.Parallel()
	good, bad := sentAfter(0, 9, 3), sentAfter(0, 20, 1)
	bad = judge(bad.message, bad.status, bad.history, nil)
	r := &result{shape: onPostgres, faults: []*fault{happened(t, "Redis wiped", everyTenant, 10, 20)}, verdicts: []*verdict{good, bad}}
	offenders := r.offenders()
	if len(offenders) != 1 || offenders[0] != bad {
		t.Fatalf("offenders: %+v", offenders)
	}
	told := r.timeline(bad)
	for _, part := range []string{"message m", "lost true", "no phone shows it", "12:00:10.000  fault: Redis wiped", "12:00:21.000  sent"} {
		if !strings.Contains(told, part) {
			t.Errorf("the timeline lacks %q:\n%s", part, told)
		}
	}
	table := report(options{seed: 5}, []*result{r})
	if !strings.Contains(table, "seed 5") || !strings.Contains(table, "| **all** | 1 | 2 | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 1 | 0 |") {
		t.Errorf("the table is\n%s", table)
	}
}

func TestPercentiles(t *testing.T) {
	t.Parallel()
	var values []time.Duration
	for i := 200; i > 0; i-- {
		values = append(values, time.Duration(i))
	}
	if p50, p99, one, none := percentile(values, 50), percentile(values, 99), percentile(values[:1], 99), percentile(nil, 50); p50 != 100 || p99 != 198 || one != 200 || none != -1 {
		t.Errorf("p50 %d, p99 %d, of one %d, of none %d", p50, p99, one, none)
	}
}

func TestWrongFlagsAreRefusedBeforeAnythingIsStarted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-shape", "mysql"}, {"-messages", "0"}, {"-workers", "1"}, {"-pace", "0s"}, {"-tenants", "0"}, {"more"}, {"-each", "-1"}, {"-nothing"}} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, &stdout, &stderr); status != 2 || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%v: status %d, printed %q and %q", args, status, &stdout, &stderr)
		}
	}
	if o, err := parse(nil, &bytes.Buffer{}); err != nil || o.seed == 0 || len(o.shapes()) != 2 {
		t.Errorf("without flags: %+v, %v", o, err)
	}
}
