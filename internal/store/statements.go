package store

import (
	"context"
	"database/sql"
	"sync"
)

// statements keeps the prepared form of the statements of one pool. The texts are constants of this package, or one
// of a few dozen filters of the list, so that it stays small.
type statements struct {
	db *sql.DB
	d  dialect

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
	wanted   map[string]struct{} // met in a transaction, to be prepared before the next
}

func newStatements(db *sql.DB, d dialect) *statements {
	return &statements{db: db, d: d, prepared: map[string]*sql.Stmt{}, wanted: map[string]struct{}{}}
}

// find returns the prepared query, or nil after noting that it is wanted.
func (p *statements) find(query string) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt := p.prepared[query]
	if stmt == nil && !p.d.preparesItself() {
		p.wanted[query] = struct{}{}
	}
	return stmt
}

// prepareWanted prepares what the last transactions did without. A transaction cannot do it itself: preparing needs
// the connection that it occupies.
func (p *statements) prepareWanted(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for query := range p.wanted {
		stmt, err := p.db.PrepareContext(ctx, p.d.placeholders(query)) //nolint:sqlclosecheck // closed with its pool
		if err != nil {
			return err
		}
		p.prepared[query] = stmt
		delete(p.wanted, query)
	}
	return nil
}

// get prepares query at its first use.
func (p *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stmt := p.prepared[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := p.db.PrepareContext(ctx, p.d.placeholders(query)) //nolint:sqlclosecheck // closed with its pool
	if err == nil {
		p.prepared[query] = stmt
	}
	return stmt, err
}

// scanner is a row to be read: sql.Row, sql.Rows, or an error in their place.
type scanner interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// read queries the pool of readers.
func (s *Store) read(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s.d.preparesItself() {
		return s.reader.QueryContext(ctx, query, args...)
	}
	stmt, err := s.reads.get(ctx, query) //nolint:sqlclosecheck // closed with its pool
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *Store) readRow(ctx context.Context, query string, args ...any) scanner {
	if s.d.preparesItself() {
		return s.reader.QueryRowContext(ctx, query, args...)
	}
	stmt, err := s.reads.get(ctx, query) //nolint:sqlclosecheck // closed with its pool
	if err != nil {
		return failedRow{err}
	}
	return stmt.QueryRowContext(ctx, args...)
}

// all scans every row of a query.
func all[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}
