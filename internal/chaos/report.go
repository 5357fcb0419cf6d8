package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// result is what became of one shape's run.
type result struct {
	shape      shape
	faults     []*fault
	verdicts   []*verdict
	requests   int // POSTs, repetitions included
	unanswered int // messages that were never accepted as far as the client knows
	took       time.Duration

	windows []window // of the faults, once measured
}

// window is how long a fault had an effect.
type window struct {
	*fault
	until    time.Time     // it was over, and everybody it had hit was sending again
	recovery time.Duration // see recoveries
	measured bool
}

func (r *result) offenders() []*verdict {
	return slices.DeleteFunc(slices.Clone(r.verdicts), func(v *verdict) bool { return !v.offends() })
}

// firsts is how many messages of a tenant tell how long a fault held it up: the one that a fault hits may be told by its receipt what
// its acknowledgement did not say, while those behind it wait.
const firsts = 3

// measure fills in the windows. A fault's recovery is how long the first messages that a tenant offered after the fault had begun took
// until they were sent: the slowest of them, of the slowest tenant that the fault could hit. For a scripted fault that is the tenant it was
// made for, for all others every tenant that no scripted fault was holding up at that time. Where that leaves nobody it is not measured.
func (r *result) measure() {
	if r.windows != nil {
		return
	}
	byTenant := map[int][]*verdict{}
	for _, v := range r.verdicts {
		byTenant[v.tenant] = append(byTenant[v.tenant], v)
	}
	for _, share := range byTenant {
		slices.SortFunc(share, func(a, b *verdict) int { return a.offered.Compare(b.offered) })
	}
	after := func(tenant int, begin time.Time) (took time.Duration, until time.Time) {
		share := byTenant[tenant]
		i, _ := slices.BinarySearchFunc(share, begin, func(v *verdict, t time.Time) int { return v.offered.Compare(t) })
		for _, v := range share[i:min(i+firsts, len(share))] {
			if end := v.ended(); !end.IsZero() {
				took = max(took, end.Sub(v.offered))
				until = later(until, end)
			}
		}
		return took, until
	}
	scripted := map[int][]window{}
	r.windows = make([]window, len(r.faults))
	for i, f := range r.faults {
		r.windows[i] = window{fault: f, until: f.ended}
		if f.tenant != everyTenant {
			r.windows[i].add(after(f.tenant, f.began))
			scripted[f.tenant] = append(scripted[f.tenant], r.windows[i])
		}
	}
	for i := range r.windows {
		win := &r.windows[i]
		if win.tenant != everyTenant {
			continue
		}
		for tenant := range byTenant {
			took, until := after(tenant, win.began)
			heldUp := func(s window) bool { return s.began.Before(until) && s.until.After(win.began) }
			if !slices.ContainsFunc(scripted[tenant], heldUp) {
				win.add(took, until)
			}
		}
	}
}

// add takes note of a tenant; until is zero when it offered nothing more.
func (w *window) add(took time.Duration, until time.Time) {
	if until.IsZero() {
		return
	}
	w.measured = true
	w.recovery = max(w.recovery, took)
	w.until = later(w.until, until)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// met reports whether the message was on its way while the fault had an effect on its tenant.
func (w *window) met(v *verdict) bool {
	if w.began.IsZero() || w.tenant != everyTenant && w.tenant != v.tenant || v.offered.After(w.until) {
		return false
	}
	end := v.ended()
	return end.IsZero() || end.After(w.began)
}

// row is one line of the table.
type row struct {
	name                                                                          string
	times                                                                         int
	accepted, shown, waiting, failed, lost, twice, twoIDs, again, untrue, retreat int
	recoveries                                                                    []time.Duration
}

func (r *row) count(v *verdict) {
	r.accepted++
	for _, c := range []struct {
		counter *int
		counts  bool
	}{
		{&r.shown, v.shown},
		{&r.waiting, v.waiting},
		{&r.failed, v.failed},
		{&r.lost, v.lost},
		{&r.twice, v.twice},
		{&r.twoIDs, v.twoIDs},
		{&r.again, v.again},
		{&r.untrue, v.untrue != ""},
		{&r.retreat, v.backwards != ""},
	} {
		if c.counts {
			*c.counter++
		}
	}
}

func (r *row) String() string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %s | %s | %d |\n", r.name, r.times, r.accepted, r.shown, r.waiting, r.failed, r.lost, r.twice,
		r.twoIDs, r.again, r.untrue, r.retreat, seconds(percentile(r.recoveries, 50)), seconds(percentile(r.recoveries, 99)), len(r.recoveries))
}

