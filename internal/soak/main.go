// Command soak sends through a hub for a long time, at a part of what it can do, and looks whether its processes keep what they should let go: the heap after
// a collection, goroutines, open files. The hub is made of the real programs on Postgres and Redis, with the simulator in a process of its own. It fails when one
// of the three grows beyond its bound, or a message does not arrive.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	length   time.Duration
	rate     float64 // messages a second; 0: a part of what was measured
	part     float64
	burst    int // messages by which that is measured
	tenants  int
	patience time.Duration // for the last message, after the sending
}

// run is the program. It returns the exit status: 1 when a bar was missed or the run could not be finished, 2 for wrong flags.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&o.length, "for", 30*time.Minute, "how long to send")
	flags.Float64Var(&o.rate, "rate", 0, "messages a second; 0: -part of what the hub does with a burst")
	flags.Float64Var(&o.part, "part", 0.7, "see -rate")
	flags.IntVar(&o.burst, "burst", 3000, "messages of the burst")
	flags.IntVar(&o.tenants, "tenants", 4, "tenants that send")
	flags.DurationVar(&o.patience, "patience", 5*time.Minute, "how long the last message may take")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || o.length < time.Minute || o.rate < 0 || o.part <= 0 || o.part > 1 || o.burst < 100 || o.tenants < 1 || o.tenants > 100 || o.patience <= 0 {
		fmt.Fprintln(stderr, "soak: -for is at least 1m, -part above 0 and at most 1, -burst at least 100, -tenants 1 to 100")
		return 2
	}
	good := false
	finished := testkit.Main(ctx, "soak", stderr, func(t testing.TB) {
		w := start(t, &o)
		if o.rate == 0 {
			o.rate = w.capacity() * o.part
			fmt.Fprintf(stderr, "soak: a burst of %d takes %.0f a second; sending %.0f a second for %s\n", o.burst, o.rate/o.part, o.rate, o.length)
		}
		samples := w.soak()
		var table string
		table, good = report(o, w.accepted, samples)
		fmt.Fprint(stdout, table)
	})
	if !finished || !good {
		return 1
	}
	return 0
}

// world is a hub of one API and one worker, and what was sent through it.
type world struct {
	t         testing.TB
	o         *options
	processes map[string]*testkit.Process
	clients   []*testkit.Client
	tenants   []string

	mu       sync.Mutex
	accepted int
}

func start(t testing.TB, o *options) *world {
	t.Helper()
	sim := testkit.StartSimulator(t)
	environ := append(sim.WhatsApp(), "DATABASE_URL="+services.Postgres(t), "REDIS_URL="+services.Redis(t), "BLOB_URL=file://"+t.TempDir(),
		"ADMIN_API_KEY="+testkit.AdminKey)
	w := &world{t: t, o: o, processes: map[string]*testkit.Process{
		"api": testkit.RunProgram(t, "api", nil, environ...), "worker": testkit.RunProgram(t, "worker", nil, environ...),
	}}
	admin := testkit.NewClient(testkit.AdminKey, "http://"+w.processes["api"].Listening("requests"))
	for i := range o.tenants {
		id := fmt.Sprintf("tenant-%02d", i)
		admin.JSON(t, "POST", "/admin/tenants", map[string]string{"id": id}, 201, nil)
		var key struct {
			Key string `json:"key"`
		}
		admin.JSON(t, "POST", "/admin/tenants/"+id+"/keys", map[string]string{}, 201, &key)
		sim.Scan(admin.PairingCode(t, id), fmt.Sprintf("1555000%04d", i))
		admin.AwaitSession(t, id, "online")
		w.tenants, w.clients = append(w.tenants, id), append(w.clients, admin.WithKey(key.Key))
	}
	return w
}

// people is how many each tenant writes to, over and over: what is kept for each of them stops growing.
const people = 100

// send sends the message numbered i; one that the hub puts off is sent a moment later.
func (w *world) send(i int) {
	tenant := i % len(w.tenants)
	body := map[string]string{"to": fmt.Sprintf("49155%02d%06d", tenant, i/len(w.tenants)%people), "message": "soaking", "priority": "normal"}
	for w.t.Context().Err() == nil {
		status, _, answer := w.clients[tenant].Do(w.t, "POST", "/api/"+w.tenants[tenant]+"/message", body)
		if status == 202 {
			w.mu.Lock()
			w.accepted++
			w.mu.Unlock()
			return
		}
		if status != 429 && status != 503 {
			w.t.Errorf("a message is answered with %d: %s", status, answer)
			return
		}
		wait(w.t.Context(), 100*time.Millisecond)
	}
}

