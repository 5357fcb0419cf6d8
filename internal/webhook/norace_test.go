//go:build !race

package webhook_test

const manyMessages = 500
