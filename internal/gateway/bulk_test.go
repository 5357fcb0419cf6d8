package gateway

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestBulkIsSteeredUntilItEnds(t *testing.T) {
	t.Parallel()
	pause := func(b *Bulk) error { return b.Pause("because") }
	for _, test := range []struct {
		from  BulkStatus
		steer func(*Bulk) error
		to    BulkStatus // "": CodeConflict
	}{
		{BulkRunning, pause, BulkPaused},
		{BulkPaused, pause, BulkPaused},
		{BulkCanceled, pause, ""},
		{BulkFinished, pause, ""},
		{BulkStaging, pause, ""},
		{BulkRunning, (*Bulk).Resume, BulkRunning},
		{BulkPaused, (*Bulk).Resume, BulkRunning},
		{BulkCanceled, (*Bulk).Resume, ""},
		{BulkFinished, (*Bulk).Resume, ""},
		{BulkRunning, (*Bulk).Cancel, BulkCanceled},
		{BulkPaused, (*Bulk).Cancel, BulkCanceled},
		{BulkCanceled, (*Bulk).Cancel, BulkCanceled},
		{BulkFinished, (*Bulk).Cancel, ""},
		{BulkDiscarding, (*Bulk).Cancel, ""},
	} {
		b := Bulk{Status: test.from}
		err := test.steer(&b)
		if test.to == "" {
			if !errors.Is(err, &Error{Code: CodeConflict}) || b.Status != test.from {
				t.Errorf("from %s to %s: %v", test.from, b.Status, err)
			}
		} else if err != nil || b.Status != test.to {
			t.Errorf("from %s to %s, want %s: %v", test.from, b.Status, test.to, err)
		}
	}
	b := Bulk{Status: BulkPaused, Reason: "its own"}
	if err := b.Pause(""); err != nil || b.Reason != "its own" {
		t.Errorf("pausing again took the reason: %q, %v", b.Reason, err)
	}
	if err := b.Resume(); err != nil || b.Reason != "" {
		t.Errorf("resumed with %q, %v", b.Reason, err)
	}
}

func results(statuses ...Status) []BulkResult {
	var list []BulkResult
	for _, status := range statuses {
		list = append(list, BulkResult{Status: status})
	}
	return list
}

func TestFailureRateCountsWhatWasTried(t *testing.T) {
	t.Parallel()
	rate, judged := FailureRate(results(StatusSent, StatusDelivered, StatusRead, StatusFailed, StatusUnknown, StatusCanceled, StatusExpired, StatusQueued))
	if judged != 5 || rate != 0.4 {
		t.Errorf("%v of %d", rate, judged)
	}
	if rate, judged := FailureRate(nil); rate != 0 || judged != 0 {
		t.Errorf("%v of %d", rate, judged)
	}
}

func TestRateIsThatOfTheLastResults(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ago ...time.Duration) []BulkResult {
		var list []BulkResult
		for _, d := range ago {
			list = append(list, BulkResult{Status: StatusSent, At: now.Add(-d)})
		}
		return list
	}
	const s = time.Second
	for name, test := range map[string]struct {
		results []BulkResult
		want    float64
	}{
		"nothing yet":            {nil, 0},
		"one says nothing":       {at(s), 0},
		"two a second":           {at(0, s/2, s, 3*s/2), 2},
		"in any order":           {at(s, 0, 3*s/2, s/2), 2},
		"slower lately":          {at(8*s, 9*s, 10*s), 0.2},
		"nothing for a minute":   {at(61*s, 62*s, 63*s), 0},
		"all at the same moment": {at(0, 0, 0), 2000},
	} {
		if got := Rate(test.results, now); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
