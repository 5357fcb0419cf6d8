package bulk

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/wapro/hub/internal/gateway"
)

// spool keeps rows in a file that has no name: whatever becomes of the process, the system removes it.
type spool struct {
	file *os.File
	out  *bufio.Writer
	enc  *gob.Encoder
	n    int
}

// NewRows makes room for the rows of one request, on disk.
func (s *Service) NewRows() (gateway.BulkRows, error) {
	file, err := os.CreateTemp(s.Dir, "bulk-*")
	if err != nil {
		return nil, fmt.Errorf("make room for the rows of a bulk: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("take the name of the file of rows: %w", err), file.Close())
	}
	out := bufio.NewWriterSize(file, 64<<10)
	return &spool{file: file, out: out, enc: gob.NewEncoder(out)}, nil
}

// Add implements gateway.BulkRows.
func (p *spool) Add(row gateway.BulkRow) error {
	if err := p.enc.Encode(row); err != nil {
		return fmt.Errorf("keep a row: %w", err)
	}
	p.n++
	return nil
}

// Len implements gateway.BulkRows.
func (p *spool) Len() int { return p.n }

// Each implements gateway.BulkRows.
func (p *spool) Each(do func(n int, row gateway.BulkRow) error) error {
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("keep the rows: %w", err)
	}
	end, err := p.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("read the rows: %w", err)
	}
	dec := gob.NewDecoder(bufio.NewReaderSize(io.NewSectionReader(p.file, 0, end), 64<<10))
	for n := 1; n <= p.n; n++ {
		var row gateway.BulkRow
		if err := dec.Decode(&row); err != nil {
			return fmt.Errorf("read row %d: %w", n, err)
		}
		if err := do(n, row); err != nil {
			return err
		}
	}
	return nil
}

// Close implements gateway.BulkRows.
func (p *spool) Close() error { return p.file.Close() }
