package webui

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func (s *Site) channelRoutes() []route {
	return []route{
		{"GET /channels", forSignedIn, (*visit).channels},
		{"GET /channels/{id}", forSignedIn, (*visit).overview},
		{"GET /remedies/{code}", forAnybody, (*visit).remedy},
	}
}

// session is the API's session of a channel.
type session struct {
	State       string       `json:"state"`
	Reason      string       `json:"reason"`
	Hint        string       `json:"hint"`
	Number      string       `json:"number"`
	Since       time.Time    `json:"since"`
	Queue       queue        `json:"queue"`
	Restriction *restriction `json:"restriction"`
}

type queue struct {
	High          int   `json:"high"`
	Normal        int   `json:"normal"`
	Bulk          int   `json:"bulk"`
	OldestSeconds int64 `json:"oldestSeconds"`
	Paused        bool  `json:"paused"`
	Held          bool  `json:"held"`
}

// Waiting is how many messages wait in all lanes.
func (q queue) Waiting() int { return q.High + q.Normal + q.Bulk }

type restriction struct {
	Kind  string    `json:"kind"`
	Code  string    `json:"code"`
	Until time.Time `json:"until"`
	Hint  string    `json:"hint"`
}

// Shown is the state as a page names it.
func (s session) Shown() string {
	switch {
	case s.State == "online" && s.Queue.Held:
		return "held"
	case s.State == "online" && s.Queue.Paused:
		return "paused"
	}
	return s.State
}

// Advice is what to do about the state, in the terms of the pages: the API's own hints name its routes.
func (s session) Advice() string {
	switch s.Reason {
	case "never_paired", "logged_out_by_request":
		return "Pair a phone; messages are accepted and wait until then."
	case "replaced":
		return "The session was opened elsewhere. Stop the other program, then reconnect."
	case "backlog_held":
		return "Another number was paired while messages waited for the one before. Send them from the new number, or end them."
	}
	if s.State == "online" && s.Queue.Paused {
		return "Sending is paused. Messages are accepted and wait."
	}
	if s.State == "online" && s.Restriction != nil {
		return s.Restriction.Hint
	}
	return s.Hint
}

// Pairs reports whether a phone is to be paired.
func (s session) Pairs() bool {
	return s.State == "unpaired" || s.State == "logged_out" || s.State == "pairing"
}

// Reconnects reports whether asking for a connection can help.
func (s session) Reconnects() bool {
	return s.State == "offline" || s.State == "replaced" || s.State == "outdated" || s.State == "banned"
}

// Tone is how urgent the state is: good, wait or bad, as the style sheet has it.
func (s session) Tone() string {
	switch s.State {
	case "online":
		if s.Queue.Held || s.Queue.Paused || s.Restriction != nil {
			return "wait"
		}
		return "good"
	case "logged_out", "banned", "outdated", "replaced":
		return "bad"
	}
	return "wait"
}

// channel is a tenant with what a list of channels tells of it.
type channel struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Session   session  `json:"-"`
	PerMinute int      `json:"-"` // sent in the last minute
	LastError *message `json:"-"` // its latest message that failed
	Do        remedy   `json:"-"` // about that
}

// channelsPerPage bounds how much a list asks of the API.
const channelsPerPage = 25

// lastErrorAge is how old a failure may be to be told of in the list.
const lastErrorAge = 24 * time.Hour

type channelsView struct {
	Channels []channel
	Find     string
	Page     int
	Previous string
	Next     string
	Total    int
	Many     bool // there is something to look for
	First    bool // there is none yet
}

func (v *visit) channels() error {
	all, err := v.channelList()
	if err != nil {
		return err
	}
	shown := channelsView{Find: strings.TrimSpace(v.r.FormValue("find")), First: len(all) == 0, Many: len(all) > channelsPerPage}
	if shown.Find != "" {
		var found []channel
		for _, c := range all {
			if strings.Contains(c.ID, strings.ToLower(shown.Find)) || strings.Contains(strings.ToLower(c.Name), strings.ToLower(shown.Find)) {
				found = append(found, c)
			}
		}
		all = found
	}
	shown.Total = len(all)
	if shown.Page, err = strconv.Atoi(v.r.FormValue("page")); err != nil || shown.Page < 1 {
		shown.Page = 1
	}
	shown.Page = min(shown.Page, len(all)/channelsPerPage+1)
	from := min((shown.Page-1)*channelsPerPage, len(all))
	until := min(from+channelsPerPage, len(all))
	shown.Channels = all[from:until]
	link := func(page int) string {
		q := url.Values{"page": {strconv.Itoa(page)}}
		if shown.Find != "" {
			q.Set("find", shown.Find)
		}
		return "/channels?" + q.Encode()
	}
	if from > 0 {
		shown.Previous = link(shown.Page - 1)
	}
	if until < len(all) {
		shown.Next = link(shown.Page + 1)
	}
	for i := range shown.Channels {
		if err := v.lookAt(&shown.Channels[i]); err != nil {
			return err
		}
	}
	return v.render("channels", view{Title: "Channels", Nav: "channels", Scripts: dashboardScripts(), Data: shown})
}

