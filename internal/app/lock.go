package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockData makes the embedded hub the only process on its SQLite database, or shares that with the other processes of
// a hub that has a broker. The kernel lets go of the lock when the process ends, however it ends. Processes on Postgres are
// told apart by their leases alone, for they may be on different hosts.
func (h *Hub) lockData(context.Context) error {
	if !h.cfg.SQLite() && !h.cfg.Sandbox {
		return nil // nothing is kept there
	}
	if err := os.MkdirAll(h.cfg.DataDir(), 0o750); err != nil {
		return err
	}
	if !h.cfg.SQLite() {
		return nil
	}
	path := filepath.Join(h.cfg.DataDir(), "hub.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // beside the operator's database
	if err != nil {
		return err
	}
	how := syscall.LOCK_SH
	if h.cfg.Embedded() {
		how = syscall.LOCK_EX
	}
	if err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("another hub uses %s: without REDIS_URL one process at a time may", h.cfg.DataDir())
		}
		return errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	h.onStop("lock", briefStop, func(context.Context) error { return file.Close() })
	return nil
}
