package bulk

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wapro/hub/internal/gateway"
)

const (
	maxHeader = 64 << 10 // bytes of the first line
	maxLine   = 1 << 20  // bytes of one row
)

// The columns that are not variables.
const (
	columnTo        = "to"
	columnReference = "reference"
)

// ReadCSV reads recipients from CSV in UTF-8 (RFC 4180), with or without a byte order mark. The first line names the columns: to,
// reference, and variables; it also tells whether commas, semicolons or tabs separate them. Errors of the file are
// *gateway.Error at the pointer /file; a row that has too few or too many values is kept as invalid. What spreadsheets add is passed over: columns
// without a name, and lines and rows without a value, which count as rows all the same so that a row is found under its number.
func (s *Service) ReadCSV(r io.Reader, rows gateway.BulkRows) error {
	in := bufio.NewReaderSize(r, maxHeader)
	if bom, err := in.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		if _, err := in.Discard(3); err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
	}
	start, err := in.Peek(maxHeader)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("read the file: %w", err)
	}
	bounded := &lineReader{r: in, left: maxLine}
	reader := csv.NewReader(bounded)
	reader.Comma, reader.ReuseRecord, reader.FieldsPerRecord = separator(start), true, -1
	header, err := reader.Read()
	if err != nil {
		return badCSV(err)
	}
	t, err := newTable(header)
	if err != nil {
		return err
	}
	empty, next := 0, endOf(reader, header)
	for {
		bounded.left = maxLine
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return badCSV(err)
		}
		line, _ := reader.FieldPos(0)
		empty += line - next // the reader passes over them
		next = endOf(reader, record)
		if !slices.ContainsFunc(record, func(value string) bool { return strings.TrimSpace(value) != "" }) {
			empty++
			continue
		}
		if rows.Len()+empty >= gateway.MaxBulkRows {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "the file has more than %d rows", gateway.MaxBulkRows)
		}
		for ; empty > 0; empty-- {
			if err := rows.Add(gateway.BulkRow{Empty: true}); err != nil {
				return err
			}
		}
		if err := rows.Add(t.row(record)); err != nil {
			return err
		}
	}
}

// endOf is the line behind the record that was read last.
func endOf(reader *csv.Reader, record []string) int {
	last := len(record) - 1
	line, _ := reader.FieldPos(last)
	return line + strings.Count(record[last], "\n") + 1
}

// badCSV tells what is wrong with the file from what is wrong with its arrival.
func badCSV(err error) error {
	if errors.Is(err, io.EOF) {
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "the file is empty")
	}
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "line %d, column %d of the file: %s", e.Line, e.Column, e.Err)
	}
	if errors.Is(err, errLongLine) {
		return gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "a row of the file is longer than %d bytes; is a quote not closed?", maxLine)
	}
	return fmt.Errorf("read the file: %w", err)
}

// separator is what stands most often between the names of the columns.
func separator(start []byte) rune {
	best, most := ',', 0
	for _, candidate := range []rune{',', ';', '\t'} {
		n, quoted := 0, false
		for _, c := range string(start) {
			switch {
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == candidate:
				n++
			}
			if !quoted && c == '\n' {
				break
			}
		}
		if n > most {
			best, most = candidate, n
		}
	}
	return best
}

// table is how the values of a row are read.
type table struct {
	names         []string // "": it has none, and is passed over
	to, reference int      // their columns; reference is -1 when there is none
}

func newTable(header []string) (*table, error) {
	t := &table{to: -1, reference: -1}
	seen := map[string]bool{}
	for i, name := range header {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case len(name) > gateway.MaxVarNameBytes || !utf8.ValidString(name):
			return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "column %d needs a name of %d bytes of UTF-8 at most", i+1, gateway.MaxVarNameBytes)
		case strings.EqualFold(name, columnTo):
			name, t.to = columnTo, i
		case strings.EqualFold(name, columnReference):
			name, t.reference = columnReference, i
		}
		if name != "" {
			if seen[name] {
				return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "two columns are named %q", name)
			}
			seen[name] = true
		}
		t.names = append(t.names, name)
	}
	if len(seen) > gateway.MaxBulkVars+2 {
		return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "the file has more than %d columns", gateway.MaxBulkVars+2)
	}
	if t.to < 0 {
		return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, "/file", "the first line must name a column %q", columnTo)
	}
	return t, nil
}

// row is a record as the rest of the room knows it; every column is a variable too.
func (t *table) row(record []string) gateway.BulkRow {
	for i := range max(len(record), len(t.names)) {
		if i >= len(record) && t.names[i] != "" || i >= len(t.names) && record[i] != "" {
			return gateway.BulkRow{Fault: fmt.Sprintf("the row has %d values, the header %d", len(record), len(t.names))}
		}
	}
	record = record[:min(len(record), len(t.names))]
	row := gateway.BulkRow{To: record[t.to], Vars: make(map[string]string, len(record))}
	if t.reference >= 0 {
		row.Reference = record[t.reference]
	}
	for i, value := range record {
		if t.names[i] == "" {
			continue
		}
		if !utf8.ValidString(value) {
			return gateway.BulkRow{To: row.To, Fault: fmt.Sprintf("the value of column %q is not UTF-8", t.names[i])}
		}
		if len(value) > gateway.MaxVarBytes {
			return gateway.BulkRow{To: row.To, Fault: fmt.Sprintf("the value of column %q is longer than %d bytes", t.names[i], gateway.MaxVarBytes)}
		}
		row.Vars[t.names[i]] = value
	}
	return row
}

var errLongLine = errors.New("a line is too long")

// lineReader bounds what may be read for one row.
type lineReader struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (l *lineReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLongLine
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}
