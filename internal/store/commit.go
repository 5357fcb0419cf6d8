package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	maxBatch    = 256              // writes that share one commit
	maxTurn     = 10 * time.Second // to wait for a connection that writes
	maxTransact = 30 * time.Second // of one transaction on Postgres; SQLite bounds its own waits
	maxTries    = 5                // of a transaction that others are in the way of
)

// errNoTurn: the connection that writes was not to be had within maxTurn, or the store is closed.
var errNoTurn = errors.New("the database's writer is not available")

// errUnknown: the connection broke during the commit, so the changes may be on disk or not.
var errUnknown = errors.New("the database did not confirm the commit")

// queue holds the writes that wait. There is no goroutine of its own: whoever gets the turn commits what waits, its
// own write and those of others, and each of the others finds its outcome in its job.
type queue struct {
	turn    chan struct{} // holds one element while somebody commits
	commit  func(ctx context.Context, conn *sql.Conn, batch []*job) error
	mu      sync.Mutex
	waiting []*job
}

type job struct {
	rank int64 // jobs of a batch run in this order, so that all transactions lock in the same order; equal ones as they came
	do   func(*tx) error
	rows []*gateway.Message // plain messages, to store which is all that do does; nil: it does something else
	err  error              // valid after done is closed

	change *change // of the queue of changes
	claim  *claim  // of the queue of claims
	held   *heldWrite

	done chan struct{}
}

// newQueue makes a queue whose jobs commit carries out. A job's own error is left in it; the error returned is that of the jobs that have none.
func newQueue(commit func(context.Context, *sql.Conn, []*job) error) *queue {
	return &queue{turn: make(chan struct{}, 1), commit: commit}
}

// write runs do in a transaction; when do fails, its changes are undone and its error is returned. When write returns
// nil, the changes are on disk. A caller whose ctx ends before its write was begun gets ctx's error and nothing happened;
// afterwards it waits for the outcome and gets that, so that nobody is told of a failure that was none. The wait to begin is
// bounded by maxTurn in any case. do may be run by another goroutine and more than once, must be quick and must not use
// ctx. An error that is errUnknown leaves open whether the changes are on disk: the connection broke during the commit.
func (s *Store) write(ctx context.Context, what string, do func(*tx) error) error {
	if s.d.writers == 1 {
		return s.writeShared(ctx, s.queues[0], what, &job{do: do})
	}
	return s.onConn(ctx, what, func(ctx context.Context, conn *sql.Conn) error {
		j := &job{do: do}
		if err := s.transact(context.WithoutCancel(ctx), conn, []*job{j}); err != nil && j.err == nil {
			j.err = err
		}
		return s.outcome(what, j)
	})
}

// onConn runs do with a connection, and keeps the store from being closed meanwhile.
func (s *Store) onConn(ctx context.Context, what string, do func(context.Context, *sql.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	select {
	case <-s.closed:
		return s.wrap(what, errNoTurn)
	default:
	}
	wait, cancel := context.WithTimeoutCause(ctx, maxTurn, errNoTurn)
	defer cancel()
	conn, err := s.connect(wait)
	if err != nil {
		return s.wrap(what, err)
	}
	defer conn.Close() //nolint:errcheck // gives the connection back
	ctx, end := context.WithTimeoutCause(ctx, maxTransact, errNoTurn)
	defer end()
	return do(ctx, conn)
}

// writeShared is write together with other writes that wait in q at the same time.
func (s *Store) writeShared(ctx context.Context, q *queue, what string, j *job) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxTurn, errNoTurn)
	defer cancel()
	j.done = make(chan struct{})
	q.add(j)
	for {
		var failure error
		select {
		case <-j.done:
		case q.turn <- struct{}{}:
			failure = s.commitWaiting(ctx, q, j)
			<-q.turn
		case <-ctx.Done():
			failure = context.Cause(ctx)
		case <-s.closed:
			failure = errNoTurn
		}
		if failure != nil && q.withdraw(j) {
			return s.wrap(what, failure)
		}
		if failure != nil {
			<-j.done // somebody else has begun it
		}
		select {
		case <-j.done:
			return s.outcome(what, j)
		default: // others were before us in a full batch
		}
	}
}

func (s *Store) outcome(what string, j *job) error {
	if j.err != nil {
		return s.wrap(what, j.err)
	}
	return nil
}

func (q *queue) add(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, j)
}

// take removes the oldest jobs, maxBatch at most.
func (q *queue) take() []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	slices.SortStableFunc(batch, func(a, b *job) int { return cmp.Compare(a.rank, b.rank) })
	return batch
}

