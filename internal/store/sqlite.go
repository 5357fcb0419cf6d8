package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func sqliteDialect() dialect {
	return dialect{
		name:         "sqlite",
		folder:       "sqlite",
		goose:        goose.DialectSQLite3,
		writers:      1,
		now:          "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
		filled:       &sync.Map{},
		placeholders: positional,
		text:         func(s string) any { return s },
		conflict:     never,
		refused:      never,
		duplicate: func(err error) bool {
			e, ok := errors.AsType[*sqlite.Error](err)
			return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
		},
		unavailable: func(err error) bool {
			if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, errNoTurn) {
				return true
			}
			e, ok := errors.AsType[*sqlite.Error](err)
			if !ok {
				return false
			}
			switch e.Code() & 0xff { // the primary code of an extended one
			case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
				sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM:
				return true
			}
			return false
		},
	}
}

// positional turns $1, $2 ... into ? where they come in order and once each. The SQLite driver finds the value of a
// numbered placeholder by comparing names with all values, which takes a third of the time of a wide INSERT.
func positional(query string) string {
	var b strings.Builder
	rest := query
	for n := 1; ; n++ {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits := len(after) - len(strings.TrimLeft(after, "0123456789"))
		if after[:digits] != strconv.Itoa(n) {
			return query
		}
		b.WriteByte('?')
		rest = after[digits:]
	}
}

// openSQLite opens the one connection that writes and the pool that reads. The file holds keys and messages, so
// nobody but the hub's own user may read it; SQLite gives its -wal and -shm files the same mode.
func openSQLite(path string, readers int) (writer, reader *sql.DB, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator's own setting
	if err != nil {
		return nil, nil, err
	}
	if err := file.Close(); err != nil {
		return nil, nil, err
	}
	dsn := func(values url.Values) string {
		return (&url.URL{Scheme: "file", Path: path, RawQuery: values.Encode()}).String()
	}
	writer, err = sql.Open("sqlite", dsn(url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
			"cache_size(-16384)", "journal_size_limit(67108864)", "temp_store(memory)", // an image has no folder for temporary files
		},
	}))
	if err != nil {
		return nil, nil, err
	}
	writer.SetMaxOpenConns(1)
	writer.SetConnMaxLifetime(0)
	reader, err = sql.Open("sqlite", dsn(url.Values{
		"_pragma": {"busy_timeout(5000)", "query_only(1)", "cache_size(-8192)", "temp_store(memory)"},
	}))
	if err != nil {
		return nil, nil, errors.Join(err, writer.Close())
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	return writer, reader, nil
}
