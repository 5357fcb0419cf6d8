package gateway

import "time"

// QueryKind is something that WhatsApp knows, and only the owner of a session can ask.
type QueryKind string

// The kinds.
const (
	QueryNumbers QueryKind = "numbers" // question: JSON list of E.164 digits; answer: JSON of []NumberCheck
	QueryGroups  QueryKind = "groups"  // answer: JSON of []Group
	QueryMedia   QueryKind = "media"   // question: id of an inbound message; answered when its file is in the blob store
)

// Query is a question to the owner of a session and, in time, its answer.
type Query struct {
	ID        string
	TenantKey int64
	Kind      QueryKind
	Question  string
	Answer    string
	Code      Code   // of the refusal; empty: answered
	Detail    string // of the refusal, safe to show
	CreatedAt time.Time
	Answered  time.Time // zero: not yet
}

// Bounds of what can be asked.
const (
	MaxNumberCheck   = 100            // numbers of one request
	NumberCheckAge   = 24 * time.Hour // how long an answer about a number is believed
	NumbersPerHour   = 1000           // of a tenant that WhatsApp is asked about; more looks like harvesting, for which it bans
	MaxGroups        = 1000           // of an answer
	GroupsAge        = time.Minute    // how long an answer is believed
	QueryPatience    = 20 * time.Second
	MediaPatience    = 2 * time.Minute
	InboundFileAge   = 23 * time.Hour // that a file which was fetched is answered without a question; retention keeps it for longer
	QueriesKept      = time.Hour
	MaxOpenQueries   = 20 // of a tenant
	QueriesAtOnce    = 4  // that a process answers, half of them of one tenant
	NumberCheckBatch = 50 // numbers of one question to WhatsApp
)

// NumberCheck is what WhatsApp says about a number.
type NumberCheck struct {
	Number     string    `json:"number"` // as asked, E.164 digits
	OnWhatsApp bool      `json:"onWhatsApp"`
	JID        string    `json:"jid"` // empty when it is not on WhatsApp; it may be of another form of the number
	CheckedAt  time.Time `json:"checkedAt"`
}

// Group is a group that a tenant's number is in.
type Group struct {
	JID          string    `json:"jid"`
	Name         string    `json:"name"`
	Participants int       `json:"participants"`
	CreatedAt    time.Time `json:"createdAt"`
	AdminsOnly   bool      `json:"adminsOnly"` // only admins can write
}
