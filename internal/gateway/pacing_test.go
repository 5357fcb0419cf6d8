package gateway_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the machine may have none

	"pgregory.net/rapid"

	"github.com/wapro/hub/internal/gateway"
)

func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestQuietHoursEnd(t *testing.T) {
	t.Parallel()
	night := gateway.QuietHours{From: 22 * 60, To: 8 * 60, Zone: berlin(t)}
	siesta := gateway.QuietHours{From: 13 * 60, To: 15*60 + 30, Zone: berlin(t)}
	at := func(s string) time.Time {
		got, err := time.ParseInLocation("2006-01-02 15:04:05", s, berlin(t))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, test := range []struct {
		quiet     gateway.QuietHours
		now, want string
	}{
		{night, "2026-03-10 21:59:59", "2026-03-10 21:59:59"},
		{night, "2026-03-10 22:00:00", "2026-03-11 08:00:00"},
		{night, "2026-03-11 07:59:59", "2026-03-11 08:00:00"},
		{night, "2026-03-11 08:00:00", "2026-03-11 08:00:00"},
		{night, "2026-03-28 23:00:00", "2026-03-29 08:00:00"},                                                           // the clock goes forward: an hour less
		{night, "2026-10-24 23:00:00", "2026-10-25 08:00:00"},                                                           // and back: an hour more
		{gateway.QuietHours{From: 2*60 + 1, To: 2 * 60, Zone: berlin(t)}, "2026-03-28 12:00:00", "2026-03-30 02:00:00"}, // no two o'clock
		{siesta, "2026-03-10 12:59:00", "2026-03-10 12:59:00"},
		{siesta, "2026-03-10 14:00:00", "2026-03-10 15:30:00"},
		{gateway.QuietHours{}, "2026-03-10 23:00:00", "2026-03-10 23:00:00"},
	} {
		if got := test.quiet.End(at(test.now).UTC()); !got.Equal(at(test.want)) {
			t.Errorf("%s-%s at %s: %s, want %s", test.quiet.From, test.quiet.To, test.now, got, test.want)
		}
	}
}

func TestClockTimeIsStrict(t *testing.T) {
	t.Parallel()
	if c, err := gateway.ParseClockTime("07:05"); err != nil || c.String() != "07:05" {
		t.Errorf("%s, %v", c, err)
	}
	for _, s := range []string{"", "7:05", "24:00", "12:60", "12", "12:00:00", " 12:00"} {
		if c, err := gateway.ParseClockTime(s); err == nil {
			t.Errorf("%q is %s", s, c)
		}
	}
}

// TestPacedSendsKeepEveryCap sends whenever Next allows it, and counts.
func TestPacedSendsKeepEveryCap(t *testing.T) {
	t.Parallel()
	zone := berlin(t)
	rapid.Check(t, func(t *rapid.T) {
		p := gateway.Pacing{
			Delay:     time.Duration(rapid.IntRange(0, 30).Draw(t, "delay")) * time.Second,
			PerMinute: rapid.IntRange(0, 6).Draw(t, "minute"), PerHour: rapid.IntRange(0, 40).Draw(t, "hour"),
			PerDay: rapid.IntRange(0, 120).Draw(t, "day"),
		}
		if rapid.Bool().Draw(t, "quiet") {
			p.Quiet = gateway.QuietHours{
				From: gateway.ClockTime(rapid.IntRange(0, 1439).Draw(t, "from")),
				To:   gateway.ClockTime(rapid.IntRange(0, 1439).Draw(t, "to")), Zone: zone,
			}
		}
		month := rapid.SampledFrom([]time.Month{time.March, time.October}).Draw(t, "month") // the clock is changed in both
		now := time.Date(2026, month, 24, 12, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 2*86_400).Draw(t, "start")) * time.Second)
		var pace gateway.Pace
		var all []time.Time
		for range 200 {
			lane := gateway.PriorityNormal
			if rapid.IntRange(0, 4).Draw(t, "lane") == 0 {
				lane = gateway.PriorityHigh
			}
			next := p.Next(lane, pace, now)
			if next.Before(now) {
				t.Fatalf("next %s is before now %s", next, now)
			}
			if again := p.Next(lane, pace, next); !again.Equal(next) {
				t.Fatalf("%s was promised, then %s", next, again)
			}
			if lane != gateway.PriorityHigh && p.Quiet.End(next) != next {
				t.Fatalf("%s lies in the quiet hours %s-%s", next, p.Quiet.From, p.Quiet.To)
			}
			if lane != gateway.PriorityHigh && !pace.Last.IsZero() && next.Sub(pace.Last) < p.Delay {
				t.Fatalf("%s after the one before", next.Sub(pace.Last))
			}
			now = next
			all = append(all, now)
			pace.Sent = append(pace.Sent, now)
			if n := p.LongestWindow(); len(pace.Sent) > n {
				pace.Sent = pace.Sent[len(pace.Sent)-n:]
			}
			pace.Last, pace.Gap = now, p.Delay
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "idle")) * time.Millisecond)
		}
		for i, from := range all {
			for _, c := range []struct {
				limit  int
				window time.Duration
			}{{p.PerMinute, time.Minute}, {p.PerHour, time.Hour}, {p.PerDay, 24 * time.Hour}} {
				n := 0
				for _, at := range all[i:] {
					if at.Before(from.Add(c.window)) {
						n++
					}
				}
				if c.limit > 0 && n > c.limit {
					t.Fatalf("%d messages within %s of %s, %d are allowed", n, c.window, from, c.limit)
				}
			}
		}
	})
}
