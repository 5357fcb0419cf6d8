package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/wa"
)

// backup copies the SQLite database and the media files of a hub, which may be running, to the folder dir, which it creates. A hub
// that is started on the copy goes on from that moment: docs/deploy.md.
func (p Program) backup(ctx context.Context, dir string) int {
	cfg, err := config.Load(config.ProcessAPI, p.Environ)
	if err != nil {
		return p.refuse("%v", err)
	}
	if !cfg.SQLite() {
		return p.refuse("The database is Postgres: it has its own tools. docs/deploy.md has the command, and the tables to leave out.")
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o700); err != nil {
		return p.refuse("%v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return p.refuse("%v", err) // what is there already is never written to
	}
	if err := store.Snapshot(ctx, cfg.SQLitePath(), filepath.Join(dir, "hub.db"), wa.Ratchets()...); err != nil {
		return p.refuse("%v", err)
	}
	// Without it the secrets in the copy could not be read. The copy holds WhatsApp's keys anyhow.
	switch key, err := os.ReadFile(filepath.Join(cfg.DataDir(), masterKeyFile)); {
	case err == nil:
		if err := writeOnce(filepath.Join(dir, masterKeyFile), string(key)); err != nil {
			return p.refuse("%v", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return p.refuse("%v", err)
	}
	// After the database: the files of all messages in the copy were there before it was made.
	files, err := copyMedia(ctx, cfg.BlobDir(), filepath.Join(dir, "media"))
	if err != nil {
		return p.refuse("%v", err)
	}
	fmt.Fprintf(p.Stdout, "%s holds the database and %d media files as they are now.\n", dir, files)
	return 0
}

// errDamaged: a media file is not what its name says. The others are copied.
var errDamaged = errors.New("damaged")

// copyMedia copies all media files from one folder to another, checks them by their names, and returns how many.
func copyMedia(ctx context.Context, from, to string) (files int, err error) {
	var damaged error
	walk := func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(from, path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // nobody needs it any more
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case entry.IsDir() && name == "uploads": // those in the making
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		}
		switch err := copyFile(path, filepath.Join(to, name), strings.ReplaceAll(name, string(filepath.Separator), "")); {
		case errors.Is(err, errDamaged):
			damaged = errors.Join(damaged, fmt.Errorf("copy %s: %w", path, err))
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("copy %s: %w", path, err)
		default:
			files++
		}
		return nil
	}
	return files, errors.Join(filepath.WalkDir(from, walk), damaged)
}

// copyFile copies a file whose content has this hash.
func copyFile(from, to, hash string) (err error) {
	in, err := os.Open(from) //nolint:gosec // the hub's own folder
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // what the operator names
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, sum), in); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != hash {
		return errDamaged
	}
	return out.Sync()
}
