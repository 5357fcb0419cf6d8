//go:build race

package httpapi_test

// raced: the race detector makes a request on SQLite cost 2 ms.
const raced = true