// rows are the kinds of faults in their order, then what met none, then everything.
func (r *result) rows() []*row {
	r.measure()
	var rows []*row
	byKind := map[string]*row{}
	for _, k := range kinds() {
		if slices.Contains(k.shapes, r.shape) {
			byKind[k.name] = &row{name: k.name}
			rows = append(rows, byKind[k.name])
		}
	}
	total, none := &row{name: "**all**", times: len(r.faults)}, &row{name: "no fault"}
	for _, win := range r.windows {
		byKind[win.kind.name].times++
		if win.measured {
			byKind[win.kind.name].recoveries = append(byKind[win.kind.name].recoveries, win.recovery)
			total.recoveries = append(total.recoveries, win.recovery)
		}
	}
	for _, v := range r.verdicts {
		met := map[string]bool{}
		for i := range r.windows {
			if win := &r.windows[i]; !met[win.kind.name] && win.met(v) {
				met[win.kind.name] = true
				byKind[win.kind.name].count(v)
			}
		}
		if len(met) == 0 {
			none.count(v)
		}
		total.count(v)
	}
	return append(rows, none, total)
}

// report is the table of every shape in Markdown.
func report(o options, results []*result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "\n### %s: %d faults, %d messages, seed %d\n\n", r.shape, len(r.faults), len(r.verdicts)+r.unanswered, o.seed)
		b.WriteString("| fault | times | accepted | shown | waiting | failed | lost | shown twice | two ids | decrypted again | untrue | backwards | recovery p50 | p99 | of |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, line := range r.rows() {
			b.WriteString(line.String())
		}
		ends := map[gateway.Status]int{}
		for _, v := range r.verdicts {
			ends[v.status]++
		}
		fmt.Fprintf(&b, "\nThey ended as")
		for _, s := range gateway.Statuses() {
			if ends[s] > 0 {
				fmt.Fprintf(&b, " %s %d,", s, ends[s])
			}
		}
		fmt.Fprintf(&b, " not known to the hub %d; %d requests for %d accepted messages, %d messages never accepted; %d tenants, LEASE_TTL %s, %s in all.\n",
			ends[""], r.requests, len(r.verdicts), r.unanswered, o.tenants, o.lease, r.took.Round(time.Second))
	}
	return b.String()
}

// timeline tells all that is known of a message.
func (r *result) timeline(v *verdict) string {
	r.measure()
	type moment struct {
		at   time.Time
		what string
	}
	moments := []moment{{v.offered, "offered"}, {v.accepted, fmt.Sprintf("accepted after %d requests as %s", v.requests, v.stanza)}}
	for _, e := range v.history {
		moments = append(moments, moment{e.At, fmt.Sprintf("%s %s", e.Status, e.Detail)})
	}
	for _, s := range v.shows {
		moments = append(moments, moment{s.At, fmt.Sprintf("shown by %s under %s", s.phone, s.ID)})
		for _, at := range s.Decrypted[1:] {
			moments = append(moments, moment{at, "decrypted again"})
		}
	}
	for _, win := range r.windows {
		if win.met(v) {
			moments = append(moments, moment{win.began, "fault: " + win.String()}, moment{win.ended, "fault is over: " + win.String()})
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return a.at.Compare(b.at) })
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: message %s, %q from %s to %s: ", r.shape, v.id, v.text, tenantID(v.tenant), v.to)
	fmt.Fprintf(&b, "status %q, waiting %t, failed %t, lost %t, shown twice %t, two ids %t, untrue %q, backwards %q\n", v.status, v.waiting, v.failed, v.lost, v.twice, v.twoIDs, v.untrue, v.backwards)
	for _, m := range moments {
		fmt.Fprintf(&b, "  %s  %s\n", m.at.UTC().Format("15:04:05.000"), m.what)
	}
	return b.String()
}

// percentile is the smallest of the values that is at least as long as p percent of them; -1 without values.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return -1
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}

func seconds(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