// read is how many messages have been read, by the worker's count.
func (w *world) read() int {
	return int(w.scrape("worker")[`wapro_message_transitions_total{status="read"}`])
}

// capacity is how many messages a second arrive of a burst.
func (w *world) capacity() float64 {
	w.t.Helper()
	began := time.Now()
	var senders sync.WaitGroup
	next := make(chan int)
	for range 2 * len(w.tenants) {
		senders.Go(func() {
			for i := range next {
				w.send(i)
			}
		})
	}
	for i := range w.o.burst {
		next <- i
	}
	close(next)
	senders.Wait()
	w.awaitRead()
	return float64(w.o.burst) / time.Since(began).Seconds()
}

func (w *world) awaitRead() {
	w.t.Helper()
	deadline := time.Now().Add(w.o.patience)
	for w.read() < w.accepted {
		if time.Now().After(deadline) || w.t.Context().Err() != nil {
			w.t.Fatalf("%d of %d messages were read %s after the last", w.read(), w.accepted, w.o.patience)
		}
		wait(w.t.Context(), time.Second)
	}
}

// soak sends at the rate and looks at the processes all the while.
func (w *world) soak() map[string][]sample {
	w.t.Helper()
	samples := map[string][]sample{}
	began := time.Now()
	sampling, sent := time.NewTicker(max(2*time.Second, w.o.length/120)), 0
	defer sampling.Stop()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	work := make(chan int, 10_000) // what the hub is behind with
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for i := range work {
				w.send(i)
			}
		})
	}
	for time.Since(began) < w.o.length && w.t.Context().Err() == nil && !w.t.Failed() {
		select {
		case <-pace.C:
			for due := int(time.Since(began).Seconds() * w.o.rate); sent < due; sent++ {
				select {
				case work <- sent:
				default:
					w.t.Fatal("the hub accepts slower than it is sent to")
				}
			}
		case <-sampling.C:
			for name := range w.processes {
				samples[name] = append(samples[name], w.sample(name, time.Since(began)))
			}
		case <-w.t.Context().Done():
		}
	}
	close(work)
	senders.Wait()
	if err := w.t.Context().Err(); err != nil {
		w.t.Fatal(errors.Join(errors.New("interrupted"), err))
	}
	if planned := int(w.o.length.Seconds() * w.o.rate); sent < planned/2 { // a machine that stands still for a while catches up
		w.t.Fatalf("%d messages were sent instead of %d", sent, planned)
	}
	w.awaitRead()
	return samples
}

func (w *world) scrape(process string) map[string]float64 {
	w.t.Helper()
	return testkit.ScrapeOps(w.t, w.processes[process].Listening("operations"))
}

func (w *world) sample(process string, at time.Duration) sample {
	w.t.Helper()
	testkit.GetOps(w.t, w.processes[process].Listening("operations"), "/debug/pprof/heap?gc=1") // what is unreachable goes first
	m := w.scrape(process)
	return sample{at: at, heap: m["go_memstats_heap_alloc_bytes"], goroutines: m["go_goroutines"], files: m["process_open_fds"]}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// report is a table of what each process kept, and whether that is flat.
func report(o options, accepted int, samples map[string][]sample) (string, bool) {
	var b strings.Builder
	good := true
	fmt.Fprintf(&b, "%d messages, %.1f a second for %s, %d tenants, Postgres and Redis; all were read.\n\n", accepted, o.rate, o.length, o.tenants)
	fmt.Fprintf(&b, "| process | what | first third, mean | last third, mean | grows by, over the last two thirds | bound |\n|---|---|---|---|---|---|\n")
	for _, name := range []string{"api", "worker"} {
		for _, l := range looks() {
			v := l.judge(samples[name])
			mark := ""
			if !v.flat {
				good, mark = false, " **grows**"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s%s | %s |\n", name, l.what, l.show(v.first), l.show(v.last), l.show(v.growth), mark, l.show(v.bound))
		}
	}
	return b.String(), good
}
