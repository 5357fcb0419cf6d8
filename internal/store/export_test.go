package store

// SelectClaimable is the statement of every claim, without its lock.
func SelectClaimable() string { return sqliteDialect().sql(selectClaimable) }
