// Package media keeps files by the hash of their content, reads them out of base64, and tells what they are. A file is
// whole and on disk before its name is known to anybody. It imports nothing of the hub but the domain.
package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"github.com/wapro/hub/internal/gateway"
)

const (
	headBytes   = 3072 // enough for mimetype
	copyBytes   = 64 << 10
	staleUpload = 24 * time.Hour // a temporary file older than this has lost its process
)

// Rows is the list of the files that are stored, which outlives them: a file that is not on it may be removed by anybody.
type Rows interface {
	// KeepBlob notes that a file of this content is about to be stored. It is durable when it returns nil.
	KeepBlob(ctx context.Context, sha256 string, size int64) error
}

// Store is a directory of files named by their SHA-256. Several processes may share one.
type Store struct {
	dir      string
	rows     Rows
	budget   int64
	inFlight atomic.Int64
}

// Open opens the store in dir, which it creates when missing. At most inflight bytes are taken in at a time, over all
// calls of Put. What a dead process left half written is removed.
func Open(dir string, inflight int64, rows Rows) (*Store, error) {
	if inflight <= 0 {
		return nil, fmt.Errorf("open media store: the bytes in flight must be positive, not %d", inflight)
	}
	s := &Store{dir: dir, rows: rows, budget: inflight}
	if err := os.MkdirAll(s.uploads(), 0o700); err != nil {
		return nil, fmt.Errorf("open media store: %w", err)
	}
	return s, s.removeStale()
}

// Scratch is a folder for files that are in the making: on the same disk, and emptied of what a dead process left. An image without a
// folder for temporary files has no other.
func (s *Store) Scratch() string { return s.uploads() }

func (s *Store) uploads() string { return filepath.Join(s.dir, "uploads") }

func (s *Store) path(sha256 string) string { return filepath.Join(s.dir, sha256[:2], sha256[2:]) }

// Put stores what r holds. When it returns, the file and its name are on disk, so that a message may be promised. The
// same content is stored once. Its row is refreshed, so that a message that names it may follow within a day. Errors: CodeInvalidMedia for an empty file and for what r itself says, CodeMediaTooLarge
// over gateway.MaxMediaBytes, CodeMediaBusy when too much is in flight; any other error of r is wrapped.
func (s *Store) Put(ctx context.Context, r io.Reader) (gateway.Blob, error) {
	upload, err := os.CreateTemp(s.uploads(), "*")
	if err != nil {
		return gateway.Blob{}, fmt.Errorf("begin upload: %w", err)
	}
	defer os.Remove(upload.Name()) //nolint:errcheck // fails once the file has its name
	defer upload.Close()           //nolint:errcheck // for the ways out with an error; keep closes it with care

	in := &intake{ctx: ctx, store: s, from: r, hash: sha256.New()}
	defer in.release()
	if _, err := io.CopyBuffer(struct{ io.Writer }{upload}, in, make([]byte, copyBytes)); err != nil {
		return gateway.Blob{}, fmt.Errorf("take in media: %w", err)
	}
	if in.size == 0 {
		return gateway.Blob{}, gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media/data", "the file is empty")
	}
	blob := gateway.Blob{
		SHA256:   hex.EncodeToString(in.hash.Sum(nil)),
		Size:     in.size,
		MimeType: mimetype.Detect(in.head).String(),
		Head:     in.head,
	}
	if err := s.keep(ctx, upload, blob); err != nil {
		return gateway.Blob{}, fmt.Errorf("store media: %w", err)
	}
	return blob, nil
}

// keep gives an upload its name, after its row is committed: from then on it is not collected. It replaces a file that is there
// already, which mends one that was damaged.
func (s *Store) keep(ctx context.Context, upload *os.File, blob gateway.Blob) error {
	if err := upload.Sync(); err != nil {
		return err
	}
	if err := upload.Close(); err != nil {
		return err
	}
	if err := s.rows.KeepBlob(ctx, blob.SHA256, blob.Size); err != nil {
		return err
	}
	path := s.path(blob.SHA256)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err == nil {
		if err := syncDir(s.dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Rename(upload.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory survive a loss of power.
func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the store's own directories
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // only synced
	return dir.Sync()
}

// Open opens a stored file for reading, after all of it has been read and found to be what its name says. A file that
// is missing or damaged is CodeMediaLost. The caller closes it.
func (s *Store) Open(ctx context.Context, sha256sum string) (*os.File, error) {
	if !validName(sha256sum) {
		return nil, gateway.Errorf(gateway.CodeMediaLost, "there is no such file")
	}
	f, err := os.Open(s.path(sha256sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, gateway.Errorf(gateway.CodeMediaLost, "the stored file is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("open media: %w", err)
	}
	if err := verify(ctx, f, sha256sum); err != nil {
		f.Close() //nolint:errcheck // only read
		return nil, err
	}
	return f, nil
}

func verify(ctx context.Context, f *os.File, sha256sum string) error {
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, &ctxReader{ctx, f}, make([]byte, copyBytes)); err != nil {
		return fmt.Errorf("verify media: %w", err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != sha256sum {
		return gateway.Errorf(gateway.CodeMediaLost, "the stored file is damaged")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("verify media: %w", err)
	}
	return nil
}

// ctxReader reads until its context ends.
type ctxReader struct {
	ctx  context.Context //nolint:containedctx // as long as the one call that made it
	from io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// intake hashes, counts and limits what passes through it.
type intake struct {
	ctx   context.Context //nolint:containedctx // as long as the one call that made it
	store *Store
	from  io.Reader
	hash  hash.Hash
	size  int64
	head  []byte
}

func (in *intake) Read(p []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.from.Read(p)
	in.size += int64(n)
	if in.store.inFlight.Add(int64(n)) > in.store.budget {
		return 0, gateway.Errorf(gateway.CodeMediaBusy, "too much media is being taken in right now, try again shortly")
	}
	if in.size > gateway.MaxMediaBytes {
		return 0, gateway.FieldErrorf(gateway.CodeMediaTooLarge, "/media/data", "the file is over %d bytes", gateway.MaxMediaBytes)
	}
	in.hash.Write(p[:n])
	if room := headBytes - len(in.head); room > 0 {
		in.head = append(in.head, p[:min(n, room)]...)
	}
	return n, err
}

func (in *intake) release() { in.store.inFlight.Add(-in.size) }
