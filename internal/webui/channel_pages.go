package webui

import (
	"net/url"
	"strings"
	"time"
)

func (s *Site) channelPageRoutes() []route {
	return []route{
		{"GET /channels/{id}/pair", forSignedIn, (*visit).pairing},
		{"GET /channels/{id}/settings", forSignedIn, (*visit).settings},
		{"GET /channels/{id}/opt-outs", forSignedIn, (*visit).optOuts},
		{"GET /channels/{id}/webhooks", forSignedIn, (*visit).webhooks},
		{"GET /channels/{id}/webhooks/{webhook}", forSignedIn, (*visit).webhook},
		{"GET /channels/{id}/keys", forSignedIn, (*visit).keys},
	}
}

func urlQuery(s string) string { return url.QueryEscape(s) }

type pairingView struct {
	ID      string
	Session session
	CanScan bool // with a simulated phone
}

func (v *visit) pairing() error {
	p := pairingView{ID: v.channel(), CanScan: v.sandbox && v.who.Admin}
	if err := v.get(apiPath(p.ID, "session"), &p.Session); err != nil {
		return err
	}
	return v.renderChannel("pairing", "Pairing", "pair", p, "pair.js")
}

// settings are the API's settings of a channel.
type settings struct {
	UnknownPolicy string `json:"unknownPolicy"`
	DefaultExpiry struct {
		High   int64 `json:"high"`
		Normal int64 `json:"normal"`
		Bulk   int64 `json:"bulk"`
	} `json:"defaultExpiry"`
	Retention struct {
		MessagesDays *int `json:"messagesDays"`
		TextDays     *int `json:"textDays"`
		EventsDays   *int `json:"eventsDays"`
	} `json:"retention"`
	OptOutWords []string `json:"optOutWords"`
	OptInWords  []string `json:"optInWords"`
	Pacing      struct {
		DelaySeconds        float64 `json:"delaySeconds"`
		RandomDelaySeconds  float64 `json:"randomDelaySeconds"`
		PerMinute           int     `json:"perMinute"`
		PerHour             int     `json:"perHour"`
		PerDay              int     `json:"perDay"`
		FirstContactsPerDay int     `json:"firstContactsPerDay"`
		PerRecipientPerDay  int     `json:"perRecipientPerDay"`
		QuietHours          *struct {
			From     string `json:"from"`
			To       string `json:"to"`
			TimeZone string `json:"timeZone"`
		} `json:"quietHours"`
	} `json:"pacing"`
}

func (v *visit) settings() error {
	s := struct {
		ID       string
		Settings settings
		Session  session
	}{ID: v.channel()}
	if err := v.get(apiPath(s.ID, "settings"), &s.Settings); err != nil {
		return err
	}
	if err := v.get(apiPath(s.ID, "session"), &s.Session); err != nil {
		return err
	}
	return v.renderChannel("settings", "Settings", "settings", s)
}

type optOut struct {
	Recipient string    `json:"recipient"`
	Source    string    `json:"source"`
	CreatedAt time.Time `json:"createdAt"`
}

type optOutsView struct {
	ID      string
	Find    string
	Found   bool
	OptOuts []optOut
	Next    string
}

func (v *visit) optOuts() error {
	o := optOutsView{ID: v.channel(), Find: strings.TrimSpace(v.r.FormValue("find"))}
	if o.Find != "" {
		var one optOut
		switch err := v.get(apiPath(o.ID, "opt-outs", o.Find), &one); {
		case err == nil:
			o.Found, o.OptOuts = true, []optOut{one}
		case v.problemOf(err).Code != "not_found":
			return err
		}
		return v.renderChannel("optouts", "Opt-outs", "opt-outs", o, "optouts.js")
	}
	path := apiPath(o.ID, "opt-outs")
	if cursor := v.r.FormValue("cursor"); cursor != "" {
		path += "?cursor=" + urlQuery(cursor)
	}
	var list struct {
		Data       []optOut `json:"data"`
		NextCursor string   `json:"nextCursor"`
	}
	if err := v.get(path, &list); err != nil {
		return err
	}
	o.OptOuts = list.Data
	if list.NextCursor != "" {
		o.Next = pagePath(o.ID, "opt-outs") + "?cursor=" + urlQuery(list.NextCursor)
	}
	return v.renderChannel("optouts", "Opt-outs", "opt-outs", o, "optouts.js")
}

type key struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt"` // nil: it has no successor
}

func (v *visit) keys() error {
	k := struct {
		ID   string
		Keys []key
	}{ID: v.channel()}
	if v.who.Admin {
		var list struct {
			Data []key `json:"data"`
		}
		if err := v.get("/admin/tenants/"+url.PathEscape(k.ID)+"/keys", &list); err != nil {
			return err
		}
		k.Keys = list.Data
	} else if err := v.get(apiPath(k.ID, "session"), &session{}); err != nil { // whether the channel is theirs
		return err
	}
	return v.renderChannel("keys", "Keys", "keys", k, "keys.js")
}
