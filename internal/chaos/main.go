// Command chaos breaks a hub on purpose while messages flow through it, and then asks the simulated phones what became of every
// message that was accepted. The hub is made of the real programs, on Postgres and Redis or embedded, with the simulator in a process of
// its own; the program talks to it as a customer does, over HTTP, and repeats what was not answered under the same
// Idempotency-Key. Which faults come when follows from -seed alone. docs/reliability.md says how to read its table.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	seed     uint64
	shape    string
	messages int // by shape
	faults   int // by shape
	each     int // of every kind; 0: faults decides
	tenants  int
	workers  int
	lease    time.Duration
	pace     time.Duration // mean time between two faults
	patience time.Duration // for one message to be accepted, and for all to become final after the last fault
	out      string
	logs     string
}

// run is the program. It returns the exit status: 1 when a bar was missed or the run could not be finished, 2 for wrong flags.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		return 2
	}
	fmt.Fprintf(stderr, "chaos: seed %d\n", o.seed)
	var results []*result
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	finished := testkit.Main(ctx, "chaos", stderr, func(t testing.TB) { results = runShapes(sharedTB{t, abort}, o) })
	table := report(o, results)
	fmt.Fprint(stdout, table)
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(table), 0o600); err != nil {
			fmt.Fprintf(stderr, "chaos: write the table: %v\n", err)
			return 1
		}
	}
	good := finished && len(results) == len(o.shapes())
	for _, r := range results {
		for _, v := range r.offenders() {
			fmt.Fprint(stderr, r.timeline(v))
		}
		good = good && len(r.offenders()) == 0 && r.unanswered == 0
	}
	if !good {
		fmt.Fprintf(stderr, "chaos: failed with seed %d\n", o.seed)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Uint64Var(&o.seed, "seed", 0, "the schedule and the choice of faults follow from it; 0: a random one")
	flags.StringVar(&o.shape, "shape", "both", "postgres, embedded, or both at the same time")
	flags.IntVar(&o.messages, "messages", 3000, "messages in each shape")
	flags.IntVar(&o.faults, "faults", 60, "faults in each shape")
	flags.IntVar(&o.each, "each", 0, "faults of every kind in each shape, instead of -faults")
	flags.IntVar(&o.tenants, "tenants", 8, "tenants that send")
	flags.IntVar(&o.workers, "workers", 2, "workers on Postgres; there are as many APIs")
	flags.DurationVar(&o.lease, "lease", 15*time.Second, "LEASE_TTL of the hub")
	flags.DurationVar(&o.pace, "pace", 1300*time.Millisecond, "mean time from one fault to the next")
	flags.DurationVar(&o.patience, "patience", 5*time.Minute, "how long a message may take to be accepted, and all to become final after the last fault")
	flags.StringVar(&o.out, "out", "", "write the table to this file, too")
	flags.StringVar(&o.logs, "logs", "", "keep the log of every process in this folder")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	bad := ""
	switch {
	case flags.NArg() > 0:
		bad = fmt.Sprintf("%q is no flag", flags.Arg(0))
	case len(o.shapes()) == 0:
		bad = "-shape must be postgres, embedded or both"
	case o.messages < 1 || o.faults < 0 || o.each < 0:
		bad = "-messages must be at least 1, -faults and -each at least 0"
	case o.tenants < 1 || o.tenants > 200:
		bad = "-tenants must be between 1 and 200"
	case o.workers < 2:
		bad = "-workers must be at least 2"
	case o.pace <= 0 || o.patience <= 0:
		bad = "-pace and -patience must be above 0"
	}
	if bad != "" {
		fmt.Fprintf(stderr, "chaos: %s\n", bad)
		return o, fmt.Errorf("read the flags: %s", bad)
	}
	if o.seed == 0 {
		o.seed = uint64(rand.Uint32())
	}
	return o, nil
}

// shapes are those that are run, none when -shape names none.
func (o options) shapes() []shape {
	all := []shape{onPostgres, embedded}
	return slices.DeleteFunc(all, func(s shape) bool { return o.shape != "both" && o.shape != string(s) })
}

// sharedTB is the t of all goroutines of a run: what is fatal in one of them, say a Postgres that does not start again, ends all.
type sharedTB struct {
	testing.TB
	abort func()
}

// Fatal implements testing.TB.
func (t sharedTB) Fatal(args ...any) {
	t.abort()
	t.TB.Fatal(args...)
}

// Fatalf implements testing.TB.
func (t sharedTB) Fatalf(format string, args ...any) {
	t.abort()
	t.TB.Fatalf(format, args...)
}

// Failed implements testing.TB. It keeps testkit from printing the log of every process that was killed here: -logs keeps them.
func (sharedTB) Failed() bool { return false }

// runShapes runs the shapes side by side. The results are those of the shapes that could be run to their end.
func runShapes(t testing.TB, o options) []*result {
	testkit.Binary(t, "api")
	results := make([]*result, len(o.shapes()))
	var running sync.WaitGroup
	for i, s := range o.shapes() {
		running.Go(func() { results[i] = runShape(t, o, s) })
	}
	running.Wait()
	return slices.DeleteFunc(results, func(r *result) bool { return r == nil })
}

// runShape lets messages and faults loose on one hub and judges what came of it.
func runShape(t testing.TB, o options, s shape) *result {
	w := startWorld(t, o, s)
	defer w.stop()
	faults := plan(o, s)
	during := time.Duration(len(faults)+1) * o.pace
	w.logf("%d messages of %d tenants and %d faults in %s", o.messages, o.tenants, len(faults), during)

	w.epoch = time.Now()
	var striking sync.WaitGroup
	striking.Go(func() { w.strikeAll(faults) })
	messages := w.sendAll(during)
	close(w.offered)
	striking.Wait()
	w.calm()
	w.logf("the last fault is over after %s; waiting for what is not final", time.Since(w.epoch).Round(time.Second))
	return w.judgeAll(messages, faults)
}
