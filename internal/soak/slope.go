package main

import (
	"fmt"
	"time"
)

// sample is what a process holds at a moment.
type sample struct {
	at                      time.Duration
	heap, goroutines, files float64 // heap in bytes, after a collection
}

// look is one of the things that must not grow.
type look struct {
	what  string
	of    func(sample) float64
	part  float64 // of its mean that it may grow by over the last two thirds of a run, or
	least float64 // by this much, whichever is more
	unit  float64
	name  string
}

// looks are generous to what goes up and down on a busy machine: what is kept of each message is thousands after half an hour.
func looks() []look {
	return []look{
		{"heap after a collection", func(s sample) float64 { return s.heap }, 0.15, 8 << 20, 1 << 20, " MiB"},
		{"goroutines", func(s sample) float64 { return s.goroutines }, 0.1, 40, 1, ""},
		{"open files", func(s sample) float64 { return s.files }, 0.1, 30, 1, ""},
	}
}

func (l look) show(v float64) string { return fmt.Sprintf("%.1f%s", v/l.unit, l.name) }

// verdict is how a process did.
type verdict struct {
	first, last, growth, bound float64
	flat                       bool
}

// judge fits a line through what there was in the last two thirds of a run: pools and caches fill in the first. Too few samples are no proof.
func (l look) judge(samples []sample) (v verdict) {
	third := len(samples) / 3
	if third < 3 {
		return v
	}
	v.first, v.last = l.mean(samples[:third]), l.mean(samples[len(samples)-third:])
	rest := samples[third:]
	mean, at := l.mean(rest), 0.0
	for _, s := range rest {
		at += s.at.Seconds() / float64(len(rest))
	}
	var up, along float64
	for _, s := range rest {
		d := s.at.Seconds() - at
		up += d * (l.of(s) - mean)
		along += d * d
	}
	v.growth = up / along * (rest[len(rest)-1].at - rest[0].at).Seconds()
	v.bound = max(l.part*mean, l.least)
	v.flat = v.growth <= v.bound
	return v
}

func (l look) mean(samples []sample) (mean float64) {
	for _, s := range samples {
		mean += l.of(s) / float64(len(samples))
	}
	return mean
}