// withdraw removes j unless somebody took it already.
func (q *queue) withdraw(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, j)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// commitWaiting gets hold of the connection, then carries out what waits at that moment and tells every job its
// outcome. Its own error means that nothing was begun. The caller has the turn, and j may be done already.
func (s *Store) commitWaiting(ctx context.Context, q *queue, j *job) error {
	select {
	case <-j.done:
		return nil // by the one that had the turn before
	default:
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // gives the connection back
	batch := q.take()
	err = q.commit(context.WithoutCancel(ctx), conn, batch)
	for _, j := range batch {
		if j.err == nil {
			j.err = err
		}
		close(j.done)
	}
	return nil
}

// connect gets hold of a connection that writes. The error of a ctx that ended meanwhile is its cause.
func (s *Store) connect(ctx context.Context) (*sql.Conn, error) {
	failed := func(what string, err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.writes.prepareWanted(ctx); err != nil {
		return nil, failed("prepare", err)
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return nil, failed("connect", err)
	}
	return conn, nil
}

// transact runs the jobs in one transaction. A job's own error is left in it; the error returned is that of all. It
// must have no deadline that could hit between a job and its commit: SQLite bounds its own waits by busy_timeout.
//
// Jobs seldom fail after they have written something, and a savepoint for each costs a third of the throughput. So the
// first try goes without; when one has to be undone, all are, and run again with savepoints.
//
// On Postgres a failed statement ends the transaction, so there each error of a job is undone; the deadline is far above
// any wait that the server bounds itself, and what happens to a commit that it hits is errUnknown.
func (s *Store) transact(ctx context.Context, conn *sql.Conn, batch []*job) error {
	if s.d.writers > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, maxTransact, errNoTurn)
		defer cancel()
	}
	for tries := 1; ; tries++ {
		err := s.try(ctx, conn, batch, false)
		if errors.Is(err, errUndo) && len(batch) > 1 || errors.Is(err, errApart) {
			err = s.try(ctx, conn, batch, true)
		}
		if err != nil && ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if !s.d.conflict(err) || tries == maxTries {
			return err
		}
	}
}

func (s *Store) try(ctx context.Context, conn *sql.Conn, batch []*job, isolated bool) (err error) {
	if s.d.writers > 1 && !isolated {
		if done, err := s.acceptAtOnce(ctx, conn, batch); done {
			return err
		}
	}
	sqlTx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		if rollback := sqlTx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, rollback)
		}
	}()
	t := &tx{ctx: ctx, sql: sqlTx, conn: conn, s: s, lastSeq: map[int64]int64{}, isolated: isolated}
	for _, j := range batch {
		if err := t.run(j); err != nil {
			return err
		}
	}
	if err := t.storeRows(); err != nil {
		return err
	}
	if err := t.storeSeqs(); err != nil {
		return fmt.Errorf("store counters: %w", err)
	}
	if err := sqlTx.Commit(); err != nil {
		if s.d.writers > 1 && s.d.unavailable(err) && !s.d.conflict(err) || ctx.Err() != nil {
			err = errors.Join(err, errUnknown)
		}
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// errUndo rolls a transaction back because of a job that failed after it had written; the job has its own error.
var errUndo = errors.New("a job has to be undone")

// errApart rolls a transaction back because one of its jobs failed, but it cannot be told which.
var errApart = errors.New("the jobs have to be run apart")

// run runs one job. Its own error means that the transaction cannot go on.
func (t *tx) run(j *job) error {
	if t.isolated {
		if _, err := t.exec(`SAVEPOINT job`); err != nil {
			return fmt.Errorf("begin a share: %w", err)
		}
	}
	t.wrote = false
	j.err = t.call(j.do)
	undo := j.err != nil && (t.wrote || t.s.d.writers > 1)
	switch {
	case t.s.d.unavailable(j.err):
		return j.err // the database may have given up the whole transaction
	case undo && !t.isolated:
		return errUndo
	case undo:
		if _, err := t.exec(`ROLLBACK TO SAVEPOINT job`); err != nil {
			return fmt.Errorf("undo a share: %w", err)
		}
	}
	if t.isolated {
		if _, err := t.exec(`RELEASE SAVEPOINT job`); err != nil {
			return fmt.Errorf("end a share: %w", err)
		}
	}
	return nil
}

// tx is a write transaction, shared by the jobs of a batch.
type tx struct {
	ctx      context.Context // of the transaction, which the jobs' own contexts cannot end
	sql      *sql.Tx
	conn     *sql.Conn // that the transaction is on
	s        *Store
	isolated bool               // each job has a savepoint
	wrote    bool               // the job at hand has changed something
	lastSeq  map[int64]int64    // counters of tenants that accepted messages, stored at the end
	rows     []*gateway.Message // accepted, to be inserted together before the commit
}

// call contains a panic of one job: it is that job's failure, not that of the others in the batch.
func (t *tx) call(do func(*tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do(t)
}

// prepared returns the prepared form of query, which the transaction closes, or nil.
func (t *tx) prepared(query string) *sql.Stmt {
	if stmt := t.s.writes.find(query); stmt != nil {
		return t.sql.StmtContext(t.ctx, stmt)
	}
	return nil
}

func (t *tx) exec(query string, args ...any) (changed int64, err error) {
	var result sql.Result
	if stmt := t.prepared(query); stmt != nil { //nolint:sqlclosecheck // the transaction closes it
		result, err = stmt.ExecContext(t.ctx, args...)
	} else {
		result, err = t.sql.ExecContext(t.ctx, query, args...)
	}
	if err != nil {
		return 0, err
	}
	changed, err = result.RowsAffected()
	t.wrote = t.wrote || changed > 0 || err != nil
	return changed, err
}

// query returns rows; a statement with RETURNING counts as a change whatever it returns.
func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	t.wrote = t.wrote || !strings.HasPrefix(query, "SELECT")
	if stmt := t.prepared(query); stmt != nil { //nolint:sqlclosecheck // the transaction closes it
		return stmt.QueryContext(t.ctx, args...)
	}
	return t.sql.QueryContext(t.ctx, query, args...)
}

func (t *tx) row(query string, args ...any) scanner {
	t.wrote = t.wrote || !strings.HasPrefix(query, "SELECT")
	if stmt := t.prepared(query); stmt != nil { //nolint:sqlclosecheck // the transaction closes it
		return stmt.QueryRowContext(t.ctx, args...)
	}
	return t.sql.QueryRowContext(t.ctx, query, args...)
}
