package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Rows are locked in the order tenants, sessions, blobs (by name), messages (by stanza id when there are several), idempotency. Postgres
// ends one of two transactions that wait for each other all the same; commit.go tries that one again.
//
// {now} is the time of the statement, not of its transaction, which may have waited for a lock.
func postgresDialect() dialect {
	return dialect{
		name:   "pgx",
		folder: "postgres",
		goose:  goose.DialectPostgres,
		// Transactions of Accept; every other write has one of its own. With more, the messages of many tenants share fewer commits, and each
		// costs as much as ten messages; with one, whoever holds up a tenant would hold up all.
		writers: 2,

		now:   "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)",
		lock:  "FOR NO KEY UPDATE", // rows that refer to it may still be written
		share: "FOR SHARE",
		fence: "FOR KEY SHARE", // a transaction of WhatsApp's tables may take long on a slow machine
		take:  "FOR UPDATE SKIP LOCKED",
		skip:  "FOR NO KEY UPDATE SKIP LOCKED",

		filled:       &sync.Map{},
		placeholders: func(query string) string { return query },
		text:         func(s string) any { return []byte(s) }, // TEXT takes no U+0000

		duplicate: func(err error) bool { return sqlState(err) == "23505" }, // unique_violation
		conflict: func(err error) bool {
			state := sqlState(err)
			return state == "40001" || state == "40P01" // serialization_failure, deadlock_detected
		},
		refused:     func(err error) bool { return sqlState(err) == "22021" }, // character_not_in_repertoire
		unavailable: postgresUnavailable,
	}
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func postgresUnavailable(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "25006", // read_only_sql_transaction: a standby, or a disk that is nearly full
			"25P03",          // idle_in_transaction_session_timeout
			"40001", "40P01", // tried again in vain
			"55P03", // lock_not_available
			"3D000": // the database was dropped
			return true
		}
		switch e.Code[:2] {
		case "08", "28", "53", "57", "58": // connection, authorization, resources, operator intervention, system error
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok && !errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	for _, known := range []error{driver.ErrBadConn, sql.ErrConnDone, errNoTurn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return err != nil && pgconn.SafeToRetry(err)
}

// openPostgres opens the one pool of the process. Without other values in the URL, a transaction whose process stands
// still is ended by the server before its lease is over, so that its locks do not outlive it, no statement waits for a
// lock for ever, and every statement finds its rows by an index, as each is written to, whatever the server thinks of the size of the tables.
func openPostgres(url string, conns int) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the URL cannot be read") // the error may hold a password
	}
	for name, value := range map[string]string{
		"application_name":                    "wapro-hub",
		"idle_in_transaction_session_timeout": "5s",
		"lock_timeout":                        "10s",
		"enable_seqscan":                      "off",
		"jit":                                 "off",
	} {
		if _, ok := config.RuntimeParams[name]; !ok {
			config.RuntimeParams[name] = value
		}
	}
	if !strings.Contains(url, "statement_cache_capacity") {
		config.StatementCacheCapacity = 256 // per connection; we and WhatsApp's tables have about a hundred statements
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		// What is accepted must be on disk (I1). Stronger settings, for replicas, are left as they are.
		_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
			WHERE current_setting('synchronous_commit') = 'off'`)
		return err
	}))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour) // finds its way back after a failover behind one name
	return db, nil
}

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// exclusiveLock is the advisory lock of Exclusive; it is the database's own, so another program's number would do no harm
// in another database.
const exclusiveLock = 0x77617068 // "waph"

// Exclusive runs do while no other process on the database runs its own: for migrations, ours and those of WhatsApp's
// tables. do may use the store. On SQLite it is run as it is: transactions are exclusive there.
func (s *Store) Exclusive(ctx context.Context, do func(context.Context) error) error {
	if s.d.writers == 1 {
		return do(ctx)
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return s.wrap("connect", err)
	}
	// The end of the connection frees the lock, also when the process dies.
	defer conn.Raw(func(any) error { return driver.ErrBadConn }) //nolint:errcheck // it is how a connection is thrown away
	for _, query := range []string{
		`SET lock_timeout = '60s'`, // others may have much to migrate
		fmt.Sprintf(`SELECT pg_advisory_lock(%d)`, exclusiveLock),
	} {
		if _, err := conn.ExecContext(ctx, query); err != nil {
			return s.wrap("wait for the other processes", err)
		}
	}
	return do(ctx)
}
