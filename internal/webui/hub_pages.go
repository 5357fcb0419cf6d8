package webui

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func (s *Site) hubRoutes() []route {
	return []route{
		{"GET /workers", forAdmin, (*visit).workers},
		{"GET /phones", forAdmin, (*visit).phones},
	}
}

type worker struct {
	ID        string    `json:"id"`
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"startedAt"`
	SeenAt    time.Time `json:"seenAt"`
	Sessions  int       `json:"sessions"`
	Online    int       `json:"online"`
	Waiting   int       `json:"waiting"`
}

func (v *visit) workers() error {
	var list struct {
		Data []worker `json:"data"`
	}
	if err := v.get("/admin/workers", &list); err != nil {
		return err
	}
	return v.render("workers", view{Title: "Workers", Nav: "workers", Scripts: dashboardScripts(), Data: list.Data})
}

type phone struct {
	Number    string `json:"number"`
	Devices   []int  `json:"devices"`
	Connected bool   `json:"connected"`
	Pending   int    `json:"pending"`
}

// shown is what a simulated phone shows.
type shown struct {
	ID       string    `json:"id"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Group    string    `json:"group"`
	Type     string    `json:"type"`
	Text     string    `json:"text"`
	Caption  string    `json:"caption"`
	Filename string    `json:"filename"`
	Mimetype string    `json:"mimetype"`
	Size     int64     `json:"size"`
	At       time.Time `json:"at"`
}

type testNumber struct {
	Number    string `json:"number"`
	Behaviour string `json:"behaviour"`
	What      string `json:"what"`
}

type phonesView struct {
	Number      string
	Shown       []shown
	Phones      []phone
	More        int
	TestNumbers []testNumber
	AnswerTo    string // the number that wrote last
}

const (
	maxPhones = 50  // in the list
	maxShown  = 100 // messages of one phone, the newest
)

func (v *visit) phones() error {
	if !v.sandbox {
		return gateway.Errorf(gateway.CodeNotFound, "phones are simulated in the sandbox only: start the hub with SANDBOX=true")
	}
	p := phonesView{Number: strings.NewReplacer("+", "", " ", "", "-", "").Replace(v.r.FormValue("number"))}
	var phones struct {
		Data []phone `json:"data"`
	}
	if err := v.get("/sandbox/phones", &phones); err != nil {
		return err
	}
	slices.SortFunc(phones.Data, func(a, b phone) int { // those that are linked first
		if len(a.Devices) != len(b.Devices) {
			return len(b.Devices) - len(a.Devices)
		}
		return strings.Compare(a.Number, b.Number)
	})
	p.More = max(0, len(phones.Data)-maxPhones)
	p.Phones = phones.Data[:len(phones.Data)-p.More]
	var numbers struct {
		Data []testNumber `json:"data"`
	}
	if err := v.get("/sandbox/test-numbers", &numbers); err != nil {
		return err
	}
	p.TestNumbers = numbers.Data
	if p.Number != "" {
		var messages struct {
			Data []shown `json:"data"`
		}
		if err := v.get("/sandbox/phones/"+url.PathEscape(p.Number)+"/messages", &messages); err != nil {
			return err
		}
		p.Shown = messages.Data[max(0, len(messages.Data)-maxShown):]
		for _, m := range p.Shown {
			if m.From != "" {
				p.AnswerTo, _, _ = strings.Cut(strings.SplitN(m.From, "@", 2)[0], ":")
			}
		}
	}
	return v.render("phones", view{Title: "Simulated phones", Nav: "phones", Scripts: dashboardScripts(), Data: p})
}
