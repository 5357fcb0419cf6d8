package gateway

import (
	"errors"
	"time"
)

// SessionState is what a tenant's WhatsApp session is doing.
type SessionState string

// The session states.
const (
	SessionUnpaired   SessionState = "unpaired"   // no number is linked
	SessionPairing    SessionState = "pairing"    // a QR code waits to be scanned, or a code to be entered
	SessionConnecting SessionState = "connecting" // paired, on its way online
	SessionOnline     SessionState = "online"     // sends
	SessionOffline    SessionState = "offline"    // paired, the connection is down; reconnects by itself
	SessionLoggedOut  SessionState = "logged_out" // the phone removed this device; pair again
	SessionBanned     SessionState = "banned"     // WhatsApp banned the number, see Restriction.Until
	SessionOutdated   SessionState = "outdated"   // WhatsApp refuses this client version
	SessionReplaced   SessionState = "replaced"   // the same session was opened elsewhere
)

// SessionStates lists all states.
func SessionStates() []SessionState {
	return []SessionState{
		SessionUnpaired, SessionPairing, SessionConnecting, SessionOnline, SessionOffline, SessionLoggedOut, SessionBanned, SessionOutdated,
		SessionReplaced,
	}
}

// SessionReason is the machine-readable cause of a state; Hint says what to do.
type SessionReason string

// The reasons.
const (
	ReasonNone           SessionReason = ""
	ReasonNeverPaired    SessionReason = "never_paired"
	ReasonScanQR         SessionReason = "scan_qr"
	ReasonEnterCode      SessionReason = "enter_code"
	ReasonPairingTimeout SessionReason = "pairing_timeout"
	ReasonPairingFailed  SessionReason = "pairing_failed"
	ReasonConnecting     SessionReason = "connecting"
	ReasonConnected      SessionReason = "connected"
	ReasonConnectionLost SessionReason = "connection_lost"
	ReasonConnectFailed  SessionReason = "connect_failed"
	ReasonServerError    SessionReason = "server_error"
	ReasonNoWorker       SessionReason = "no_worker"
	ReasonLogoutByUser   SessionReason = "logged_out_by_request"
	ReasonDeviceRemoved  SessionReason = "device_removed"
	ReasonRefused        SessionReason = "login_refused"
	ReasonTemporaryBan   SessionReason = "temporary_ban"
	ReasonClientOutdated SessionReason = "client_outdated"
	ReasonReplaced       SessionReason = "replaced"
	ReasonShutdown       SessionReason = "shutting_down"
	ReasonBacklogHeld    SessionReason = "backlog_held"
)

// Hint is the sentence that tells a person what to do about r.
func (r SessionReason) Hint() string {
	switch r {
	case ReasonNone:
		return ""
	case ReasonNeverPaired, ReasonLogoutByUser:
		return "Pair a phone: POST /api/{tenantId}/session/connect, then scan GET /api/{tenantId}/session/qr with WhatsApp > Linked devices."
	case ReasonScanQR:
		return "Open WhatsApp on the phone, Linked devices, Link a device, and scan the code."
	case ReasonEnterCode:
		return "Open WhatsApp on the phone, Linked devices, Link with phone number, and enter the code."
	case ReasonPairingTimeout:
		return "Nobody used the code in time. Start pairing again."
	case ReasonPairingFailed:
		return "The phone did not complete the pairing. Start pairing again."
	case ReasonConnecting:
		return "Nothing to do: the hub is connecting."
	case ReasonConnected:
		return "Nothing to do."
	case ReasonConnectionLost, ReasonServerError:
		return "Nothing to do: the hub reconnects by itself and messages wait."
	case ReasonConnectFailed:
		return "Check that this machine reaches WhatsApp (web.whatsapp.com:443); the hub keeps trying and messages wait."
	case ReasonNoWorker:
		return "No worker owns this session yet. Start a worker."
	case ReasonDeviceRemoved, ReasonRefused:
		return "The phone unlinked this device. Pair it again; waiting messages are kept."
	case ReasonTemporaryBan:
		return "WhatsApp banned this number for a time. Wait until the time given; messages wait. Send less to people who do not know you."
	case ReasonClientOutdated:
		return "WhatsApp refuses this client version. Restart the hub to fetch the current one, or update the hub."
	case ReasonReplaced:
		return "The session was opened elsewhere. Stop the other program, then POST /api/{tenantId}/session/connect."
	case ReasonShutdown:
		return "Nothing to do: its worker is stopping or hands the session to another, with which it returns."
	case ReasonBacklogHeld:
		return "Another number was paired while messages waited for the one before. POST /api/{tenantId}/queue/release sends them from the new number, /queue/purge ends them."
	}
	return ""
}

