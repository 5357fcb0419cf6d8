package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/wa"
)

// prepareProcess settles what libraries keep once per process, before any hub starts.
func prepareProcess(log *slog.Logger) {
	wa.SetProcessDefaults(log)
	redis.SetLogger(redisLog{log})
}

// redisLog takes go-redis' lines, which otherwise go to standard error as they are.
type redisLog struct{ log *slog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.WarnContext(ctx, "redis", "line", fmt.Sprintf(format, v...))
}

// trusted is the server that this process trusts: whatsmeow keeps one root key per process.
var trusted struct { //nolint:gochecknoglobals // mirrors whatsmeow's package variable
	mu   sync.Mutex
	root [32]byte
}

// trust makes root, the key of a simulator, the only root of this process. It may be repeated with the same key; another
// one is refused, for sessions of the first may be live.
func trust(root [32]byte) error {
	trusted.mu.Lock()
	defer trusted.mu.Unlock()
	if trusted.root == root {
		return nil
	}
	if trusted.root != [32]byte{} {
		return errors.New("one process trusts one simulator: another root key is set already")
	}
	if err := wa.SetRootKey(root); err != nil {
		return err
	}
	trusted.root = root
	return nil
}

// prepareWhatsApp settles what is one per process before any client connects: which server is trusted and dialled, and
// the client version. refresh fetches the version again and is nil where none is fetched.
func (h *Hub) prepareWhatsApp(ctx context.Context) (server string, refresh func(context.Context) error, err error) {
	switch h.cfg.Mode() {
	case config.ModeSandbox:
		server = h.simulator.Addr() // its root key is set by startSimulator
	case config.ModeSimulator:
		server = h.cfg.WhatsAppServer
		h.log.Warn("NOT CONNECTED TO WHATSAPP: every connection is dialled to a simulator", "server", server)
		err = trust(h.cfg.RootKey())
	case config.ModeReal:
		if h.cfg.WhatsAppVersion == "" {
			refresh = h.refreshVersion
			if err := refresh(ctx); err != nil {
				h.log.Warn("using the client version this hub was built with", "error", err)
			}
		}
	}
	if err == nil && h.cfg.WhatsAppVersion != "" {
		err = wa.SetVersion(h.cfg.WhatsAppVersion)
	}
	return server, refresh, err
}

func (h *Hub) refreshVersion(ctx context.Context) error {
	version, err := wa.RefreshVersion(ctx)
	if err != nil {
		return err
	}
	h.log.Info("fetched the current client version", "version", version)
	return nil
}
