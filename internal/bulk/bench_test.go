package bulk_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/wapro/hub/internal/bulk"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// BenchmarkAccept compares the acceptance of a bulk of 20,000 on Postgres, checks included, with a plain COPY of the same rows
// into the same tables, in turns. The metric to look at is the ratio of their rates.
func BenchmarkAccept(b *testing.B) {
	const rows = 20_000
	s, err := store.Open(b.Context(), services.Postgres(b), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the benchmark is over
	tenant, err := s.CreateTenant(b.Context(), "algo", "")
	if err != nil {
		b.Fatal(err)
	}
	service := bulk.New(bulk.Deps{Store: s, Ledger: ledger.New(s, time.Now), ParseRecipient: intake.ParseRecipient, Dir: b.TempDir()})
	given, err := service.NewRows()
	if err != nil {
		b.Fatal(err)
	}
	defer given.Close()
	for i := range rows {
		if err := given.Add(gateway.BulkRow{To: number(i), Vars: map[string]string{"name": "somebody"}}); err != nil {
			b.Fatal(err)
		}
	}
	var accepting, copying time.Duration
	for b.Loop() {
		began := time.Now()
		p, err := service.Create(b.Context(), tenant, gateway.BulkRequest{Text: "Hello {{name}}, this is a message.", Rows: given, At: "/recipients"}, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		accepting += time.Since(began)
		copying += copySame(b, s.Writer(), p.ID)
	}
	b.ReportMetric(float64(rows*b.N)/accepting.Seconds(), "accepted/s")
	b.ReportMetric(float64(rows*b.N)/copying.Seconds(), "copied/s")
	b.ReportMetric(copying.Seconds()/accepting.Seconds(), "ratio")
}

// copySame copies the rows of a bulk under other ids, and returns how long COPY alone takes.
func copySame(b *testing.B, db *sql.DB, id string) (took time.Duration) {
	b.Helper()
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // gives it back
	err = conn.Raw(func(driver any) error {
		pg := driver.(*stdlib.Conn).Conn()
		read := func(query string) (names []string, rows [][]any, err error) {
			found, err := pg.Query(ctx, query, id)
			if err != nil {
				return nil, nil, err
			}
			for _, f := range found.FieldDescriptions() {
				names = append(names, f.Name)
			}
			rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
			return names, rows, err
		}
		names, rows, err := read(`SELECT * FROM messages WHERE bulk_id = $1 ORDER BY seq`)
		if err != nil {
			return err
		}
		eventNames, events, err := read(`SELECT e.* FROM message_events e JOIN messages m ON m.id = e.message_id WHERE m.bulk_id = $1 ORDER BY m.seq`)
		if err != nil {
			return err
		}
		other := func(s any) string { return strings.Replace(s.(string), "-7", "-8", 1) }
		for _, row := range rows {
			for i, name := range names {
				switch name {
				case "id", "bulk_id":
					row[i] = other(row[i])
				case "stanza_id":
					row[i] = "C" + row[i].(string)
				case "seq":
					row[i] = row[i].(int64) + 1_000_000_000
				}
			}
		}
		for _, row := range events {
			row[0] = other(row[0])
		}
		began := time.Now()
		tx, err := pg.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"messages"}, names, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"message_events"}, eventNames, pgx.CopyFromRows(events)); err != nil {
			return err
		}
		err = tx.Commit(ctx)
		took = time.Since(began)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return took
}
