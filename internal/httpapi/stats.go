package httpapi

import (
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

const (
	defaultStatsSpan    = 24 * time.Hour
	defaultStatsBuckets = 100
)

// statsSteps are the lengths of a slice that are chosen from when none is asked for.
func statsSteps() []time.Duration {
	const day = 24 * time.Hour
	return []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, day, 7 * day}
}

// GetStats answers with what happened to a tenant's messages over time.
func (s *Server) GetStats(c echo.Context, _ string, p spec.GetStatsParams) error {
	if err := onlyQuery(c, "from", "until", "step"); err != nil {
		return err
	}
	window, err := s.statsWindow(p)
	if err != nil {
		return err
	}
	buckets, err := s.store.Stats(c.Request().Context(), callOf(c).tenant.Key, window, gateway.MaxStatsRows)
	if err != nil {
		return wrap(err, "count messages over time")
	}
	shown := spec.Stats{
		From: window.Until, Until: window.Until, StepSeconds: int64(window.Step / time.Second), Data: make([]spec.StatsSlice, len(buckets)),
	}
	if len(buckets) > 0 {
		shown.From = buckets[0].At
	}
	for i, b := range buckets {
		shown.Data[i] = spec.StatsSlice{
			At: b.At, Accepted: b.Accepted, Sent: b.Sent, Delivered: b.Delivered, Read: b.Read, Failed: b.Failed, Unknown: b.Unknown,
		}
	}
	return sendJSON(c, shown)
}

func (s *Server) statsWindow(p spec.GetStatsParams) (gateway.StatsWindow, error) {
	var w gateway.StatsWindow
	refuse := func(format string, args ...any) (gateway.StatsWindow, error) {
		return w, gateway.Errorf(gateway.CodeInvalidParameter, format, args...)
	}
	w.Until = s.opts.Clock().UTC()
	if p.Until != nil {
		w.Until = p.Until.UTC()
	}
	w.From = w.Until.Add(-defaultStatsSpan)
	if p.From != nil {
		w.From = p.From.UTC()
	}
	switch span := w.Until.Sub(w.From); {
	case span <= 0:
		return refuse("from must be before until")
	case span > gateway.MaxStatsSpan || w.From.Year() < 1970 || w.Until.Year() > 9999:
		return refuse("from must be at most 366 days before until")
	case p.Step == nil:
		for _, w.Step = range statsSteps() {
			if span <= w.Step*defaultStatsBuckets {
				break
			}
		}
	default:
		var err error
		if w.Step, err = time.ParseDuration(*p.Step); err != nil {
			seconds, errSeconds := strconv.ParseInt(*p.Step, 10, 32)
			if err = errSeconds; err == nil {
				w.Step = time.Duration(seconds) * time.Second
			}
		}
		if err != nil || w.Step < time.Second || w.Step > gateway.MaxStatsSpan || w.Step%time.Second != 0 {
			return refuse("step must be a duration of whole seconds, such as 15m, of at most 366 days")
		}
	}
	seconds := int64(w.Step / time.Second)
	w.From = time.Unix(w.From.Unix()/seconds*seconds, 0).UTC()
	if n := w.Buckets(); n > gateway.MaxStatsBuckets {
		return refuse("a step of %s makes %d slices; %d are allowed", w.Step, n, gateway.MaxStatsBuckets)
	}
	return w, nil
}
