package gateway

import "time"

// Worker is a process that holds sessions.
type Worker struct {
	ID        string // the owner its leases name
	Host      string
	PID       int
	StartedAt time.Time // this and SeenAt by the database's clock
	SeenAt    time.Time // when it last said that it lives

	Sessions int // leases it holds
	Online   int // of them, sessions that send
	Waiting  int // messages of their tenants that are not finished
}

// Shares is who holds how many sessions at a moment.
type Shares struct {
	Held    map[string]int // sessions by live worker, those that hold none included
	Total   int            // sessions, those that nobody holds included
	Free    int            // sessions that nobody holds
	Orphans int            // of the free ones, those that have been so for longer than was asked
}
