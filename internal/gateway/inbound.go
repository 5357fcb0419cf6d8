package gateway

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// The types of messages that are received and cannot be sent.
const (
	TypeSticker MessageType = "sticker"
	TypeUnknown MessageType = "unknown" // something that the hub does not read: a poll, a payment; the phone shows it
)

// Inbound is a message that a tenant's number has received. Times are UTC.
type Inbound struct {
	ID        string // UUIDv7, ours
	TenantKey int64
	TenantID  string

	StanzaID  string
	Chat      string // bare JID of the person or the group
	Sender    string // bare JID of who wrote it; in a person's chat the same as Chat
	SenderAlt string // the other name of Sender (the number of a LID or the LID of a number), empty when not known
	PushName  string // what the sender calls themselves

	Type     MessageType
	Text     string // the text, the caption, the emoji of a reaction, or the new wording of an edit; MaxTextBytes
	Media    *InboundMedia
	Location *Location
	Contacts []InboundContact
	Mentions []string // JIDs, MaxMentions
	// RefersTo is the stanza id of the message that a reaction, an edit or a revoke is about, or that another answers; empty: none.
	RefersTo   string
	RefersToID string // our id of that message; empty when it is not one that we have

	OptOut OptOutChange // what the text did to the list of opt-outs

	At         time.Time // the server's
	ReceivedAt time.Time
	// FetchedAt is when its file was last fetched from WhatsApp and found to be what SHA256 says; zero: never.
	FetchedAt time.Time
}

// InboundMedia is a file that was received. It stays with WhatsApp until somebody asks for it.
type InboundMedia struct {
	MimeType string `json:"mimetype"`
	Filename string `json:"filename,omitempty"`
	Size     int64  `json:"size"`              // bytes, as the sender says
	SHA256   string `json:"sha256"`            // lower-case hex of the file's bytes, as the sender says
	Voice    bool   `json:"voice,omitempty"`   // a voice note
	Seconds  int    `json:"seconds,omitempty"` // length of audio and video

	// Where it is and how it is encrypted. Key is a secret.
	DirectPath string `json:"path"`
	EncSHA256  []byte `json:"encSha256"`
	Key        []byte `json:"key"` // as stored it may be sealed
}

// InboundContact is a card that was received.
type InboundContact struct {
	Name  string `json:"name"`
	VCard string `json:"vcard"`
}

// Bounds of what is kept of an inbound message; the rest is cut off.
const (
	MaxPushNameBytes = 256
	MaxVCardBytes    = 16 << 10
	MaxStanzaIDBytes = 128
)

// OptOutChange is what a word of a recipient's did.
type OptOutChange string

// The changes.
const (
	OptOutNone  OptOutChange = ""
	OptOutAdded OptOutChange = "added"   // the text is one of the tenant's stop words
	OptOutEnded OptOutChange = "removed" // the text is one of its start words
)

// IsGroup reports whether it came in a group.
func (m *Inbound) IsGroup() bool { return IsGroupJID(m.Chat) }

// Number is the sender's number as E.164 digits, empty when WhatsApp does not tell it.
func (m *Inbound) Number() string {
	for _, jid := range []string{m.Sender, m.SenderAlt} {
		if number, ok := strings.CutSuffix(jid, "@"+ServerUser); ok {
			return number
		}
	}
	return ""
}

// From is who sent it, as a message's To is written: digits where the number is known.
func (m *Inbound) From() string {
	if number := m.Number(); number != "" {
		return number
	}
	return m.Sender
}

// Names are all that is known of who sent it, as OptOutName writes them, in an order that depends on them alone.
func (m *Inbound) Names() (names []string) {
	for _, jid := range []string{m.Sender, m.SenderAlt} {
		if jid != "" {
			names = append(names, OptOutName(jid))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Target is m as what another message refers to.
func (m *Inbound) Target() *Target {
	return &Target{MessageID: m.ID, StanzaID: m.StanzaID, Sender: m.Sender, Type: m.Type, Text: m.Text}
}

// InboundFilter selects inbound messages of one tenant, newest first. Zero fields do not filter.
type InboundFilter struct {
	From        string // as Inbound.From, or the sender's JID
	Chat        string
	Type        MessageType
	Since, Till time.Time // ReceivedAt: Since inclusive, Till exclusive
	Before      string    // ID below this (the cursor)
	Limit       int       // 1..200
}

// HasFile reports whether the hub's own file of Media.SHA256 may be answered for m. The hash is the sender's word, and the files are those of all tenants:
// only who was seen to have the bytes gets them, and only while they are kept because of that, so that the answer says nothing of what others have.
func (m *Inbound) HasFile(now time.Time) bool {
	return m.Media != nil && !m.FetchedAt.IsZero() && now.Sub(m.FetchedAt) < InboundFileAge
}

// InboundNotice is the data of the event of a message that was received.
func InboundNotice(m *Inbound) json.RawMessage {
	return noticeData(InboundView(m))
}

// InboundShown is an inbound message as the API and the event of it show it: every field that all have, null when empty.
type InboundShown struct {
	ID         string             `json:"id"`
	WhatsAppID string             `json:"whatsappId"`
	From       string             `json:"from"`
	Chat       string             `json:"chat"`
	Group      bool               `json:"group"`
	Name       *string            `json:"name"`
	Type       MessageType        `json:"type"`
	Message    *string            `json:"message"`
	Media      *InboundMediaShown `json:"media"`
	RefersTo   *ReferenceShown    `json:"refersTo"`
	OptOut     *string            `json:"optOut"`
	At         time.Time          `json:"at"`
	ReceivedAt time.Time          `json:"receivedAt"`

	Location *Location        `json:"location,omitempty"`
	Contacts []InboundContact `json:"contacts,omitempty"`
	Mentions []string         `json:"mentions,omitempty"`
}

// InboundMediaShown is InboundMedia without its secrets.
type InboundMediaShown struct {
	MimeType string  `json:"mimetype"`
	Filename *string `json:"filename"`
	Size     int64   `json:"size"`
	SHA256   string  `json:"sha256"`
	Voice    bool    `json:"voice"`
	Seconds  int     `json:"seconds"`
}

// ReferenceShown names a message: ours is null where it is not one that the hub has.
type ReferenceShown struct {
	MessageID  *string `json:"messageId"`
	WhatsAppID string  `json:"whatsappId"`
}

// InboundView renders m.
func InboundView(m *Inbound) InboundShown {
	v := InboundShown{
		ID: m.ID, WhatsAppID: m.StanzaID, From: m.From(), Chat: m.Chat, Group: m.IsGroup(), Name: textOrNull(m.PushName), Type: m.Type,
		Message: textOrNull(m.Text), OptOut: textOrNull(string(m.OptOut)), At: m.At.UTC(), ReceivedAt: m.ReceivedAt.UTC(),
		Location: m.Location, Contacts: m.Contacts, Mentions: m.Mentions,
	}
	if f := m.Media; f != nil {
		v.Media = &InboundMediaShown{
			MimeType: f.MimeType, Filename: textOrNull(f.Filename), Size: f.Size, SHA256: f.SHA256, Voice: f.Voice, Seconds: f.Seconds,
		}
	}
	if m.RefersTo != "" {
		v.RefersTo = &ReferenceShown{MessageID: textOrNull(m.RefersToID), WhatsAppID: m.RefersTo}
	}
	return v
}
