// Package store is SQL, the truth of the hub: tenants and their keys, messages and their history, sessions and their
// leases. It imports the domain and the database drivers. What a method has returned without an error is on disk;
// what it returned with an error is not, except where its comment says that the outcome may be unknown.
//
// SQLite has one writer and a pool of readers. Every write goes through one committer (commit.go), which lets writes
// that wait at the same time share a transaction and so a flush of the disk. Postgres has one pool for everything: accepts
// share transactions there as well, for they wait for the lock of their tenant, and so do changes of one message (together.go); other writes
// have their own.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Options are the choices of Open; the zero value is complete.
type Options struct {
	Clock   func() time.Time // for what is not a lease; default time.Now. Leases go by the database's clock
	Log     *slog.Logger     // default: nothing is logged
	Readers int              // SQLite: connections that read at the same time; default one per core, at least 4
	Conns   int              // Postgres: connections of this process in all; default 20, at least 6
}

// Store is an open database. Its methods may be called from any goroutine.
type Store struct {
	d      dialect
	now    func() time.Time
	log    *slog.Logger
	writer *sql.DB // SQLite: exactly one connection
	reader *sql.DB // Postgres: the same pool

	queues []*queue // of accepts, on SQLite of everything
	// Postgres: of changes of one message, of claims, and of what a client writes under its lease.
	changes, claims, held *queue

	gate   sync.RWMutex // held for reading by writes that do not queue
	closed chan struct{}
	writes *statements // prepared on writer
	reads  *statements // prepared on reader
	recent recent
	ahead  ahead

	stop   context.CancelFunc // of what runs behind, nil when nothing does
	behind sync.WaitGroup

	closeOnce sync.Once
	closeErr  error
}

// Open opens the database at url, sqlite://path or postgres://..., and brings it to the current schema; a SQLite file is
// created when it is not there. Several processes may open one database at the same time.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Readers <= 0 {
		opts.Readers = max(4, runtime.NumCPU())
	}
	if opts.Conns == 0 {
		opts.Conns = 20
	}
	s := &Store{now: opts.Clock, log: opts.Log, closed: make(chan struct{})}
	if err := s.openPools(url, opts); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(s.wrap("migrate database", err), s.Close())
	}
	if err := s.purgeDeleted(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.quick() {
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		s.stop = stop
		s.behind.Go(func() { s.keepStatistics(ctx) })
	}
	return s, nil
}

// openPools opens the database at url as it is.
func (s *Store) openPools(url string, opts Options) (err error) {
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok && path != "" {
		s.d = sqliteDialect()
		s.writer, s.reader, err = openSQLite(path, opts.Readers)
	} else if isPostgres(url) {
		s.d = postgresDialect()
		s.writer, err = openPostgres(url, max(opts.Conns, s.d.writers+2))
		s.reader = s.writer
	} else {
		err = errors.New("the URL must be sqlite:// and a path, or postgres://") // it may hold a password
	}
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	for range s.d.writers {
		s.queues = append(s.queues, newQueue(s.transact))
	}
	s.changes, s.claims, s.held = newQueue(s.changeGathered), newQueue(s.claimGathered), newQueue(s.execGathered)
	s.writes, s.reads = newStatements(s.writer, s.d), newStatements(s.reader, s.d)
	return nil
}

// Close waits for the writes in hand and closes the database. It is safe to call twice.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		if s.stop != nil {
			s.stop()
			s.behind.Wait()
		}
		for _, q := range append(s.queues, s.changes, s.claims, s.held) {
			q.turn <- struct{}{} // never given back: nothing is written from here on
		}
		s.gate.Lock()
		defer s.gate.Unlock()
		close(s.closed)
		s.closeErr = errors.Join(s.reader.Close(), s.writer.Close()) // the second is nothing when they are one
	})
	return s.closeErr
}

// Writer is what writes, for WhatsApp's own tables in the same database. On SQLite it is one connection: who holds it holds
// up everybody. Begin late, commit soon, and never wait for anything but the database in between. On Postgres it is the
// pool of the process: who holds a transaction must not ask the store for another connection before it ends, or the pool
// is soon held by those who wait for it (CheckFenceIn needs none).
func (s *Store) Writer() *sql.DB { return s.writer }

// Dialect names the SQL dialect as whatsmeow's sqlstore does: "sqlite" or "pgx".
func (s *Store) Dialect() string { return s.d.name }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.readRow(ctx, `SELECT 1`).Scan(&one); err != nil {
		return s.wrap("ping database", err)
	}
	return nil
}

// Setting reads a setting of the whole hub.
func (s *Store) Setting(ctx context.Context, name string) (value string, ok bool, err error) {
	err = s.readRow(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, s.wrap("read setting "+name, err)
	}
	return value, true, nil
}

// SetSetting writes a setting of the whole hub.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	return s.write(ctx, "write setting "+name, func(t *tx) error {
		_, err := t.exec(`INSERT INTO settings (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
		return err
	})
}

// StampMode ties the database to mode (real, sandbox, simulator) at the first call. A later call with another mode
// fails with CodeConflict: a backlog made for the sandbox must never reach people.
func (s *Store) StampMode(ctx context.Context, mode string) error {
	return s.write(ctx, "stamp the database's mode", func(t *tx) error {
		if _, err := t.exec(`INSERT INTO settings (name, value) VALUES ('mode', $1) ON CONFLICT (name) DO NOTHING`, mode); err != nil {
			return err
		}
		var stamped string
		if err := t.row(`SELECT value FROM settings WHERE name = 'mode'`).Scan(&stamped); err != nil {
			return err
		}
		if stamped != mode {
			return gateway.Errorf(gateway.CodeConflict, "this database belongs to %s mode and is not opened in %s mode", stamped, mode)
		}
		return nil
	})
}

// wrap says what was tried and marks what is the database's unavailability.
func (s *Store) wrap(what string, err error) error {
	if s.d.refused(err) {
		err = &gateway.Error{Code: gateway.CodeInvalidBody, Message: "A text holds a character that cannot be stored (U+0000).", Err: err}
	} else if s.d.unavailable(err) {
		err = &gateway.Error{Code: gateway.CodeUnavailable, Message: "The database does not answer. Try again.", Err: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// micros is how a time is stored.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// stored is t as it will be read back.
func stored(t time.Time) time.Time { return fromMicros(micros(t)) }
