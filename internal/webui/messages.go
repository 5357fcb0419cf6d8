package webui

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

func (s *Site) messageRoutes() []route {
	return []route{
		{"GET /channels/{id}/messages", forSignedIn, (*visit).messages},
		{"GET /channels/{id}/messages/{mid}", forSignedIn, (*visit).message},
	}
}

type messageList struct {
	Data       []message `json:"data"`
	NextCursor string    `json:"nextCursor"`
}

// messageFilter is what the address of a list of messages asks for.
type messageFilter struct {
	Status, To, Type, BulkID, Reference string
	From, Until                         string // as an input of type datetime-local has them, UTC
	Cursor                              string
}

// filter reads the address.
func (v *visit) filter() messageFilter {
	get := func(name string) string { return strings.TrimSpace(v.r.FormValue(name)) }
	return messageFilter{
		Status: get("status"), To: get("to"), Type: get("type"), BulkID: get("bulkId"), Reference: get("reference"),
		From: get("from"), Until: get("until"), Cursor: get("cursor"),
	}
}

// Any reports whether f leaves anything out.
func (f messageFilter) Any() bool {
	f.Cursor = ""
	return f != messageFilter{}
}

// query is f as the address of the page has it; asked is as the API wants it.
func (f messageFilter) query(asked bool) string {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	from, until := f.From, f.Until
	if asked {
		from, until = utcTime(from), utcTime(until)
	}
	set("status", f.Status)
	set("to", f.To)
	set("type", f.Type)
	set("bulkId", f.BulkID)
	set("reference", f.Reference)
	set("from", from)
	set("until", until)
	set("cursor", f.Cursor)
	return q.Encode()
}

// utcTime takes the time of an input without a zone for UTC. What is none the API refuses.
func utcTime(given string) string {
	for _, form := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.Parse(form, given); err == nil {
			return at.Format(time.RFC3339)
		}
	}
	return given
}

type messagesView struct {
	ID       string
	Filter   messageFilter
	Messages []message
	Here     string // this page
	Newest   string // without a cursor
	Older    string
	Statuses []string
	Types    []string
}

func (v *visit) messages() error {
	m := messagesView{
		ID: v.channel(), Filter: v.filter(),
		Statuses: []string{"scheduled", "queued", "sending", "sent", "delivered", "read", "unknown", "failed", "expired", "canceled"},
		Types:    []string{"text", "image", "video", "audio", "document"},
	}
	var list messageList
	if err := v.get(withQuery(apiPath(m.ID, "messages"), m.Filter.query(true)), &list); err != nil {
		return err
	}
	m.Messages = list.Data
	base, filter := pagePath(m.ID, "messages"), m.Filter
	m.Here = withQuery(base, filter.query(false))
	if filter.Cursor != "" {
		filter.Cursor = ""
		m.Newest = withQuery(base, filter.query(false))
	}
	if list.NextCursor != "" {
		filter.Cursor = list.NextCursor
		m.Older = withQuery(base, filter.query(false))
	}
	return v.renderChannel("messages", "Messages", "messages", m)
}

func withQuery(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

type messageView struct {
	ID      string
	Message message
	Events  []messageEvent
	Do      remedy
}

func (v *visit) message() error {
	m := messageView{ID: v.channel()}
	id := v.r.PathValue("mid")
	if err := v.get(apiPath(m.ID, "messages", id), &m.Message); err != nil {
		return err
	}
	var events struct {
		Data []messageEvent `json:"data"`
	}
	if err := v.get(apiPath(m.ID, "messages", id, "events"), &events); err != nil {
		return err
	}
	m.Events = events.Data
	slices.Reverse(m.Events) // the newest first
	if m.Message.Error != nil {
		m.Do = v.remedies[m.Message.Error.Code]
	}
	return v.renderChannel("message", "Message to "+person(m.Message.To), "messages", m)
}
