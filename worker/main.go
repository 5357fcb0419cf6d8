// The worker program: holds WhatsApp sessions and sends what the API accepted. It needs REDIS_URL; without one the
// API does this work in its own process.
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
	os.Exit(app.RunWorker(ctx, app.Program{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}))
}
