//go:build !race

package app_test

const (
	documentRecipients = 1000
	deaths             = 1000
)
