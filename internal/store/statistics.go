package store

import (
	"context"
	"time"
)

// Postgres plans a statement once for each connection, by what it then knows of the tables, and learns that they have grown a minute later: a
// statement that was planned for a young table reads all of a backlog until then, for each message. See docs/decisions/0024.

const (
	statisticsEvery = 2 * time.Second // between two looks at the tables' sizes, which cost less than one claim
	statisticsLimit = time.Minute
)

// selectGrown are the tables that have more than doubled since Postgres last looked at what is in them.
const selectGrown = `SELECT quote_ident(s.relname) FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
	WHERE s.schemaname = current_schema() AND pg_has_role(c.relowner, 'USAGE') AND s.n_live_tup > 500 + 2 * GREATEST(c.reltuples, 0)`

// keepStatistics has Postgres look at tables that grow, until ctx ends.
func (s *Store) keepStatistics(ctx context.Context) {
	tick := time.NewTicker(statisticsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.refreshStatistics(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("the statistics of the tables were not refreshed", "error", err) // the database's own turn comes
		}
	}
}

// refreshStatistics also has every connection plan anew what it does with those tables.
func (s *Store) refreshStatistics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statisticsLimit)
	defer cancel()
	rows, err := s.read(ctx, selectGrown)
	tables, err := all(rows, err, func(row scanner) (name string, err error) { return name, row.Scan(&name) })
	if err != nil {
		return err
	}
	for _, table := range tables {
		if _, err := s.writer.ExecContext(ctx, `ANALYZE (SKIP_LOCKED) `+table); err != nil { // another process may be at it
			return err
		}
	}
	return nil
}
