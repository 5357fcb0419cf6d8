package webui

import (
	"net/url"
	"time"
)

func (s *Site) channelRoutes() []route {
	return []route{
		{"GET /channels", forSignedIn, (*visit).channels},
	}
}

// session is the API's session of a channel.
type session struct {
	State  string    `json:"state"`
	Reason string    `json:"reason"`
	Hint   string    `json:"hint"`
	Number *string   `json:"number"`
	Since  time.Time `json:"since"`
	Queue  struct {
		High   int `json:"high"`
		Normal int `json:"normal"`
		Bulk   int `json:"bulk"`
	} `json:"queue"`
}

// channel is a tenant with its session.
type channel struct {
	ID      string  `json:"id"`
	Name    *string `json:"name"`
	Session session `json:"-"`
}

// Waiting is how many messages wait in all lanes.
func (c channel) Waiting() int {
	return c.Session.Queue.High + c.Session.Queue.Normal + c.Session.Queue.Bulk
}

func (v *visit) channels() error {
	list, err := v.channelList()
	if err != nil {
		return err
	}
	for i := range list {
		if err := v.get("/api/"+url.PathEscape(list[i].ID)+"/session", &list[i].Session); err != nil {
			return err
		}
	}
	return v.render("channels", view{Title: "Channels", Nav: "channels", Data: list})
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
