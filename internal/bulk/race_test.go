//go:build race

package bulk_test

// manyRows: the race detector slows the databases' drivers tenfold; without it the test has as many rows as there may be.
const manyRows = 1_500
