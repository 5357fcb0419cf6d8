package gateway

import (
	"io"
	"time"
)

// BulkRequest asks for a bulk. Nothing in it is validated yet: the bulk room does that, and names what is wrong by the JSON
// pointers of the API.
type BulkRequest struct {
	Name           string
	Text           string     // the text, or the caption, with {{placeholders}}; with OwnTexts the rows have their own
	Media          *BulkMedia // nil: a text
	LinkPreview    bool       // of texts: as of a TextRequest
	OnInvalid      OnInvalid
	MaxFailureRate float64 // 0: DefaultMaxFailureRate
	SendOptions            // its Reference is that of rows without one

	Rows     BulkRows
	OwnTexts bool   // each row is a message of its own
	At       string // JSON pointer of the rows: "/recipients", "/messages" or "/file"
}

// BulkMedia is the file of a bulk, which is stored already, or fetched when the first message goes out.
type BulkMedia struct {
	MimeType string // as declared
	Filename string
	Blob     Blob
	URL      string // where the file is; then there is no Blob, and MimeType may be empty
}

// OnInvalid says what becomes of a bulk with rows that cannot be sent.
type OnInvalid string

// The choices.
const (
	RefuseInvalid OnInvalid = "refuse" // nothing is accepted; the default
	SkipInvalid   OnInvalid = "skip"   // the other rows are accepted
)

// BulkRow is one row as it was given.
type BulkRow struct {
	To        string
	Reference string
	Text      string // with OwnTexts
	Vars      map[string]string
	Fault     string // why the row itself could not be read; the rest is empty then
	Empty     bool   // a row of a file that holds nothing: it has a number, and is passed over
}

// BulkRows hold the rows of a request outside memory, for as long as it takes. One goroutine uses them.
type BulkRows interface {
	Add(row BulkRow) error
	Len() int
	// Each calls do for every row, numbered from 1, in the order they were added; do's error ends it.
	Each(do func(n int, row BulkRow) error) error
	io.Closer
}

// BulkProgress is a bulk and how far it has come.
type BulkProgress struct {
	Bulk
	Counts    BulkCounts // add up to Total
	Rate      float64    // messages a second that ended lately, 0 when none did
	Remaining time.Duration
	Rejected  []BulkInvalid // the first MaxRejected of them; nil where they are not asked for
}

// MaxRejected bounds the invalid rows that one answer tells of. results.csv has all of them.
const MaxRejected = 1000

// Bounds of what a preview shows.
const (
	MaxPreviewMessages = 10
	MaxPreviewRejected = 100
)

// BulkPreview is what a bulk would be.
type BulkPreview struct {
	Rows     int // that were given
	Valid    int // messages that would be sent
	Type     MessageType
	ByCode   map[Code]int         // how many rows would not be, by why
	Rejected []BulkInvalid        // the first MaxPreviewRejected of them
	Messages []BulkPreviewMessage // the first MaxPreviewMessages
}

// BulkPreviewMessage is a message as it would go out.
type BulkPreviewMessage struct {
	Row       int // from 1
	To        string
	Text      string
	Reference string
}
