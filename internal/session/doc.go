// Package session owns the live WhatsApp sessions of a process: it holds their leases, connects, reconnects and pairs
// them, and writes their state. One goroutine owns one session; nothing else touches its client or its row, but for
// sends, which may run beside it.
//
// It promises: a session is connected only under a valid lease; its lanes are open only while it is online; a failure, or a panic, of
// one session stays with that session (I6); stopping closes the lanes, which finishes the send in hand, before it
// disconnects and gives the leases up (I8).
package session
