package gateway

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EventKind says what has happened: "message.sent", "session.online", "bulk.finished". docs/webhooks.md lists them.
type EventKind string

// EventMessageReceived is that of an inbound message. The other kinds are made from a status or a state.
const EventMessageReceived EventKind = "message.received"

// What WhatsApp forbids a number begins, or ends at another time than it said before, and is over.
const (
	EventRestricted   EventKind = "session.restricted"
	EventUnrestricted EventKind = "session.unrestricted"
)

// EventTest is sent on request, to one endpoint alone.
const EventTest EventKind = "webhook.test"

// EventKinds lists what a tenant can be told of. That a message is scheduled or queued is the answer to its POST; only what becomes of it
// later is an event, and so is queued, when it is a step of a message that was scheduled.
func EventKinds() []EventKind {
	kinds := []EventKind{EventMessageReceived}
	for _, s := range Statuses() {
		if s != StatusScheduled {
			kinds = append(kinds, EventKind("message."+s))
		}
	}
	for _, s := range []SessionState{
		SessionUnpaired, SessionPairing, SessionConnecting, SessionOnline, SessionOffline, SessionLoggedOut, SessionBanned, SessionOutdated, SessionReplaced,
	} {
		kinds = append(kinds, EventKind("session."+s))
	}
	kinds = append(kinds, EventRestricted, EventUnrestricted)
	for _, s := range []BulkStatus{BulkRunning, BulkPaused, BulkCanceled, BulkFinished} {
		kinds = append(kinds, EventKind("bulk."+s))
	}
	return kinds
}

// ValidEventFilter reports whether pattern names a kind of event, all of a family ("message.*"), or all ("*").
func ValidEventFilter(pattern string) bool {
	return slices.ContainsFunc(append(EventKinds(), EventTest), EventKind(pattern).wants)
}

// Wanted reports whether one of patterns names the kind.
func (k EventKind) Wanted(patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return EventKind(p).wants(k) })
}

func (k EventKind) wants(kind EventKind) bool {
	family, all := strings.CutSuffix(string(k), ".*")
	return k == "*" || k == kind || all && strings.HasPrefix(string(kind), family+".")
}

// Notice is an event of a tenant as its own software is told of it: the same at each attempt, whatever has become of its subject since.
type Notice struct {
	ID        string // NoticeID
	TenantKey int64
	TenantID  string
	Pos       int64 // its place among the tenant's, without gaps
	Kind      EventKind
	Subject   string // of one subject, the next is delivered after the one before
	At        time.Time
	Data      json.RawMessage
}

// NoticeID makes the id of the event that has the place pos among its tenant's. No other has it, of whatever tenant.
func NoticeID(pos int64) string {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return fmt.Sprintf("evt_%016x%016x", pos, b)
}

// NoticePos is the place that the id of an event tells, also of one that is no longer kept. CodeInvalidParameter.
func NoticePos(id string) (int64, error) {
	hex, ok := strings.CutPrefix(id, "evt_")
	if ok && len(hex) == 32 {
		if pos, err := strconv.ParseInt(hex[:16], 16, 64); err == nil && pos >= 0 {
			return pos, nil
		}
	}
	return 0, Errorf(CodeInvalidParameter, "this is not the id of an event")
}

// Body is what is posted, and what a reader of the events gets.
func (n *Notice) Body() []byte {
	body, err := json.Marshal(struct {
		ID        string          `json:"id"`
		Type      EventKind       `json:"type"`
		Timestamp string          `json:"timestamp"`
		TenantID  string          `json:"tenantId"`
		Data      json.RawMessage `json:"data"`
	}{n.ID, n.Kind, n.At.UTC().Format(time.RFC3339Nano), n.TenantID, n.Data})
	if err != nil {
		panic(fmt.Sprintf("the data of event %s is no JSON: %v", n.ID, err)) // it is made by this program alone
	}
	return body
}

// MessageNotice is the data of the events of a message, without its text.
func MessageNotice(m *Message, s Status, detail string, code Code) json.RawMessage {
	var failure any
	if code != "" {
		failure = map[string]any{"code": code}
	}
	return noticeData(struct {
		MessageID  string      `json:"messageId"`
		Status     Status      `json:"status"`
		To         string      `json:"to"`
		Type       MessageType `json:"type"`
		Reference  *string     `json:"reference"`
		BulkID     *string     `json:"bulkId"`
		WhatsAppID string      `json:"whatsappId"`
		Detail     *string     `json:"detail"`
		Error      any         `json:"error"`
	}{m.ID, s, m.To, m.Type, textOrNull(m.Reference), textOrNull(m.BulkID), m.WhatsAppID, textOrNull(detail), failure})
}

// SessionNotice is the data of the events of a session.
func SessionNotice(state SessionState, reason SessionReason, jid string) json.RawMessage {
	number := (&Session{JID: jid}).Number()
	return noticeData(struct {
		State  SessionState  `json:"state"`
		Reason SessionReason `json:"reason"`
		Hint   string        `json:"hint"`
		Number *string       `json:"number"`
	}{state, reason, reason.Hint(), textOrNull(number)})
}

// RestrictionNotice is the data of the events of what WhatsApp forbids the number of v, and of its end.
func RestrictionNotice(v *Session) json.RawMessage {
	type restriction struct {
		Kind  RestrictionKind `json:"kind"`
		Code  *string         `json:"code"`
		Until *time.Time      `json:"until"`
		Hint  string          `json:"hint"`
	}
	var now *restriction
	if r := v.Restriction; r.Kind != RestrictionNone {
		now = &restriction{Kind: r.Kind, Code: textOrNull(string(r.Code)), Hint: r.Kind.Hint()}
		if !r.Until.IsZero() {
			until := r.Until.UTC()
			now.Until = &until
		}
	}
	return noticeData(struct {
		State       SessionState  `json:"state"`
		Reason      SessionReason `json:"reason"`
		Hint        string        `json:"hint"`
		Number      *string       `json:"number"`
		Restriction *restriction  `json:"restriction"`
	}{v.State, v.Reason, v.Reason.Hint(), textOrNull(v.Number()), now})
}

// BulkNotice is the data of the events of a bulk; counts are of when the event got its place.
func BulkNotice(id, name string, status BulkStatus, reason string, counts BulkCounts) json.RawMessage {
	total, all := 0, make(BulkCounts, len(Statuses()))
	for _, s := range Statuses() {
		all[s] = counts[s]
		total += counts[s]
	}
	return noticeData(struct {
		BulkID string     `json:"bulkId"`
		Status BulkStatus `json:"status"`
		Name   *string    `json:"name"`
		Reason *string    `json:"reason"`
		Total  int        `json:"total"`
		Counts BulkCounts `json:"counts"`
	}{id, status, textOrNull(name), textOrNull(reason), total, all})
}

// WebhookNotice is the data of a test.
func WebhookNotice(id string) json.RawMessage {
	return noticeData(struct {
		WebhookID string `json:"webhookId"`
		Message   string `json:"message"`
	}{id, "This is a test. Answer it with any 2xx."})
}

func noticeData(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("an event cannot be written: %v", err)) // texts alone
	}
	return data
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
