// The api program: the HTTP API and, without REDIS_URL, the whole hub in one process. `api simulator` runs the
// WhatsApp server simulator alone; `api run` pairs a first phone in the terminal.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/wapro/hub/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(app.RunAPI(ctx, app.Program{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}))
}
