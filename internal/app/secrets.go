package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wapro/hub/internal/secret"
)

// masterKeyFile is where a hub on SQLite keeps the master key that nobody gave it, beside the database.
const masterKeyFile = "master.key"

// openSecrets makes the box that secrets are kept in. On SQLite a master key is made once when none is set, for all processes there
// are on this host. On Postgres they may be on any, so the operator has to give it: until then what needs it says master_key_missing.
func (h *Hub) openSecrets(context.Context) error {
	keys := h.cfg.MasterKeys()
	if len(keys) == 0 && h.cfg.SQLite() {
		key, err := keepMasterKey(filepath.Join(h.cfg.DataDir(), masterKeyFile))
		if err != nil {
			return err
		}
		keys = []secret.Key{key}
	}
	if len(keys) == 0 {
		h.log.Warn("there is no MASTER_KEY: what needs one, such as webhooks, answers master_key_missing")
		return nil
	}
	box, err := secret.New(keys[0], keys[1:]...)
	h.secrets = box
	return err
}

// startResealing starts the loop that seals anew what previous master keys have sealed.
func (h *Hub) startResealing(ctx context.Context) error {
	loop := secret.NewResealer(h.secrets, h.store, secret.ResealOptions{Log: h.log})
	if err := loop.Start(ctx); err != nil {
		return err
	}
	h.onStop("the sealing of secrets", briefStop, loop.Stop)
	return nil
}

// keepMasterKey reads the key at path, or makes one. Of processes that do so at once one key wins: a file gets its name when it is
// complete, and only if there is none of this name.
func keepMasterKey(path string) (secret.Key, error) {
	content, err := os.ReadFile(path) //nolint:gosec // beside the operator's database
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeOnce(path, secret.NewKey().Encode()+"\n"); err != nil {
			return secret.Key{}, fmt.Errorf("keep a master key: %w", err)
		}
		content, err = os.ReadFile(path) //nolint:gosec // the same
	}
	if err != nil {
		return secret.Key{}, fmt.Errorf("read the master key: %w", err)
	}
	key, err := secret.ParseKey(string(content))
	if err != nil {
		return secret.Key{}, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

// writeOnce writes a file for this user alone, to disk, unless there is one.
func writeOnce(path, content string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.WriteString(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
