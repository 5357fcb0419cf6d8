//go:build race

package app_test

// documentRecipients: each costs a send to a first contact, and continuous integration, which has the race detector, little time.
const documentRecipients = 60

// deaths of the hub in TestAThousandDeaths: each is a start of a process.
const deaths = 24
