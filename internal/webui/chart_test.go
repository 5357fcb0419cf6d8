package webui

import (
	"strconv"
	"testing"
	"time"
)

// TestChartsShowWhatTheyCount: the parts of a bar stand on one another, none outside the chart, as high as what they stand for.
func TestChartsShowWhatTheyCount(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := stats{From: at, Until: at.Add(3 * time.Hour), StepSeconds: 3600, Slices: []slice{
		{At: at, Accepted: 90, Sent: 80, Delivered: 60, Read: 50, Failed: 10, Unknown: 10},
		{At: at.Add(time.Hour)},
		{At: at.Add(2 * time.Hour), Accepted: 5, Sent: 40, Delivered: 40, Read: 40},
	}}
	outcomes := s.outcomes()
	if outcomes.Top != 100 || len(outcomes.Bars) != 2 || len(outcomes.Bars[0].Parts) != 5 || len(outcomes.Bars[1].Parts) != 1 {
		t.Fatalf("outcomes: %+v", outcomes)
	}
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	bottom, want := chartHeight, []float64{50, 10, 20, 10, 10} // read, delivered, sent, unknown, failed: of 100
	for i, p := range outcomes.Bars[0].Parts {
		if high := number(p.Height); high != want[i]*chartHeight/100 || number(p.Y)+high != bottom {
			t.Errorf("part %d (%s): y %s, height %s, want %v on %v", i, p.Class, p.Y, p.Height, want[i]*chartHeight/100, bottom)
		}
		bottom = number(p.Y)
	}
	if title := outcomes.Bars[0].Title; title != "1 March 12:00 UTC: 50 read, 10 delivered, not read, 20 sent, not delivered, 10 unknown, 10 failed" {
		t.Errorf("title %q", title)
	}
	through := s.throughput()
	for _, p := range through.Bars[1].Parts {
		if x := number(p.X) + number(p.Width); x > chartWidth+0.01 || number(p.Y)+number(p.Height) != chartHeight {
			t.Errorf("part %+v is not beside the other, on the ground", p)
		}
	}
	if total := s.Total(); total.Accepted != 95 || total.Sent != 120 || len(s.Busy()) != 2 {
		t.Errorf("total %+v, busy %v", total, s.Busy())
	}
	if empty := (stats{}).outcomes(); empty.Top != 1 || len(empty.Bars) != 0 {
		t.Errorf("nothing: %+v", empty)
	}
}

func TestWordsAreAsPeopleSayThem(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int64]string{
		0: "0 seconds", 1: "1 second", 119: "119 seconds", 120: "2 minutes", 7199: "119 minutes", 7200: "2 hours", 2 * 86400: "2 days",
	} {
		if got, err := duration(seconds); err != nil || got != want {
			t.Errorf("%d s: %q, %v, want %q", seconds, got, err, want)
		}
	}
	for to, want := range map[string]string{"919876543210": "+919876543210", "123-456@g.us": "123-456@g.us", "": ""} {
		if got := person(to); got != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
	for n, want := range map[int]int{0: 1, 1: 1, 3: 5, 5: 5, 11: 20, 99: 100, 100: 100, 501: 1000} {
		if got := roundUp(n); got != want {
			t.Errorf("%d rounded up is %d, want %d", n, got, want)
		}
	}
	filter := messageFilter{Status: "failed", To: "+91 98765", From: "2026-03-01T12:00"}
	if asked, shown := filter.query(true), filter.query(false); asked != "from=2026-03-01T12%3A00%3A00Z&status=failed&to=%2B91+98765" ||
		shown != "from=2026-03-01T12%3A00&status=failed&to=%2B91+98765" {
		t.Errorf("asked %s, shown %s", asked, shown)
	}
}
