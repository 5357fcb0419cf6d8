// The bench program measures the hub against what it is built from: a bare echo handler, a bare whatsmeow loop, a bare asynq
// server. It starts everything itself on loopback addresses, takes each pair of measurements one after the other in one run,
// and prints a Markdown table of ratios with the absolute figures beside them. `make bench` runs it; docs/performance.md
// has a table and says how to read it.
//
// Every hub is the real programs, api and worker, in processes of their own; so are the simulator and the baselines, which are
// this program once more (child.go). This process makes the load and waits.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// options are the flags.
type options struct {
	quick    bool
	only     *regexp.Regexp
	n        int           // messages of a timed run of one session; others follow from it
	pairs    int           // of runs, hub and baseline in turn
	many     int           // sessions that send at the same time, beside one alone
	accept   time.Duration // length of one run of accepts
	sessions int           // that idle
	window   time.Duration // that idle sessions are watched for
	samples  int           // of a latency

	recipients int   // of a bulk; 0: as many as one may have
	tenants    []int // that growth is shown for
	waiting    []int // messages that growth is shown for
}

func parse(args []string, stderr io.Writer) (options, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	quick := flags.Bool("quick", false, "smaller runs: some minutes in all, and noisier figures")
	only := flags.String("only", "", "a regular expression: run the sections whose `name` it matches, of "+strings.Join(names(), ", "))
	n := flags.Int("n", 0, "messages of a timed run of one session (0: 600, quick 60)")
	pairs := flags.Int("pairs", 0, "runs of hub and baseline in turn, of which the median ratio counts (0: 3, quick 1)")
	sessions := flags.Int("sessions", 0, "idle sessions (0: 200, quick 20)")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	o := options{
		quick: *quick, n: 600, pairs: 3, many: 20, accept: 3 * time.Second, sessions: 200, window: 30 * time.Second, samples: 100,
		tenants: []int{1, 10, 100, 1000}, waiting: []int{1000, 10_000, 100_000, 1_000_000},
	}
	if o.quick {
		o.n, o.pairs, o.accept, o.sessions, o.window, o.samples = 60, 1, time.Second, 20, 10*time.Second, 10
		o.tenants, o.waiting = o.tenants[:3], o.waiting[:3]
	}
	for value, into := range map[*int]*int{n: &o.n, pairs: &o.pairs, sessions: &o.sessions} {
		if *value > 0 {
			*into = *value
		}
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return options{}, fmt.Errorf("read -only: %w", err)
	}
	return o, nil
}

// bench is one section being measured.
type bench struct {
	testing.TB
	options
	shape shape
	table *table
}

// section measures one thing in one shape of the hub and adds rows to the table.
type section struct {
	name  string
	shape shape
	asked bool // it takes long: only when it is asked for by name
	run   func(*bench)
}

func sections() []section {
	var all []section
	for _, one := range []struct {
		name  string
		asked bool
		run   func(*bench)
	}{
		{"accept", false, accept},
		{"bulk", false, sendBulk},
		{"stores", false, stores},
		{"send", false, send},
		{"idle", false, idle},
		{"latency", false, latency},
		{"neighbours", false, neighbours},
		{"hooks", false, hooks},
		{"growth-tenants", true, growTenants},
		{"growth-waiting", true, growBacklog},
	} {
		for _, s := range []shape{onPostgres, onSQLite} {
			all = append(all, section{one.name + "/" + s.name, s, one.asked, one.run})
		}
	}
	return all
}

func names() (list []string) {
	for _, s := range sections() {
		list = append(list, s.name)
	}
	return list
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if role := os.Getenv(childRole); role != "" {
		os.Exit(runChild(ctx, role))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run measures and returns the exit code: 1 when a section failed, whose rows are missing then.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	begun, code := time.Now(), 0
	results := newTable()
	machine := describe(ctx, args)
	for _, s := range sections() {
		if !o.only.MatchString(s.name) || s.asked && o.only.String() == "" {
			continue
		}
		fmt.Fprintf(stderr, "%s %s\n", time.Now().Format(time.TimeOnly), s.name)
		// Each section has cleanups of its own, so that nothing of it runs beside the next one.
		ok := testkit.Main(ctx, "bench", stderr, func(t testing.TB) {
			s.run(&bench{TB: t, options: o, shape: s.shape, table: results})
		})
		if !ok {
			fmt.Fprintf(stderr, "%s failed\n", s.name)
			code = 1
		}
		if ctx.Err() != nil {
			break // what was measured is shown all the same
		}
	}
	fmt.Fprintf(stdout, "%s\nTook %s; load average at the end %s.\n\n%s", machine, time.Since(begun).Round(time.Second), loadAverage(), results)
	return code
}
