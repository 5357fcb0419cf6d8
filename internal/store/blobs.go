package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// The row of a file says that it may be there; a file without one is nobody's. The row is committed before the file gets its name,
// and removed after the file, under its lock: so who is about to store the same content, or to name it in a message, either comes
// first and the file stays, or comes last and finds no row.

// KeepBlob notes that a file of this content is about to be stored, for the first time or once more. From its return on the file is
// safe from collection for as long as unused ones are left alone.
func (s *Store) KeepBlob(ctx context.Context, sha256 string, size int64) error {
	return s.write(ctx, "keep blob", func(t *tx) error {
		now := micros(s.now())
		_, err := t.exec(`INSERT INTO blobs (sha256, size, created_at, used_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (sha256) DO UPDATE SET used_at = excluded.used_at`, sha256, size, now, now)
		return err
	})
}

// useBlobs refreshes the rows of the files that new messages name, and keeps them until the commit. A file that was collected
// meanwhile is CodeMediaLost.
func (t *tx) useBlobs(msgs []*gateway.Message) error {
	var names []string
	for _, m := range msgs {
		if m.Media != nil {
			names = append(names, m.Media.SHA256)
		}
	}
	slices.Sort(names) // the order in which they are locked
	now := micros(t.s.now())
	for _, name := range slices.Compact(names) {
		n, err := t.exec(`UPDATE blobs SET used_at = $1 WHERE sha256 = $2`, now, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return gateway.Errorf(gateway.CodeMediaLost, "the file is not stored any more; send it again")
		}
	}
	return nil
}

// UnusedBlobs looks at up to limit rows of files, in the order of their names, that come after that name and were last used before
// that time, and returns those that no message names. next is the name to go on after, empty at the end.
func (s *Store) UnusedBlobs(ctx context.Context, before time.Time, after string, limit int) (unused []string, next string, err error) {
	rows, err := s.read(ctx, `SELECT b.sha256, EXISTS (SELECT 1 FROM messages m WHERE m.media_sha256 = b.sha256 AND m.media_sha256 <> '')
		FROM (SELECT sha256 FROM blobs WHERE sha256 > $1 AND used_at < $2 ORDER BY sha256 LIMIT $3) b ORDER BY b.sha256`,
		after, micros(before), limit)
	type look struct {
		name string
		used bool
	}
	looks, err := all(rows, err, func(row scanner) (l look, err error) { return l, row.Scan(&l.name, &l.used) })
	if err != nil {
		return nil, "", s.wrap("look for unused blobs", err)
	}
	for _, l := range looks {
		if !l.used {
			unused = append(unused, l.name)
		}
	}
	if len(looks) == limit {
		next = looks[limit-1].name
	}
	return unused, next, nil
}

// DropBlob removes a file by remove, and then its row, if it still was last used before that time and no message names it, and
// tells whether it did. remove is called under the row's lock, perhaps more than once; it must be quick and take a file that is gone
// for removed. When it, or the commit after it, fails, a row without a file is left: the next upload of that content mends it, the
// next collection removes it.
func (s *Store) DropBlob(ctx context.Context, sha256 string, before time.Time, remove func() error) (bool, error) {
	dropped := false
	err := s.write(ctx, "drop blob", func(t *tx) error {
		dropped = false
		var one int
		err := t.row(s.d.sql(`SELECT 1 FROM blobs WHERE sha256 = $1 AND used_at < $2 {lock}`), sha256, micros(before)).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		// A statement of its own: it sees what was committed while the first waited for the lock.
		err = t.row(`SELECT 1 FROM messages WHERE media_sha256 = $1 AND media_sha256 <> '' LIMIT 1`, sha256).Scan(&one)
		if err == nil {
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := remove(); err != nil {
			return err
		}
		dropped = true
		_, err = t.exec(`DELETE FROM blobs WHERE sha256 = $1`, sha256)
		return err
	})
	return dropped && err == nil, err
}

// AdoptBlobs gives files that have no row one, as if they were stored now, and tells how many had none: those of a kill at the wrong
// moment, or of a folder that was copied. Collection then treats them like any other.
func (s *Store) AdoptBlobs(ctx context.Context, files []gateway.Blob) (int, error) {
	var strays []gateway.Blob
	for _, f := range files {
		var one int
		err := s.readRow(ctx, `SELECT 1 FROM blobs WHERE sha256 = $1`, f.SHA256).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			strays = append(strays, f)
		} else if err != nil {
			return 0, s.wrap("look for a blob", err)
		}
	}
	if len(strays) == 0 {
		return 0, nil
	}
	slices.SortFunc(strays, func(a, b gateway.Blob) int { return strings.Compare(a.SHA256, b.SHA256) })
	var adopted int64
	err := s.write(ctx, "adopt blobs", func(t *tx) error {
		adopted = 0
		now := micros(s.now())
		for _, f := range strays {
			n, err := t.exec(`INSERT INTO blobs (sha256, size, created_at, used_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				f.SHA256, f.Size, now, now)
			if err != nil {
				return err
			}
			adopted += n
		}
		return nil
	})
	return int(adopted), err
}
