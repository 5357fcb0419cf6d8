package gateway

import (
	"errors"
	"fmt"
	"time"
)

// ClientEventKind is what a live WhatsApp client reports.
type ClientEventKind string

// The kinds.
const (
	ClientConnected    ClientEventKind = "connected"     // sends may begin
	ClientDisconnected ClientEventKind = "disconnected"  // the socket is gone; Reason, reconnect is ours to do
	ClientLoggedOut    ClientEventKind = "logged_out"    // keys are deleted, pair again
	ClientReplaced     ClientEventKind = "replaced"      // opened elsewhere
	ClientBanned       ClientEventKind = "banned"        // Until
	ClientRestricted   ClientEventKind = "restricted"    // new contacts may not be written to until Until; zero: they may again
	ClientOutdated     ClientEventKind = "outdated"      // client version refused
	ClientConnectError ClientEventKind = "connect_error" // login refused for another reason; Reason, Detail
	ClientPairCode     ClientEventKind = "pair_code"     // Code is on show until Until; Reason: scan_qr or enter_code
	ClientPaired       ClientEventKind = "paired"        // JID, LID; a reconnect follows
	ClientPairFailed   ClientEventKind = "pair_failed"   // Reason: pairing_timeout or pairing_failed
	ClientReceipt      ClientEventKind = "receipt"       // Receipt
	ClientMessage      ClientEventKind = "message"       // Inbound
)

// ClientEvent is one report. The handler's nil error lets the client acknowledge it to WhatsApp; after an error
// WhatsApp delivers it again.
type ClientEvent struct {
	Kind    ClientEventKind
	Reason  SessionReason
	Detail  string // for the log and the operator; no message text
	Until   time.Time
	Code    string
	JID     string
	LID     string
	Receipt *Receipt
	Inbound *Inbound
}

// ErrNoKeys is returned when a client is asked for a session whose keys are not in the database: it must be paired anew.
var ErrNoKeys = errors.New("the database has no keys for this session")

// ReceiptKind is what a recipient confirmed.
type ReceiptKind string

// The receipts that move a status (I10). Every other kind stays in the wa room.
const (
	ReceiptDelivered ReceiptKind = "delivered"
	ReceiptRead      ReceiptKind = "read"
	ReceiptPlayed    ReceiptKind = "played" // counts as read
)

// Receipt is a recipient's confirmation of messages of one chat.
type Receipt struct {
	Kind      ReceiptKind
	StanzaIDs []string
	Chat      string // bare JID of the chat: the person, or the group
	Sender    string // bare JID (number or LID) of who confirms; in a person's chat the same as Chat
	SenderAlt string // the other name of Sender (LID of a number or number of a LID), empty when not known
	At        time.Time
}

// Sent is the proof of a send (I5).
type Sent struct {
	RecipientJID string    // number or group JID, bare
	RecipientLID string    // bare, empty for groups
	At           time.Time // the server's time of acknowledgement
	Missed       []string  // members of a group whose phone got no ciphertext
	FirstContact bool      // nobody had written to the recipient before; dispatch says so, as far as pacing wants to know
}

// SendCause says why a send did not succeed, in terms of what happened; dispatch decides what follows.
type SendCause string

// The causes.
const (
	CauseOffline       SendCause = "offline"       // not connected; nothing was written
	CauseFenced        SendCause = "fenced"        // the lease is lost; nothing was written
	CauseClaimLost     SendCause = "claim_lost"    // the database lost the claim; nothing was written
	CauseStopped       SendCause = "stopped"       // the caller's context was canceled by shutdown
	CauseDisconnected  SendCause = "disconnected"  // the connection broke after the stanza was written, twice
	CauseTimeout       SendCause = "timeout"       // no answer in time
	CauseAck           SendCause = "ack"           // the server answered the stanza with error Server
	CauseIQ            SendCause = "iq"            // a query before the send was answered with error Server
	CauseNotOnWhatsApp SendCause = "not_on_wa"     // the number has no account
	CauseOptedOut      SendCause = "opted_out"     // it is of a bulk, and the recipient wants none; nothing was written
	CauseNoCiphertext  SendCause = "no_ciphertext" // nothing was encrypted for the recipient's phone (I5)
	CauseUpload        SendCause = "upload"        // the media servers answered Server, or did not
	CauseMedia         SendCause = "media"         // the stored file cannot be read or is not what it should be
	CauseFetch         SendCause = "fetch"         // the file at media.url was not got; Server is the HTTP status; Err tells what cannot be mended
	CauseFetching      SendCause = "fetching"      // the file at media.url is still being fetched
	CausePreviewing    SendCause = "previewing"    // the page of the link is still being fetched
	CauseGroup         SendCause = "group"         // no such group, or not a member
	CauseStore         SendCause = "store"         // the Signal store failed
	CauseInternal      SendCause = "internal"      // anything else, a panic included
)

// SendError is a send that did not succeed.
type SendError struct {
	Cause  SendCause
	Server int       // WhatsApp's number with CauseAck, CauseIQ and CauseUpload, 0 when there is none
	OnWire bool      // the stanza may have reached the server: the outcome is unknown
	Until  time.Time // announced end of a restriction, when there is one
	Err    error
}

func (e *SendError) Error() string {
	return fmt.Sprintf("send: %s (server %d, on wire %t): %v", e.Cause, e.Server, e.OnWire, e.Err)
}

func (e *SendError) Unwrap() error { return e.Err }
