// Package gateway is the domain: what a tenant, a session, a message, a receipt and an outcome are, and which
// way a message's status may move. It imports the standard library only; every other room speaks its terms.
package gateway
