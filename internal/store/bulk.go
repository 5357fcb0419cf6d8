package store

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// maxRows bounds the messages of one statement: 1,000 of the longest texts are 64 MiB.
const maxRows = 1000

// insertMany stores messages in one statement, whatever their number: the columns
// are sent as arrays. Postgres only.
func (t *tx) insertMany(msgs []*gateway.Message) error {
	for part := range slices.Chunk(msgs, maxRows) {
		values := make([][]any, len(part))
		for i, m := range part {
			values[i] = t.s.d.messageArgs(m)
		}
		columns, types := columnar(values)
		var arrays strings.Builder
		for i, name := range types {
			if i > 0 {
				arrays.WriteString(", ")
			}
			arrays.WriteString("$" + strconv.Itoa(i+1) + "::" + name + "[]")
		}
		_, err := t.exec(`INSERT INTO messages (`+fixedColumns+`, `+stateColumns+`) SELECT * FROM unnest(`+arrays.String()+`)`, columns...)
		if err != nil {
			return err
		}
	}
	return nil
}

// columnar turns the values of rows into one array for each column, and names the types of their elements.
func columnar(rows [][]any) (columns []any, types []string) {
	for c, first := range rows[0] {
		switch reflect.TypeOf(first).Kind() {
		case reflect.Bool:
			columns, types = append(columns, column(rows, c, reflect.Value.Bool)), append(types, "boolean")
		case reflect.String:
			columns, types = append(columns, column(rows, c, reflect.Value.String)), append(types, "text")
		case reflect.Slice:
			columns, types = append(columns, column(rows, c, reflect.Value.Bytes)), append(types, "bytea")
		default:
			columns, types = append(columns, column(rows, c, reflect.Value.Int)), append(types, "bigint")
		}
	}
	return columns, types
}

func column[T any](rows [][]any, c int, value func(reflect.Value) T) []T {
	list := make([]T, len(rows))
	for i, row := range rows {
		list[i] = value(reflect.ValueOf(row[c]))
	}
	return list
}
