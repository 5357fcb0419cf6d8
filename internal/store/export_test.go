package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/wapro/hub/internal/gateway"
)

// SelectClaimable is the statement of every claim, without its lock.
func SelectClaimable() string { return sqliteDialect().sql(selectClaimable) }

// FirstContacts is which messages count as first contacts; $1 is the tenant's key, $2 since when.
const FirstContacts = firstContacts

// Recipients are the statements that ask whether and when somebody was written to: $1 is the tenant's key.
func Recipients() map[string]string {
	return map[string]string{"by JID": sentToJID, "by name": sentToName, "times": sentTo}
}

// SelectAhead is the statement of a quick claim; its last arguments are of the lease.
func SelectAhead() string { return postgresDialect().sql(selectAhead) }

// Sweep are the statements by which the relay looks for work.
func (s *Store) Sweep() map[string]string {
	return map[string]string{
		"tenants": s.d.sql(selectWithWork), "unfinished": selectUnfinished, "postponed": countPostponed,
		"expirable": selectExpirable, "elsewhere": selectElsewhere,
	}
}

// Waits are the statements that look at what waits for a tenant: $1 is its key.
func (s *Store) Waits() map[string]string {
	return map[string]string{
		"backlog": hasBacklog, "depth": selectDepth, "ahead in a lane": aheadInLane, "ahead in a bulk": aheadInBulk,
		"held before":                  heldBefore,
		"held":                         strings.ReplaceAll(`SELECT id FROM messages `+heldUntilLater, "{skip}", ""),
		"a step of a purge":            strings.ReplaceAll(`SELECT id FROM messages `+waitingIn, "{skip}", ""),
		"held of a bulk":               countHeld,
		"a step of a cancellation":     strings.ReplaceAll(`SELECT id FROM messages `+begunOfBulk, "{skip}", ""),
		"a step of a purge, scheduled": strings.ReplaceAll(`SELECT id FROM messages `+waitingScheduled, "{skip}", ""),
	}
}

// DepthUpTo is Depth that counts no more than limit of a lane.
func (s *Store) DepthUpTo(ctx context.Context, tenantKey int64, limit int) (gateway.QueueDepth, error) {
	return s.depth(ctx, tenantKey, limit)
}

// FillVersion brings an empty database to the schema of a version and lets fill write rows with plain SQL, whose arguments are $1, $2 and
// so on. It returns the newest version there is.
func FillVersion(ctx context.Context, url string, version int64, fill func(exec func(query string, args ...any))) (newest int64, err error) {
	d := postgresDialect()
	var writer, reader *sql.DB
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		d = sqliteDialect()
		writer, reader, err = openSQLite(path, 1)
	} else {
		writer, err = openPostgres(url, 6)
		reader = writer
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, reader.Close(), writer.Close()) }()
	files, err := fs.Sub(migrations, "migrations/"+d.folder)
	if err != nil {
		return 0, err
	}
	provider, err := goose.NewProvider(d.goose, writer, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, err
	}
	for _, source := range provider.ListSources() {
		newest = max(newest, source.Version)
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return 0, err
	}
	var problems []error
	fill(func(query string, args ...any) {
		_, err := writer.ExecContext(ctx, d.placeholders(query), args...)
		problems = append(problems, err)
	})
	return newest, errors.Join(problems...)
}

// HoldQueues keeps what is written together from being written until release is called: changes of messages, claims, and writes under leases.
// waiting is how many of each wait.
func (s *Store) HoldQueues() (waiting func() (changes, claims, held int), release func()) {
	queues := []*queue{s.changes, s.claims, s.held}
	for _, q := range queues {
		q.turn <- struct{}{}
	}
	return func() (changes, claims, held int) {
			var n [3]int
			for i, q := range queues {
				q.mu.Lock()
				n[i] = len(q.waiting)
				q.mu.Unlock()
			}
			return n[0], n[1], n[2]
		}, func() {
			for _, q := range queues {
				<-q.turn
			}
		}
}

// ChangeTogether and ClaimTogether are the statements that write what was gathered.
func ChangeTogether() string { return postgresDialect().sql(changeTogether) }

// ClaimTogether see ChangeTogether.
func ClaimTogether() string { return postgresDialect().sql(claimTogether) }

// Deliveries are the statements by which webhooks are served and old events found.
func (s *Store) Deliveries() map[string]string {
	return map[string]string{"due": s.d.sql(selectDueWebhooks), "next": selectNextDeliveries, "forgettable": selectForgettable}
}
