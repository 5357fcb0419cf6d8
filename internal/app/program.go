// Package app is the composition root: it knows every room, connects them, and starts and stops them in order. The
// programs in api/ and worker/ call it with their environment; tests boot the same hub on port 0.
package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/store"
)

// stopTimeout bounds an ordered stop as a whole; orchestrators should wait for 90 s before they kill.
const stopTimeout = 85 * time.Second

// Program is what a program's main hands over.
type Program struct {
	Args    []string  // without the program's name
	Environ []string  // as os.Environ gives it
	Stdout  io.Writer // what a person asked for: keys, codes, curl lines
	Stderr  io.Writer // the log
}

const usage = `usage:
  api             the HTTP API; without REDIS_URL the whole hub in one process
  api run         the same, and pairs tenant $BOOTSTRAP_TENANT (algo) in this terminal
  api simulator   the WhatsApp server simulator alone
  api backup DIR  copies the SQLite database and the media files to DIR; the hub may run meanwhile
  api migrate-down N   undoes the migrations after number N, for an older version; nothing may run on the database (docs/deploy.md)
  api health      exit code 0 when the process that listens on OPS_ADDR is ready (worker health: the same)
The settings are environment variables: see the README.
`

// RunAPI runs the api program until ctx ends and returns its exit code.
func RunAPI(ctx context.Context, p Program) int {
	command := ""
	if len(p.Args) > 0 {
		command = p.Args[0]
	}
	switch {
	case command == "backup" && len(p.Args) == 2:
		return p.backup(ctx, p.Args[1])
	case command == "backup":
		return p.refuse("backup needs the folder to write to\n%s", usage)
	case command == "migrate-down" && len(p.Args) == 2:
		return p.migrateDown(ctx, p.Args[1])
	case len(p.Args) > 1:
		return p.refuse("unexpected argument %q\n%s", p.Args[1], usage)
	case command == "":
		return p.serve(ctx, config.ProcessAPI, nil)
	case command == "run":
		return p.serve(ctx, config.ProcessAPI, pairInTerminal)
	case command == "simulator":
		return p.simulate(ctx)
	case command == "health":
		return p.health(ctx, config.ProcessAPI)
	case command == "help" || command == "-h" || command == "--help":
		fmt.Fprint(p.Stdout, usage)
		return 0
	}
	return p.refuse("unknown command %q\n%s", command, usage)
}

// RunWorker runs the worker program until ctx ends and returns its exit code.
func RunWorker(ctx context.Context, p Program) int {
	switch {
	case len(p.Args) == 0:
		return p.serve(ctx, config.ProcessWorker, nil)
	case len(p.Args) == 1 && p.Args[0] == "health":
		return p.health(ctx, config.ProcessWorker)
	}
	return p.refuse("unexpected argument %q: the worker knows only health", p.Args[0])
}

// migrateDown takes the schema back to what an older version knows.
func (p Program) migrateDown(ctx context.Context, to string) int {
	number, err := strconv.ParseInt(to, 10, 64)
	if err != nil {
		return p.refuse("%q is not the number of a migration", to)
	}
	cfg, err := config.Load(config.ProcessAPI, p.Environ)
	if err != nil {
		return p.refuse("%v", err)
	}
	undone, err := store.MigrateDown(ctx, cfg.DatabaseURL, number, p.logger(cfg))
	if err != nil {
		return p.refuse("%v", err)
	}
	fmt.Fprintf(p.Stdout, "%d migrations are undone. Start the older version now: this one would do them again.\n", undone)
	return 0
}

// health asks the process beside it whether it is ready: for the health checks of containers, whose image holds nothing
// else that could ask.
func (p Program) health(ctx context.Context, process config.Process) int {
	cfg, err := config.Load(process, p.Environ)
	if err != nil {
		return p.refuse("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cfg.OpsAddr+"/readyz", nil)
	if err != nil {
		return p.refuse("%v", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return p.refuse("not ready: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return p.refuse("not ready: %s", resp.Status)
	}
	return 0
}

// serve runs a hub's process; greet, when given, runs beside it and talks to the person at the terminal.
func (p Program) serve(ctx context.Context, process config.Process, greet func(context.Context, *Hub) error) int {
	cfg, err := config.Load(process, p.Environ)
	if err != nil {
		return p.refuse("%v", err)
	}
	if greet != nil && cfg.BootstrapTenant == "" {
		cfg.BootstrapTenant = defaultTenant
	}
	log := p.logger(cfg)
	prepareProcess(log)
	keepHeadroom()
	hub, err := Start(ctx, process, cfg, Options{Log: log, Stdout: p.Stdout, Stderr: p.Stderr})
	if err != nil {
		return p.refuse("%v", err)
	}
	if greet != nil {
		hub.goes("greet", func(ctx context.Context) error { return greet(ctx, hub) })
	}
	return p.wait(ctx, log, hub)
}

// stopper is a started process.
type stopper interface {
	Failed() <-chan error
	Stop(ctx context.Context) error
}

// wait blocks until ctx ends or the process fails, stops it in order, and returns the exit code.
func (p Program) wait(ctx context.Context, log *slog.Logger, s stopper) int {
	code := 0
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err := <-s.Failed():
		log.Error("stopping after a failure", "error", err)
		code = 1
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.Stop(stopCtx); err != nil {
		log.Error("stopped with errors", "error", err)
		return 1
	}
	log.Info("stopped")
	return code
}

func (p Program) refuse(format string, args ...any) int {
	fmt.Fprintf(p.Stderr, format+"\n", args...)
	return 2
}

// logger writes to Stderr: text on a terminal, JSON elsewhere, unless LOG_FORMAT says otherwise.
func (p Program) logger(cfg config.Config) *slog.Logger {
	var level slog.LevelVar
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level.Set(slog.LevelInfo) // validated before; a wrong level must not silence the log
	}
	options := &slog.HandlerOptions{Level: &level}
	if cfg.LogFormat == "text" || (cfg.LogFormat == "" && isTerminal(p.Stderr)) {
		return slog.New(slog.NewTextHandler(p.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(p.Stderr, options))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
