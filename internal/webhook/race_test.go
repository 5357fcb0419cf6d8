//go:build race

package webhook_test

// manyMessages have four events each: the race detector slows the database twentyfold; without it there are 2,000 events.
const manyMessages = 50
