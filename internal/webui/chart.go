package webui

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// slice is what happened to messages in one slice of time.
type slice struct {
	At        time.Time `json:"at"`
	Accepted  int       `json:"accepted"`
	Sent      int       `json:"sent"`
	Delivered int       `json:"delivered"`
	Read      int       `json:"read"`
	Failed    int       `json:"failed"`
	Unknown   int       `json:"unknown"`
}

// stats is the API's answer about a time.
type stats struct {
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	StepSeconds int64     `json:"stepSeconds"`
	Slices      []slice   `json:"data"`
}

// Total is all slices together.
func (s stats) Total() slice {
	var all slice
	for _, d := range s.Slices {
		all.Accepted += d.Accepted
		all.Sent += d.Sent
		all.Delivered += d.Delivered
		all.Read += d.Read
		all.Failed += d.Failed
		all.Unknown += d.Unknown
	}
	return all
}

// Busy are the slices in which something happened.
func (s stats) Busy() []slice {
	var busy []slice
	for _, d := range s.Slices {
		if at := d.At; d != (slice{At: at}) {
			busy = append(busy, d)
		}
	}
	return busy
}

// The coordinates of a chart; the page stretches it to its width.
const (
	chartWidth  = 1000.0
	chartHeight = 200.0
)

// chart is a bar for each slice of time, its parts on top of one another.
type chart struct {
	Title   string
	Summary string // what it shows, in words
	Legend  []legend
	Top     int // the value at its upper edge
	Bars    []chartBar
	From    time.Time
	Until   time.Time
	Width   float64
	Height  float64
}

// legend names the parts of the bars that have a class.
type legend struct{ Class, Name string }

type chartBar struct {
	Title string // what the bar shows, in words
	Parts []chartPart
}

// chartPart is a rectangle.
type chartPart struct {
	Class               string
	X, Y, Width, Height string
}

// series is one part of every bar.
type series struct {
	legend
	of func(slice) int
}

// draw makes a chart of parts, from the bottom up. beside puts them side by side instead.
func (s stats) draw(title, summary string, beside bool, parts ...series) chart {
	c := chart{Title: title, Summary: summary, From: s.From, Until: s.Until, Width: chartWidth, Height: chartHeight}
	highest := 0
	for _, d := range s.Slices {
		sum := 0
		for _, p := range parts {
			if n := p.of(d); beside {
				sum = max(sum, n)
			} else {
				sum += n
			}
		}
		highest = max(highest, sum)
	}
	c.Top = roundUp(highest)
	for _, p := range parts {
		c.Legend = append(c.Legend, p.legend)
	}
	if len(s.Slices) == 0 {
		return c
	}
	step := chartWidth / float64(len(s.Slices))
	wide := step * 0.8
	for i, d := range s.Slices {
		bar := chartBar{}
		var told []string
		left, bottom := float64(i)*step+step*0.1, chartHeight
		for j, p := range parts {
			n := p.of(d)
			if n == 0 {
				continue
			}
			told = append(told, fmt.Sprintf("%d %s", n, p.Name))
			high := max(float64(n)/float64(c.Top)*chartHeight, 1) // one message among thousands is seen too
			part := chartPart{Class: p.Class, X: coordinate(left), Width: coordinate(wide), Height: coordinate(high)}
			if beside {
				part.X, part.Width = coordinate(left+float64(j)*wide/float64(len(parts))), coordinate(wide/float64(len(parts)))
				bottom = chartHeight
			}
			bottom -= high
			part.Y = coordinate(max(bottom, 0))
			bar.Parts = append(bar.Parts, part)
		}
		if len(bar.Parts) == 0 {
			continue
		}
		bar.Title = s.span(d.At) + ": " + strings.Join(told, ", ")
		c.Bars = append(c.Bars, bar)
	}
	return c
}

// span is the time of a slice in words.
func (s stats) span(at time.Time) string {
	at = at.UTC()
	if s.StepSeconds >= int64(24*time.Hour/time.Second) {
		return at.Format("2 January")
	}
	return at.Format("2 January 15:04 UTC")
}

func coordinate(n float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", n), "0"), ".")
}

// roundUp is the next of 1, 2, 5, 10, 20, 50 ...
func roundUp(n int) int {
	if n <= 1 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(float64(n))))
	for _, times := range []float64{1, 2, 5} {
		if round := int(times * unit); round >= n {
			return round
		}
	}
	return int(10 * unit)
}

// throughput shows how many messages came in and went out.
func (s stats) throughput() chart {
	t := s.Total()
	return s.draw("Throughput", fmt.Sprintf("%d messages were accepted and %d were sent.", t.Accepted, t.Sent), true,
		series{legend{"c-accepted", "accepted"}, func(d slice) int { return d.Accepted }},
		series{legend{"c-sent", "sent"}, func(d slice) int { return d.Sent }})
}

// outcomes shows what became of messages.
func (s stats) outcomes() chart {
	t := s.Total()
	return s.draw("Outcomes", fmt.Sprintf("Of %d sent messages %d were delivered and %d read. %d failed, the outcome of %d is unknown.",
		t.Sent, t.Delivered, t.Read, t.Failed, t.Unknown), false,
		series{legend{"c-read", "read"}, func(d slice) int { return d.Read }},
		series{legend{"c-delivered", "delivered, not read"}, func(d slice) int { return d.Delivered - d.Read }},
		series{legend{"c-sent", "sent, not delivered"}, func(d slice) int { return d.Sent - d.Delivered }},
		series{legend{"c-unknown", "unknown"}, func(d slice) int { return d.Unknown }},
		series{legend{"c-failed", "failed"}, func(d slice) int { return d.Failed }})
}