// Restriction is what WhatsApp forbids the number for a time.
type Restriction struct {
	Kind  RestrictionKind
	Until time.Time
	Count int  // how often in a row; the hold doubles
	Code  Code // what WhatsApp answered: CodeReachOutLimited or CodeRateOverLimit; empty with RestrictionBan
	// Suspect is the recipient of a single refusal, which may be that recipient's alone; bare JID, empty when none is suspected.
	Suspect string
}

// RestrictionFirm is the Restriction.Count from which on a restriction is the number's; below, it may be a single recipient's.
const RestrictionFirm = 2

// RestrictionKind names a restriction.
type RestrictionKind string

// The restrictions.
const (
	RestrictionNone          RestrictionKind = ""
	RestrictionFirstContacts RestrictionKind = "first_contacts" // people who do not know the number yet
	RestrictionBan           RestrictionKind = "banned"         // everything
)

// Hint is the sentence that tells a person what k means for the messages that wait.
func (k RestrictionKind) Hint() string {
	switch k {
	case RestrictionNone:
		return ""
	case RestrictionFirstContacts:
		return "WhatsApp lets this number write to nobody new for a time. People who know it are reached; the others wait, and go on by themselves."
	case RestrictionBan:
		return ReasonTemporaryBan.Hint()
	}
	return ""
}

// Same reports whether people would be told the same of r and other.
func (r Restriction) Same(other Restriction) bool {
	return r.Kind == other.Kind && (r.Kind == RestrictionNone || r.Code == other.Code && r.Until.Equal(other.Until))
}

// Session is a tenant's session as stored; any process may read it, only its owner writes it.
type Session struct {
	TenantKey   int64
	TenantID    string
	State       SessionState
	Reason      SessionReason
	JID         string // with device, as WhatsApp names it; empty when unpaired
	LID         string
	Since       time.Time // of State
	Restriction Restriction
	LastNumber  string // the number that was last online, kept after a logout

	QueuePaused bool // by the operator: nothing is sent before POST .../queue/resume
	QueueHeld   bool // another number than LastNumber was paired while messages waited: nothing is sent before the operator decided

	PairingCode      string    // while SessionPairing: the QR content, or what PairingPhone is to enter, like ABCD-1234
	PairingExpiresAt time.Time // when the next code replaces it, or pairing ends
	PairingPhone     string    // E.164 digits of the phone that is to enter the code; empty when a QR code is shown

	Owner      string // the worker instance that holds the lease, empty when none
	Epoch      int64  // raised by every claim of the lease
	LeaseUntil time.Time
}

// Number is the session's own phone number as E.164 digits, empty when unpaired.
func (s *Session) Number() string {
	bare := BareJID(s.JID)
	if len(bare) <= len(ServerUser)+1 || bare[len(bare)-len(ServerUser):] != ServerUser {
		return ""
	}
	return bare[:len(bare)-len(ServerUser)-1]
}

// Fence proves ownership of a session: an operation carrying it takes effect only while Owner holds the lease of
// TenantKey under Epoch and the lease has not run out by the database's clock.
type Fence struct {
	TenantKey int64
	Owner     string
	Epoch     int64
}

// Fence is the proof of ownership that the session row itself states.
func (s *Session) Fence() Fence {
	return Fence{TenantKey: s.TenantKey, Owner: s.Owner, Epoch: s.Epoch}
}

// ErrFenced is returned when a Fence no longer holds. The caller stops what it does for that session.
var ErrFenced = errors.New("the session's lease is held by another worker")

// ErrQueueClosed is returned for a claim while the tenant's queue is paused or held.
var ErrQueueClosed = errors.New("the queue is paused or held")

// CommandKind is something the owner of a session is asked to do.
type CommandKind string

// The commands the API writes and the owner carries out.
const (
	CommandConnect CommandKind = "connect" // pair when unpaired, reconnect otherwise
	CommandLogout  CommandKind = "logout"
	CommandQueue   CommandKind = "queue"  // see whether the queue is paused or held
	CommandPacing  CommandKind = "pacing" // go by the pacing that the tenant has now
	CommandQuery   CommandKind = "query"  // answer Query
)

// Command is one request to the owner of a session, kept in SQL until it is carried out.
type Command struct {
	ID        int64
	TenantKey int64
	Kind      CommandKind
	Phone     string // with CommandConnect: pair by a code that this phone enters, E.164 digits; empty: by QR code
	Query     string // with CommandQuery: its id
	CreatedAt time.Time
}
