package gateway

import (
	"mime"
	"net/url"
	"path"
	"time"
)

// The types of messages that are neither a text nor a file.
const (
	TypeLocation MessageType = "location"
	TypeContacts MessageType = "contacts"
	TypeReaction MessageType = "reaction"
	TypeEdit     MessageType = "edit"   // gives a text or a caption that was sent another wording
	TypeRevoke   MessageType = "revoke" // deletes a message that was sent, for everyone
)

// Bounds of what a message may hold beside its text.
const (
	MaxContacts     = 10   // of one message
	MaxPhones       = 10   // of one contact
	MaxContactBytes = 256  // of each text of a contact
	MaxPlaceBytes   = 1024 // of the name and of the address of a location
	MaxMentions     = 100
	MaxEmojiBytes   = 64   // of a reaction: the longest emoji that Unicode recommends has 35
	MaxQuoteBytes   = 1024 // of the text that a reply quotes; the phone that has the message shows all of it
)

// How long after it was sent a message can be changed. Phones ignore what comes later. The first is WhatsApp's own bound (whatsmeow.EditWindow), the
// second what its apps offer.
const (
	EditWindow   = 20 * time.Minute
	RevokeWindow = 60 * time.Hour
)

// Content is what a message holds beside its text and its file. It is stored as JSON: a name that is here stays.
type Content struct {
	Location *Location `json:"location,omitempty"`
	Contacts []Contact `json:"contacts,omitempty"`
	Emoji    string    `json:"emoji,omitempty"`    // of a reaction; empty takes the one before away
	Mentions []string  `json:"mentions,omitempty"` // E.164 digits; the text names each as @digits
	// Target is the message that a reaction, an edit or a revoke is about; any other type replies to it.
	Target *Target `json:"target,omitempty"`
	// LinkPreview says that a text goes out with a preview of its first link, if one can be had; Message.Preview once it was fetched.
	LinkPreview bool `json:"linkPreview,omitempty"`
	// Dropped says that what the message said is not kept any more (Retention): neither this, nor its text, nor the name of its file.
	Dropped bool `json:"dropped,omitempty"`
	// File is where the file is that the message goes out with; Message.Media once it was fetched.
	File *RemoteFile `json:"file,omitempty"`
}

// RemoteFile is a file that is fetched right before it is sent.
type RemoteFile struct {
	URL      string `json:"url"`
	MimeType string `json:"mimetype,omitempty"` // as declared; empty: what is found
	Filename string `json:"filename,omitempty"` // as given
}

// ToFetch is the file that has to be fetched before the message can go out; nil: none.
func (m *Message) ToFetch() *RemoteFile {
	if m.Media != nil || m.Content == nil {
		return nil
	}
	return m.Content.File
}

// Location is a point on the map.
type Location struct {
	Latitude  float64 `json:"latitude"`  // degrees, -90 to 90
	Longitude float64 `json:"longitude"` // degrees, -180 to 180
	Name      string  `json:"name,omitempty"`
	Address   string  `json:"address,omitempty"`
}

// Contact is a card with a person's numbers.
type Contact struct {
	Name         string   `json:"name"`
	Phones       []string `json:"phones"` // E.164 digits
	Organization string   `json:"organization,omitempty"`
	Email        string   `json:"email,omitempty"`
}

// Target names another message of the same chat, as it was known at accept.
type Target struct {
	MessageID string      `json:"id"` // ours, of one that was sent or received
	StanzaID  string      `json:"stanza"`
	FromMe    bool        `json:"fromMe,omitempty"`
	Sender    string      `json:"sender,omitempty"` // bare JID of who wrote it, empty when FromMe
	Type      MessageType `json:"type,omitempty"`
	Text      string      `json:"text,omitempty"` // what a reply quotes, MaxQuoteBytes
	Until     time.Time   `json:"until,omitzero"` // of an edit or a revoke: phones take it no later
}

// Dropped reports whether what m said is not kept any more, so that it cannot be sent again.
func (m *Message) Dropped() bool { return m.Content != nil && m.Content.Dropped }

// Refers is the target when m is about it (as a reaction, an edit or a revoke), nil when there is none or m replies to it.
func (m *Message) Refers() *Target {
	switch m.Type {
	case TypeReaction, TypeEdit, TypeRevoke:
		if m.Content != nil {
			return m.Content.Target
		}
	default:
	}
	return nil
}

// EditsCaption tells whether m gives a file that was sent another caption.
func (m *Message) EditsCaption() bool {
	return m.Type == TypeEdit && m.Content != nil && m.Content.Target != nil && m.Content.Target.Type.Captioned()
}

// Captioned tells whether phones show a text with such a message.
func (t MessageType) Captioned() bool { return t == TypeImage || t == TypeVideo || t == TypeDocument }

// Unrepeatable tells whether m's row alone is too little to make what it was sent as once more: the keys of an upload and what
// somebody's page said are not in it. Such messages are kept as they were sent.
func (m *Message) Unrepeatable() bool { return m.Media != nil || m.WantsPreview() || m.EditsCaption() }

// ReplyTo is the message that m replies to, nil when it does not.
func (m *Message) ReplyTo() *Target {
	if m.Content == nil || m.Refers() != nil {
		return nil
	}
	return m.Content.Target
}

// GuessType is what a file will be shown as, as far as one can tell before it was fetched.
func GuessType(f *RemoteFile) MessageType {
	kind := f.MimeType
	if kind == "" {
		name := f.Filename
		if u, err := url.Parse(f.URL); err == nil && name == "" {
			name = u.Path
		}
		kind = mime.TypeByExtension(path.Ext(name))
	}
	return Media{MimeType: kind}.Type()
}
