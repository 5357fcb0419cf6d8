package gateway

import "time"

// TextRequest asks for a message without a file: a text, or one of what else is not nil. Nothing in it is validated yet: intake does that, and
// names what is wrong by the JSON pointers of the API ("/to", "/message", "/priority" ...).
type TextRequest struct {
	To       string
	Text     string
	Location *Location
	Contacts []Contact
	Reaction *ReactionRequest
	// LinkPreview: show a preview of the first link of the text
	LinkPreview bool
	Relation
	SendOptions
}

// ReactionRequest asks for an emoji below a message.
type ReactionRequest struct {
	MessageID string // ours, of one that was sent or received
	Emoji     string // empty: take it away
}

// Relation is what texts and media refer to.
type Relation struct {
	ReplyTo  string   // our id of the message that is answered; empty: none
	Mentions []string // numbers that the text names as @digits
}

// MediaRequest asks for a media message whose file is stored already.
type MediaRequest struct {
	To       string
	Caption  string // "/message" in the API
	MimeType string // as declared, "/media/mimetype"
	Filename string // "/media/filename"
	Blob     Blob
	URL      string // "/media/url": where the file is; then there is no Blob, and MimeType may be empty
	Relation
	SendOptions
}

// SendOptions are what every kind of message may be given. The zero value of each means its default.
type SendOptions struct {
	Priority  Priority
	SendAt    time.Time
	ExpiresAt time.Time
	Reference string
}

// Blob is a stored file, named by its content.
type Blob struct {
	SHA256   string // lower-case hex
	Size     int64  // bytes
	MimeType string // as sniffed from the bytes
	Head     []byte // the first bytes, for checks against the declared type
}

// Idempotency reserves an Idempotency-Key: the one request that holds it until LockUntil may act.
type Idempotency struct {
	TenantKey int64  // 0 for /admin
	Scope     string // method and route
	Key       string
	BodyHash  [32]byte // SHA-256 of the request body: the same key with another body is refused
	LockUntil time.Time
}