// dashboardScripts are those of pages that follow the hub.
func dashboardScripts(more ...string) []string {
	return append([]string{"htmx.min.js", "dash.js"}, more...)
}

// lookAt finds out how a channel does.
func (v *visit) lookAt(c *channel) error {
	if err := v.get(apiPath(c.ID, "session"), &c.Session); err != nil {
		return err
	}
	now := v.clock().UTC()
	var minute stats
	if err := v.get(apiPath(c.ID, "stats")+"?"+url.Values{
		"from": {now.Add(-time.Minute).Format(time.RFC3339)}, "until": {now.Format(time.RFC3339)}, "step": {"60"},
	}.Encode(), &minute); err != nil {
		return err
	}
	c.PerMinute = minute.Total().Sent
	var failed messageList
	if err := v.get(apiPath(c.ID, "messages")+"?status=failed&limit=1", &failed); err != nil {
		return err
	}
	if len(failed.Data) > 0 && now.Sub(failed.Data[0].FailedAt) < lastErrorAge {
		c.LastError = &failed.Data[0]
		if c.LastError.Error != nil {
			c.Do = v.remedies[c.LastError.Error.Code]
		}
	}
	return nil
}

// channelList is the channels that the visitor may see: all of them, or the one of their key.
func (v *visit) channelList() ([]channel, error) {
	if !v.who.Admin {
		return []channel{{ID: v.who.TenantID}}, nil
	}
	var tenants struct {
		Data []channel `json:"data"`
	}
	err := v.get("/admin/tenants", &tenants)
	return tenants.Data, err
}

// apiPath is /api/{channel}/...
func apiPath(channel string, parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/" + url.PathEscape(channel))
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// pagePath is /channels/{channel}/...
func pagePath(channel string, parts ...string) string {
	return "/channels" + strings.TrimPrefix(apiPath(channel, parts...), "/api")
}

// channel is the one that the page's path names.
func (v *visit) channel() string { return v.r.PathValue("id") }

// renderChannel shows a page of a channel.
func (v *visit) renderChannel(name, title, tab string, data any, scripts ...string) error {
	return v.render(name, view{Title: title, Nav: "channels", Channel: v.channel(), Tab: tab, Scripts: dashboardScripts(scripts...), Data: data})
}

// span is a length of time that charts show.
type span struct {
	ID, Name string
	Of       time.Duration
	Step     string
}

func spans() []span {
	const day = 24 * time.Hour
	return []span{
		{"hour", "Last hour", time.Hour, "1m"},
		{"day", "24 hours", day, "30m"},
		{"week", "7 days", 7 * day, "4h"},
		{"month", "30 days", 30 * day, "24h"},
	}
}

type overviewView struct {
	channel
	Spans      []span
	Span       span
	Stats      stats
	Throughput chart
	Outcomes   chart
	Latest     []message
}

func (v *visit) overview() error {
	o := overviewView{channel: channel{ID: v.channel()}, Spans: spans()}
	if err := v.lookAt(&o.channel); err != nil {
		return err
	}
	o.Span = o.Spans[1]
	for _, s := range o.Spans {
		if s.ID == v.r.FormValue("span") {
			o.Span = s
		}
	}
	until := v.clock().UTC()
	if v.r.Header.Get("HX-Request") != "" {
		// What is fetched again every few seconds shows no charts.
	} else if err := v.get(apiPath(o.ID, "stats")+"?"+url.Values{
		"from": {until.Add(-o.Span.Of).Format(time.RFC3339)}, "until": {until.Format(time.RFC3339)}, "step": {o.Span.Step},
	}.Encode(), &o.Stats); err != nil {
		return err
	}
	o.Throughput, o.Outcomes = o.Stats.throughput(), o.Stats.outcomes()
	var list messageList
	if err := v.get(apiPath(o.ID, "messages")+"?limit=5", &list); err != nil {
		return err
	}
	o.Latest = list.Data
	return v.renderChannel("overview", o.ID, "overview", o)
}

// remedy answers with what to do about a code, for scripts.
func (v *visit) remedy() error {
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := fmt.Fprint(v.w, strings.ReplaceAll(v.remedies[v.r.PathValue("code")].Do, "`", ""))
	return err
}
