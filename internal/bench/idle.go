package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/testkit"
)

// idle measures what paired sessions cost that neither send nor receive: memory and CPU time of the process that holds them (the
// worker; embedded: the hub), and the commands that the whole hub sends to Redis. The baseline is as many whatsmeow clients in a process of their own,
// which take over the very devices of the hub, in its database, when that has ended: a pairing costs more than all else here.
//
// Memory is what a process with sessions has more than the same process without any, both started on a database that is complete, so that
// neither migrations nor the keys made at a pairing count, and after a garbage collection that was asked for. What SQLite or Postgres keep on
// disk is not in it.
func idle(b *bench) {
	sim := testkit.StartSimulator(b)
	h := startHub(b, sim)
	h.restart()
	without := h.usage()
	tenants := h.pair(sim, b.sessions)
	h.restart()
	each(b, 4, len(tenants), func(i int) {
		h.admin.AwaitSession(b, tenants[i], "online")
		testkit.Eventually(b, time.Minute, func() (bool, string) {
			return sim.Connected(hubNumber(i)), "the session is not connected again"
		})
	})
	pause(b, b.window/2) // until what a start does is done
	with, commands := h.watch()

	h.end()
	settings := bareOnHub(b, sim, h)
	loop := startBare(b, sim, settings)
	bareWithout := loop.usage(b)
	loop.end()
	for i := range b.sessions {
		settings.Numbers = append(settings.Numbers, hubNumber(i))
	}
	loop = startBare(b, sim, settings)
	pause(b, b.window/2)
	before := loop.usage(b)
	pause(b, b.window)
	bareWith := loop.usage(b)

	n := float64(b.sessions)
	perSession := func(of func(usage) int64) []pair {
		return []pair{{float64(of(with)-of(without)) / n / 1024, float64(of(bareWith)-of(bareWithout)) / n / 1024}}
	}
	cpu := func(spent time.Duration) float64 { return 100 * spent.Seconds() / b.window.Seconds() }
	const against = "bare whatsmeow"
	what := func(s string) string { return fmt.Sprintf("%d idle sessions: %s", b.sessions, s) }
	for _, r := range []row{
		{what: what("resident memory of one"), unit: " KiB", baseline: against, pairs: perSession(func(u usage) int64 { return u.resident })},
		{what: what("heap and stacks of one"), unit: " KiB", baseline: against, pairs: perSession(func(u usage) int64 { return u.inUse })},
		{what: what("CPU time of the process, of a core"), unit: " %", baseline: against, pairs: []pair{{cpu(with.cpu), cpu(bareWith.cpu - before.cpu)}}},
		{what: what("resident memory of the process"), unit: " MiB", baseline: against, pairs: []pair{{float64(with.resident) / (1 << 20), float64(bareWith.resident) / (1 << 20)}}},
	} {
		r.shape = b.shape.name
		b.table.add(r)
	}
	if h.redis != "" {
		b.table.add(row{what: what("Redis commands of the whole hub"), shape: b.shape.name, unit: "/s", pairs: []pair{{hub: commands / b.window.Seconds()}}})
	}
}

// usage is what a process uses.
type usage struct {
	resident int64         // bytes, as the system counts them
	inUse    int64         // bytes of heap and stacks, as the runtime counts them
	cpu      time.Duration // since the process began, or of a window
}

// restart ends the hub's processes in order and starts them again.
func (h *hub) restart() {
	h.b.Helper()
	h.end()
	h.start()
}

// end ends the hub's processes in order.
func (h *hub) end() {
	h.b.Helper()
	h.worker.Terminate(time.Minute)
	if h.api != h.worker {
		h.api.Terminate(time.Minute)
	}
}

// watch lets the hub idle for the window, and returns what the worker used, its CPU time that of the window, and how many commands
// Redis was sent.
func (h *hub) watch() (used usage, commands float64) {
	h.b.Helper()
	count := func() map[string]float64 { return nil }
	if h.redis != "" {
		options, err := redis.ParseURL(h.redis)
		if err != nil {
			h.b.Fatal(err)
		}
		client := redis.NewClient(options)
		defer client.Close() //nolint:errcheck // its work is done
		count = func() map[string]float64 { return redisCommands(h.b, client) }
	}
	begin := h.usage()
	before := count()
	pause(h.b, h.b.window)
	sent := count()
	for command := range sent {
		sent[command] -= before[command]
		commands += sent[command]
	}
	if len(sent) > 0 {
		h.b.Logf("Redis commands of %s: %v", h.b.window, sent)
	}
	used = h.usage()
	used.cpu -= begin.cpu
	return used, commands
}

// usage collects the worker's garbage and returns what the worker uses then.
func (h *hub) usage() usage {
	h.b.Helper()
	profile := "http://" + h.worker.Listening("operations") + "/debug/pprof/heap?gc=1&debug=1"
	fetch(h.b, profile)
	stats := fetch(h.b, profile) // the second collects what finalizers have let go, and is written after the figures at its end were taken
	u := processUsage(h.b, h.worker.PID())
	u.inUse = memStat(h.b, stats, "# HeapInuse = ") + memStat(h.b, stats, "# Stack = ")
	return u
}

// usage collects the bare loop's garbage and returns what it uses then.
func (l bare) usage(b *bench) usage {
	b.Helper()
	var done bareDone
	l.ask(bareOrder{Collect: true}, &done)
	u := processUsage(b, l.pid)
	u.inUse = done.InUse
	return u
}

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

func processUsage(b *bench, pid int) usage {
	b.Helper()
	read := func(name string) []string {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			b.Fatalf("look at a process: %v", err)
		}
		if _, after, found := strings.Cut(string(content), ") "); found { // stat: the program's name may hold spaces
			return strings.Fields(after)
		}
		return strings.Fields(string(content))
	}
	number := func(field string) int64 {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatalf("read /proc: %v", err)
		}
		return n
	}
	stat := read("stat") // from field 3 of proc(5) on: utime and stime are 14 and 15
	return usage{
		resident: number(read("statm")[1]) * int64(os.Getpagesize()),
		cpu:      time.Duration(number(stat[11])+number(stat[12])) * clockTick,
	}
}

// memStat reads the number behind what a line of stats begins with.
func memStat(b *bench, stats, begin string) int64 {
	b.Helper()
	for line := range strings.Lines(stats) {
		if value, found := strings.CutPrefix(line, begin); found {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				b.Fatalf("read %q: %v", line, err)
			}
			return n
		}
	}
	b.Fatalf("there is no line %q", begin)
	return 0
}

func fetch(b *bench, url string) string {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("fetch %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

// redisCommands is how often Redis has carried out each command so far, those of scripts and transactions one by one, without INFO.
func redisCommands(b *bench, client *redis.Client) map[string]float64 {
	b.Helper()
	stats, err := client.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	commands := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(stats)); lines.Scan(); {
		command, calls, found := strings.Cut(lines.Text(), ":calls=")
		if !found || command == "cmdstat_info" {
			continue
		}
		calls, _, _ = strings.Cut(calls, ",")
		n, err := strconv.ParseFloat(calls, 64)
		if err != nil {
			b.Fatalf("read INFO commandstats: %v", err)
		}
		commands[strings.TrimPrefix(command, "cmdstat_")] = n
	}
	return commands
}

// pause lets the machine rest for d.
func pause(b *bench, d time.Duration) {
	b.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.Context().Done():
		b.Fatal(b.Context().Err())
	}
}
