package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
)

// Bounds of a message.
const (
	MaxTextBytes      = 65_536   // of Message.Text, UTF-8 bytes
	MaxMediaBytes     = 64 << 20 // of one decoded media file
	MaxReferenceBytes = 256      // of Message.Reference
	MaxFilenameBytes  = 255      // of Media.Filename
)

// MaxAttempts is how often a message is handed to WhatsApp before it ends as failed or, when an attempt may have
// arrived, as unknown.
const MaxAttempts = 8

// Life times without expiresAt: a one-time password is worth nothing after ten minutes.
const (
	DefaultExpiryHigh = 10 * time.Minute
	DefaultExpiry     = 24 * time.Hour
)

// MessageType is what the recipient sees.
type MessageType string

// The types that can be sent.
const (
	TypeText     MessageType = "text"
	TypeImage    MessageType = "image"
	TypeVideo    MessageType = "video"
	TypeAudio    MessageType = "audio"
	TypeDocument MessageType = "document"
)

// Priority chooses the lane.
type Priority string

// The lanes of a tenant, in the order they are served.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityBulk   Priority = "bulk"
)

// Priorities lists the lanes in the order they are served.
func Priorities() []Priority { return []Priority{PriorityHigh, PriorityNormal, PriorityBulk} }

// Valid reports whether p is a priority.
func (p Priority) Valid() bool {
	return p == PriorityHigh || p == PriorityNormal || p == PriorityBulk
}

// Media names a stored file of a message; the bytes are in the media room under SHA256.
type Media struct {
	MimeType string
	Filename string // as given; WhatsApp shows it with documents only
	Size     int64  // bytes
	SHA256   string // lower-case hex of the file's bytes: its name in the blob store
	Voice    bool   // audio that WhatsApp shows as a voice note (ogg/opus)
	Seconds  int    // length of audio, 0 when unknown
}

// Type is what the recipient sees: WhatsApp shows these formats itself, any other is a document.
func (m Media) Type() MessageType {
	kind, _, _ := strings.Cut(m.MimeType, ";")
	switch kind {
	case "image/jpeg", "image/png", "image/webp":
		return TypeImage
	case "video/mp4", "video/3gpp":
		return TypeVideo
	}
	if strings.HasPrefix(kind, "audio/") {
		return TypeAudio
	}
	return TypeDocument
}

// NewStanzaID makes a WhatsApp message id of the form that WhatsApp's web client uses.
func NewStanzaID() string {
	var b [9]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return "3EB0" + strings.ToUpper(hex.EncodeToString(b[:]))
}

// Message is one message on its way, exactly as stored. Times are UTC, zero when they have not come.
type Message struct {
	ID        string // UUIDv7, ours
	TenantKey int64
	TenantID  string
	Seq       int64 // the tenant's own counter, assigned at accept; FIFO order within a lane

	To           string // as accepted: E.164 digits, or a JID
	RecipientJID string // what WhatsApp says: JID of number or group; empty before the first attempt for a number
	RecipientLID string // the recipient's LID, when known
	Type         MessageType
	Text         string // the text, or the caption of media
	Media        *Media
	Content      *Content     // beside text and file; nil for plain ones
	Preview      *LinkPreview // what an attempt fetched for Content.LinkPreview; not stored
	Priority     Priority
	Reference    string // the caller's own, MaxReferenceBytes
	BulkID       string
	RetryOf      string

	WhatsAppID string // the stanza id of every attempt, chosen at accept (I2)

	Status        Status
	Phase         Phase
	Attempts      int       // attempts that were begun; session-level waits are given back
	NextAttemptAt time.Time // with PhaseBackoff and PhaseHeld
	Uncertain     bool      // an attempt's outcome is unknown: it may have been delivered
	Deaths        int       // how often a process died with this message in hand
	InFlight      string    // the process instance that has it in hand, empty when none
	Error         *Failure
	HoldUnknown   bool // the tenant's setting, as it is now: when Uncertain it is not attempted again
	FirstContact  bool // when sent: nobody had written to the recipient before
	Restricted    bool // when claimed: WhatsApp forbids the number something for a time, see Session.Restriction

	CreatedAt, SendAt, ExpiresAt, SentAt, DeliveredAt, ReadAt, FailedAt, UpdatedAt time.Time

	DeliveredCount, ReadCount int // members of a group that confirmed; 1 at most for a person
}

// IsGroup reports whether the message goes to a group.
func (m *Message) IsGroup() bool { return IsGroupJID(m.To) }

// Failure is why a message failed or waits.
type Failure struct {
	Code      Code
	Message   string
	Retryable bool // the operator may send it again with a chance of success
}

// Event is one row of a message's history: each transition, and each attempt that came to nothing.
type Event struct {
	MessageID string
	TenantKey int64
	Status    Status
	At        time.Time
	Detail    string // a sentence, no message text
}

// Ticket is what the queue carries: look at this message now. SQL says what there is to do.
type Ticket struct {
	TenantKey int64    `json:"t"`
	MessageID string   `json:"m"`
	Lane      Priority `json:"l"`
}

// MessageFilter selects messages of one tenant, newest first. Zero fields do not filter.
type MessageFilter struct {
	Status      Status
	To          string
	Type        MessageType
	BulkID      string
	Reference   string
	From, Until time.Time // CreatedAt: From inclusive, Until exclusive
	Before      int64     // Seq below this (the cursor); 0: from the newest
	Limit       int       // 1..200
}
