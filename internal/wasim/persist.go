package wasim

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Kinds of records in the journal's one table. A key's parts are separated by a slash; addresses hold none.
const (
	kindRoot      = "root"      // key
	kindAccount   = "account"   // number
	kindIdentity  = "identity"  // number/address
	kindSession   = "session"   // number/address
	kindPreKey    = "prekey"    // number/id
	kindSenderKey = "senderkey" // number/group/address
	kindShown     = "shown"     // number/position
	kindSent      = "sent"      // number/stanza id
	kindDevice    = "device"    // number/index
	kindUploaded  = "uploaded"  // number/index/prekey id
	kindQueue     = "queue"     // number/index/sequence
	kindDue       = "due"       // sequence
	kindGroup     = "group"     // jid
)

var errJournalClosed = errors.New("the simulator is closed")

// journal writes the simulator's state behind it: one SQLite table of records, in the order batches were submitted,
// each batch in one transaction (many batches may share one). Without a directory it keeps nothing. Reading happens
// once, at start; media are the exception, their bytes stay on disk.
type journal struct {
	db   *sql.DB // nil: memory only
	done chan struct{}

	mu      sync.Mutex
	pending []*batch
	wake    chan struct{}
	closed  bool
}

// batch is a set of changes that are committed together.
type batch struct {
	j       *journal
	ops     []change
	done    chan struct{}
	err     error
	entries []*queued // made visible to their devices after the commit
	devices map[*device]struct{}
	then    []func() // called after the commit
}

type change struct {
	kind, key string
	value     []byte // nil: delete
}

func openJournal(ctx context.Context, dir string) (*journal, error) {
	j := &journal{wake: make(chan struct{}, 1), done: make(chan struct{})}
	if dir == "" {
		close(j.done)
		return j, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the simulator's folder: %w", err)
	}
	dsn := (&url.URL{Scheme: "file", Opaque: filepath.ToSlash(filepath.Join(dir, "simulator.db"))}).String() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the simulator's database: %w", err)
	}
	db.SetMaxOpenConns(1)
	for _, stmt := range []string{
		`CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID`,
		`CREATE TABLE IF NOT EXISTS media (id TEXT PRIMARY KEY, data BLOB NOT NULL)`,
	} {
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return nil, errors.Join(fmt.Errorf("preparing the simulator's database: %w", err), db.Close())
		}
	}
	j.db = db
	go j.run() //nolint:contextcheck // it writes for many callers until close
	return j, nil
}

// each calls f for every record of a kind, in the order of the keys.
func (j *journal) each(ctx context.Context, kind string, f func(key string, value []byte) error) (err error) {
	if j.db == nil {
		return nil
	}
	rows, err := j.db.QueryContext(ctx, `SELECT key, value FROM record WHERE kind = ? ORDER BY key`, kind)
	if err != nil {
		return fmt.Errorf("reading %s records: %w", kind, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var key string
		var value []byte
		if err := rows.Scan(&key, &value); err != nil {
			return fmt.Errorf("reading a %s record: %w", kind, err)
		}
		if err := f(key, value); err != nil {
			return fmt.Errorf("loading %s %s: %w", kind, key, err)
		}
	}
	return rows.Err()
}

func (j *journal) begin() *batch { return &batch{j: j} }

func (b *batch) put(kind, key string, value []byte) {
	if b.j.db != nil {
		b.ops = append(b.ops, change{kind, key, value})
	}
}

func (b *batch) delete(kind, key string) { b.put(kind, key, nil) }

// submit puts the batch in line. Callers submit while they hold the lock of what they changed, so that batches are
// written in the order of the changes.
func (b *batch) submit() {
	b.done = make(chan struct{})
	j := b.j
	if j.db == nil {
		close(b.done)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		b.err = errJournalClosed
		close(b.done)
		return
	}
	j.pending = append(j.pending, b)
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// finish waits until a submitted batch is committed and then lets devices have the stanzas it queued. On an error nothing of the batch was kept.
func (b *batch) finish() error {
	<-b.done
	if b.err != nil {
		return fmt.Errorf("saving the simulator's state: %w", b.err)
	}
	for _, e := range b.entries {
		e.ready.Store(true)
	}
	for d := range b.devices {
		d.flush()
	}
	for _, f := range b.then {
		f()
	}
	return nil
}

// after registers what finish calls once the batch is committed.
func (b *batch) after(f func()) { b.then = append(b.then, f) }

// commit submits and finishes.
func (b *batch) commit() error {
	b.submit()
	return b.finish()
}

func (j *journal) run() {
	defer close(j.done)
	for range j.wake {
		for {
			j.mu.Lock()
			todo, closed := j.pending, j.closed
			j.pending = nil
			j.mu.Unlock()
			if len(todo) == 0 {
				if closed {
					return
				}
				break
			}
			err := j.write(todo)
			for _, b := range todo {
				b.err = err
				close(b.done)
			}
		}
	}
}

func (j *journal) write(todo []*batch) error {
	// Not the context of any one caller: the batches of many share the transaction.
	ctx := context.Background()
	tx, err := j.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	put, err := tx.PrepareContext(ctx, `INSERT INTO record (kind, key, value) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value`)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }() // the transaction tells what failed
	del, err := tx.PrepareContext(ctx, `DELETE FROM record WHERE kind = ? AND key = ?`)
	if err != nil {
		return err
	}
	defer func() { _ = del.Close() }()
	for _, b := range todo {
		for _, op := range b.ops {
			if op.value == nil {
				_, err = del.ExecContext(ctx, op.kind, op.key)
			} else {
				_, err = put.ExecContext(ctx, op.kind, op.key, op.value)
			}
			if err != nil {
				return fmt.Errorf("writing a %s record: %w", op.kind, err)
			}
		}
	}
	return tx.Commit()
}

func (j *journal) putMedia(ctx context.Context, id string, data []byte) error {
	_, err := j.db.ExecContext(ctx, `INSERT INTO media (id, data) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`, id, data)
	return err
}

func (j *journal) media(ctx context.Context, id string) ([]byte, error) {
	var data []byte
	err := j.db.QueryRowContext(ctx, `SELECT data FROM media WHERE id = ?`, id).Scan(&data)
	return data, err
}

// close writes what was submitted and closes the file.
func (j *journal) close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	select {
	case j.wake <- struct{}{}:
	default:
	}
	j.mu.Unlock()
	<-j.done
	if j.db == nil {
		return nil
	}
	return j.db.Close()
}
