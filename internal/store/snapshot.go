package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Snapshot writes a copy of the SQLite database at path to the file into, which must not exist, while others go on working with the
// database. The copy is as at one moment between two transactions, is on disk when Snapshot returns, and has no rows in the tables empty.
func Snapshot(ctx context.Context, path, into string, empty ...string) (err error) {
	if _, err := os.Stat(path); err != nil { // opening would make it
		return fmt.Errorf("find the database: %w", err)
	}
	if _, err := os.Lstat(into); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copy the database: %s: %w", into, os.ErrExist)
	}
	if err := on(path, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, `VACUUM INTO $1`, into)
		return err
	}); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	if err := on(into, func(db *sql.DB) error {
		for _, table := range empty {
			if _, err := db.ExecContext(ctx, `DELETE FROM "`+strings.ReplaceAll(table, `"`, `""`)+`"`); err != nil { //nolint:gosec // a quoted name
				return err
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("finish the copy of the database: %w", err)
	}
	return flush(into)
}

// on opens the SQLite database at path for do alone. What do writes is in the database's one file afterwards.
func on(path string, do func(*sql.DB) error) (err error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "temp_store(memory)"},
	}.Encode()}).String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	return do(db)
}

// flush puts a file on disk.
func flush(path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // what the operator names
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Sync()
}
