package httpapi

// StatusOf is the table of which code answers with which HTTP status, for the test of the catalogue.
var StatusOf = statusOf
