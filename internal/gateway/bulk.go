package gateway

import (
	"slices"
	"time"
)

// Bounds of a bulk send.
const (
	MaxBulkRows      = 100_000   // recipients of one bulk
	MaxBulkBytes     = 256 << 20 // of its request body
	MaxBulkNameBytes = 200
	MaxBulkVars      = 64   // variables of one recipient
	MaxVarBytes      = 4096 // of one variable's value
	MaxVarNameBytes  = 128  // of its name
	StageBatch       = 1000 // messages stored in one transaction
)

// DefaultMaxFailureRate is the share of failures among the last JudgedMessages at which a bulk pauses itself.
const DefaultMaxFailureRate = 0.3

// A bulk is judged by its last JudgedMessages results, as soon as there are JudgedAtLeast.
const (
	JudgedMessages = 100
	JudgedAtLeast  = 20
)

// BulkStatus is where a bulk is on its way.
type BulkStatus string

// The statuses of a bulk. Nobody is shown one that is staging or discarding.
const (
	BulkStaging    BulkStatus = "staging"    // its messages are being stored
	BulkDiscarding BulkStatus = "discarding" // it was given up before it was accepted; its messages are being removed
	BulkRunning    BulkStatus = "running"    // its messages go out, or wait for their turn
	BulkPaused     BulkStatus = "paused"     // nothing new of it is begun
	BulkCanceled   BulkStatus = "canceled"   // what no worker has in hand is ended; FinishedAt comes when that is done
	BulkFinished   BulkStatus = "finished"   // every message has ended; receipts may still come
)

// Bulk is one send to many recipients.
type Bulk struct {
	ID        string // UUIDv7, ours
	TenantKey int64
	TenantID  string
	Name      string
	Status    BulkStatus
	Reason    string // why it is paused, when it paused itself
	Lane      Priority
	RetryOf   string // the bulk whose failures it sends again

	FirstSeq int64 // Message.Seq of row 1: the message of row n has FirstSeq+n-1
	Rows     int   // rows that were given
	Total    int   // messages: the rows that are valid
	Invalid  int   // the others

	MaxFailureRate float64 // in (0, 1]; it pauses above this; 1: never
	JudgeFrom      int64   // messages below this Seq had been begun when it was resumed

	JudgeSince                       time.Time // it was resumed; of what had been begun, the results before then were judged. Zero: it never was
	SendAt                           time.Time // nothing of it goes out before; zero: at once
	CreatedAt, StartedAt, FinishedAt time.Time // StartedAt: its first message got its place in the lane
}

// BulkInvalid is a row that cannot be sent.
type BulkInvalid struct {
	Row    int // from 1
	To     string
	Code   Code
	Detail string // a sentence; not stored
}

// BulkResult is a message of a bulk that has come to an end, as far as the judgement needs it.
type BulkResult struct {
	Status Status
	At     time.Time // when it was sent or failed
}

// Repetition is what became of one of the messages of which each but the first was sent in place of another one.
type Repetition struct {
	Status    Status
	Code      Code // of its error; empty: none
	Uncertain bool // an attempt may have been delivered
}

// Settles reports whether none of the others need be repeated once more: their recipient got r, may get it yet, or is not to get it. With force one
// that only may have been delivered settles nothing.
func (r Repetition) Settles(force bool) bool {
	switch {
	case r.Status == StatusUnknown, r.Status == StatusFailed && r.Uncertain:
		return !force
	case r.Status == StatusFailed, r.Status == StatusExpired:
		return r.Code.Unwanted()
	}
	return true
}

// Unwanted reports whether a message that failed with c did so because somebody wanted it: its recipient, or who called it off.
func (c Code) Unwanted() bool { return c == CodeOptedOut || c == CodeCanceled }

// Pause stops a running bulk; a paused one stays so. CodeConflict when it has ended.
func (b *Bulk) Pause(reason string) error {
	switch b.Status {
	case BulkRunning:
		b.Status, b.Reason = BulkPaused, reason
		return nil
	case BulkPaused:
		return nil
	default:
		return Errorf(CodeConflict, "the bulk is %s", b.Status)
	}
}

// Resume lets a paused bulk go on; a running one does. CodeConflict when it has ended.
func (b *Bulk) Resume() error {
	switch b.Status {
	case BulkPaused:
		b.Status, b.Reason = BulkRunning, ""
		return nil
	case BulkRunning:
		return nil
	default:
		return Errorf(CodeConflict, "the bulk is %s", b.Status)
	}
}

// Cancel ends what no worker has in hand of a bulk; canceling twice is success. CodeConflict when it is finished.
func (b *Bulk) Cancel() error {
	switch b.Status {
	case BulkRunning, BulkPaused:
		b.Status, b.Reason = BulkCanceled, ""
		return nil
	case BulkCanceled:
		return nil
	default:
		return Errorf(CodeConflict, "the bulk is %s", b.Status)
	}
}

// FailureRate is the share of failures among results, of which only what was sent, failed or has an unknown outcome counts.
func FailureRate(results []BulkResult) (rate float64, judged int) {
	failed := 0
	for _, r := range results {
		switch r.Status {
		case StatusFailed, StatusUnknown:
			failed++
		case StatusSent, StatusDelivered, StatusRead:
		default:
			continue
		}
		judged++
	}
	if judged == 0 {
		return 0, 0
	}
	return float64(failed) / float64(judged), judged
}

// BulkCounts is how many messages of a bulk are in each status.
type BulkCounts map[Status]int

// Unfinished is how many of them something is left to do for.
func (c BulkCounts) Unfinished() int { return c[StatusScheduled] + c[StatusQueued] + c[StatusSending] }

// Rate is how many messages a second have ended lately: those of results, from the first to now. 0 when there is nothing
// to tell it by, or nothing has ended for a minute.
func Rate(results []BulkResult, now time.Time) float64 {
	if len(results) < 2 {
		return 0
	}
	byTime := func(a, b BulkResult) int { return a.At.Compare(b.At) }
	first, last := slices.MinFunc(results, byTime).At, slices.MaxFunc(results, byTime).At
	if now.Sub(last) > time.Minute {
		return 0
	}
	// Within the usual pause between two messages the last one counts as now.
	span := last.Sub(first)
	if pause := span / time.Duration(len(results)-1); now.Sub(last) > 2*pause {
		span = now.Sub(first)
	}
	return float64(len(results)-1) / max(span, time.Millisecond).Seconds()
}
