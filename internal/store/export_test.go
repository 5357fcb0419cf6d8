package store

// SelectClaimable is the statement of every claim, without its lock.
func SelectClaimable() string { return sqliteDialect().sql(selectClaimable) }

// Sweep are the statements by which the relay looks for work.
func (s *Store) Sweep() map[string]string {
	return map[string]string{
		"tenants": s.d.sql(selectWithWork), "timed": selectTimed, "ready": selectReady, "postponed": countPostponed,
		"expirable": selectExpirable, "elsewhere": selectElsewhere,
	}
}
