package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// spent is the CPU time so far of this program and of what it has started, by the name of the program: what a rate is
// made of. A process that ended in between is missing from the second look; those of Postgres that serve a connection stay.
func spent(b *bench) map[string]time.Duration {
	b.Helper()
	type process struct {
		name   string
		parent int
		cpu    time.Duration
	}
	all := map[int]process{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file) //nolint:gosec // of /proc
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent ... utime and stime are the 14th and 15th.
		before, after, _ := strings.Cut(string(content), " (")
		end := strings.LastIndex(after, ") ")
		fields := strings.Fields(after[max(end, 0)+1:])
		if end < 0 || len(fields) < 13 {
			b.Fatalf("cannot read %s", file)
		}
		number := func(s string) int {
			n, err := strconv.Atoi(s)
			if err != nil {
				b.Fatalf("read %s: %v", file, err)
			}
			return n
		}
		name, pid := after[:end], number(before)
		if pid == os.Getpid() {
			name = client
		}
		all[pid] = process{name, number(fields[1]), time.Duration(number(fields[11])+number(fields[12])) * clockTick}
	}
	sum := map[string]time.Duration{}
	for pid, p := range all {
		for ancestor := pid; ancestor > 1; ancestor = all[ancestor].parent {
			if ancestor == os.Getpid() {
				sum[p.name] += p.cpu
				break
			}
		}
	}
	return sum
}

// spentFor is the milliseconds that each program but this one spent between two looks for one of n.
func spentFor(before, after map[string]time.Duration, n float64) map[string]float64 {
	of := map[string]float64{}
	for program, cpu := range after {
		if program != client {
			of[program] = max(0, milliseconds(cpu-before[program])/n) // less: a process of that name has ended
		}
	}
	return of
}

func sum(of map[string]float64) (all float64) {
	for _, ms := range of {
		all += ms
	}
	return all
}
