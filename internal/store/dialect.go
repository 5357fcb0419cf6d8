package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// dialect is all that differs between databases. Everything else is SQL that both speak.
type dialect struct {
	name    string // as whatsmeow's sqlstore names it
	folder  string // of its migrations
	goose   goose.Dialect
	writers int // how many transactions may write at the same time; 1: none has to lock anything

	// Parts of statements.
	now   string // {now}: the database's clock in microseconds
	lock  string // {lock}: behind a SELECT of rows that are about to change
	share string // {share}: behind a SELECT of rows that must not change before the commit
	fence string // {fence}: behind a SELECT of a lease that nobody else may take before the commit; its owner may go on renewing it
	take  string // {take}: behind a SELECT of leases that are about to be taken, without those that somebody else has locked
	skip  string // {skip}: behind a SELECT of rows that are about to change, without those that somebody else has locked

	filled       *sync.Map                 // the texts of statements, by what sql made them of
	placeholders func(query string) string // rewrites $1, $2 ... into what the driver likes best
	text         func(string) any          // how a column takes text of a user's, which may hold any character

	duplicate   func(error) bool // a row with this key exists
	unavailable func(error) bool // the database's failure, not that of what it was asked
	conflict    func(error) bool // another transaction was in the way: the same may succeed when it is tried again
	refused     func(error) bool // the database cannot store this text
}

// sql fills in what the dialect says differently, once for each text: they are those of statements, see there.
func (d dialect) sql(query string) string {
	if filled, ok := d.filled.Load(query); ok {
		return filled.(string) //nolint:forcetypeassert // nothing else is stored
	}
	filled := strings.NewReplacer("{now}", d.now, "{lock}", d.lock, "{share}", d.share, "{fence}", d.fence, "{take}", d.take, "{skip}", d.skip).Replace(query)
	d.filled.Store(query, filled)
	return filled
}

// preparesItself tells of a driver that keeps the prepared form of each statement per connection.
func (d dialect) preparesItself() bool { return d.writers > 1 }

// never is for what does not happen with a database.
func never(error) bool { return false }

// provider makes the provider of the schema's migrations.
func (s *Store) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+s.d.folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(s.d.goose, s.writer, files, goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.log))
}

// errNewer: what a newer version has made may mean something else than what this one would take it for.
var errNewer = errors.New("this database was migrated by a newer version of the hub")

// MigrateDown undoes the migrations after number to of the database at url, so that an older version can open it, and tells how many there were.
// No process may have it open.
func MigrateDown(ctx context.Context, url string, to int64, log *slog.Logger) (undone int, err error) {
	s := &Store{now: time.Now, log: log, closed: make(chan struct{})}
	if err := s.openPools(url, Options{Readers: 1, Conns: 6}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	provider, err := s.provider()
	if err != nil {
		return 0, err
	}
	current, newest, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return 0, s.wrap("read the schema's version", err)
	case current > newest:
		return 0, fmt.Errorf("%w: that one can migrate it down", errNewer)
	case to < 1 || to > current:
		return 0, fmt.Errorf("the database is at number %d: name one from 1 to that", current)
	}
	err = s.Exclusive(ctx, func(ctx context.Context) error {
		results, err := provider.DownTo(ctx, to)
		undone = len(results)
		return err
	})
	if err != nil {
		return undone, s.wrap("undo migrations", err)
	}
	return undone, nil
}

// migrate brings the schema up to date. When two processes start at once on SQLite, the slower one fails on what the
// faster one has made; it has succeeded all the same when nothing is left to do.
func (s *Store) migrate(ctx context.Context) error {
	provider, err := s.provider()
	if err != nil {
		return err
	}
	for range 5 {
		err = s.Exclusive(ctx, func(ctx context.Context) error {
			current, newest, err := provider.GetVersions(ctx)
			if err != nil {
				return err
			}
			if current > newest {
				return fmt.Errorf("%w: its migration is number %d, the last one of this program number %d", errNewer, current, newest)
			}
			_, err = provider.Up(ctx)
			return err
		})
		if err == nil || errors.Is(err, errNewer) {
			return err
		}
		if pending, perr := provider.HasPending(ctx); perr == nil && !pending {
			return nil
		}
	}
	return fmt.Errorf("apply migrations: %w", err)
}
