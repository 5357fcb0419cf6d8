package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// row is one measured thing: pairs of figures, the hub's and its baseline's, each pair taken one after the other.
type row struct {
	what     string
	shape    string
	unit     string
	baseline string // what the hub is compared with; empty: nothing comparable exists
	pairs    []pair
}

// pair is one figure of each. base is 0 when there is no baseline.
type pair struct{ hub, base float64 }

// ratio is the median of the pairs' ratios, with the lowest and the highest.
func (r row) ratio() (median, low, high float64) {
	var ratios []float64
	for _, p := range r.pairs {
		ratios = append(ratios, p.hub/p.base)
	}
	return middle(ratios), slices.Min(ratios), slices.Max(ratios)
}

func (r row) hub() float64  { return middle(r.figures(func(p pair) float64 { return p.hub })) }
func (r row) base() float64 { return middle(r.figures(func(p pair) float64 { return p.base })) }

func (r row) figures(of func(pair) float64) []float64 {
	var all []float64
	for _, p := range r.pairs {
		all = append(all, of(p))
	}
	return all
}

// middle is the median.
func middle(values []float64) float64 { return percentile(values, 50) }

// percentile is the p-th percentile by nearest rank, the mean of the middle two for a median of an even number; NaN of nothing.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if p == 50 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[max(0, int(math.Ceil(p/100*float64(n)))-1)]
}

// table collects rows and prints them as Markdown.
type table struct {
	mu       sync.Mutex
	rows     []row
	matrices []string // as they are printed
}

func newTable() *table { return &table{} }

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

func (t *table) addMatrix(title string, m *matrix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.matrices = append(t.matrices, title+"\n\n"+m.String())
}

func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 && len(t.matrices) > 0 {
		return strings.Join(t.matrices, "\n")
	}
	var b strings.Builder
	b.WriteString("| what | shape | hub | compared with | its figure | hub / it | lowest - highest of the pairs |\n|---|---|---|---|---|---|---|\n")
	for _, r := range t.rows {
		baseline, base, ratio, spread := "-", "-", "-", "-"
		if r.baseline != "" {
			middle, low, high := r.ratio()
			baseline, base, ratio = r.baseline, figure(r.base(), r.unit), "**"+figure(middle, "")+"**"
			if len(r.pairs) > 1 {
				spread = fmt.Sprintf("%s - %s of %d", figure(low, ""), figure(high, ""), len(r.pairs))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.what, r.shape, figure(r.hub(), r.unit), baseline, base, ratio, spread)
	}
	for _, m := range t.matrices {
		b.WriteString("\n" + m)
	}
	return b.String()
}

// figure shows two or three significant digits, and more of a number above 1,000.
func figure(v float64, unit string) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f%s", v, unit)
	case v >= 10:
		return fmt.Sprintf("%.1f%s", v, unit)
	case v >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f%s", v, unit)
	default:
		return fmt.Sprintf("%.2g%s", v, unit)
	}
}
