package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// describe says where and how the figures were taken, best effort: what cannot be found out is left empty.
func describe(ctx context.Context, args []string) string {
	versions := []string{runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains([]string{"go.mau.fi/whatsmeow", "github.com/hibiken/asynq", "github.com/labstack/echo/v4", "github.com/redis/go-redis/v9", "modernc.org/sqlite"}, m.Path) {
				versions = append(versions, m.Path+" "+m.Version)
			}
		}
	}
	output := func(command string) string {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		out, _ := exec.CommandContext(ctx, "sh", "-c", command).Output() //nolint:gosec // one of those below
		return strings.TrimSpace(string(out))
	}
	for _, command := range []string{
		`"$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 | grep . || dirname "$(command -v postgres)")/postgres" --version`,
		`redis-server --version | cut -d' ' -f1-3`,
	} {
		versions = append(versions, output(command))
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, databases on %s; load average before %s; commit %s.\n%s.\n`%s`\n",
		cmp.Or(output(`sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1`), "unknown processor"), runtime.NumCPU(),
		output("uname -r"), output("df --output=fstype "+os.TempDir()+" | tail -n 1"), loadAverage(), output("git rev-parse --short HEAD"),
		strings.Join(versions, ", "), strings.TrimSpace("go run ./internal/bench "+strings.Join(args, " ")))
}

// loadAverage is how many wanted to run, of late: more than the number of cores means that others took time from what was measured.
func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(content))[:1], " ")
}
