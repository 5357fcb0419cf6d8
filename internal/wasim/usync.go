package wasim

import (
	"strings"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// usync answers a query about users: who is on WhatsApp, under which LID, with which devices. The jid of a user is echoed
// exactly as it was asked, since it is the client's cache key.
func (s *Server) usync(n *waBinary.Node) ([]waBinary.Node, error) {
	usync, ok := n.GetOptionalChildByTag("usync")
	if !ok {
		return nil, iqError{400}
	}
	query, list := usync.GetChildByTag("query"), usync.GetChildByTag("list")
	var users []waBinary.Node
	for _, user := range list.GetChildrenByTag("user") {
		if jid, ok := user.Attrs["jid"].(types.JID); ok {
			users = append(users, s.usyncByJID(jid, &query))
		} else if contact, ok := user.GetOptionalChildByTag("contact"); ok {
			users = append(users, s.usyncByNumber(text(contact), &query))
		}
	}
	return []waBinary.Node{{
		Tag: "usync", Attrs: waBinary.Attrs{
			"sid": usync.Attrs["sid"], "index": usync.Attrs["index"], "last": usync.Attrs["last"],
			"mode": usync.Attrs["mode"], "context": usync.Attrs["context"],
		},
		Content: []waBinary.Node{{Tag: "result"}, {Tag: "list", Content: users}},
	}}, nil
}

func (s *Server) usyncByJID(jid types.JID, query *waBinary.Node) waBinary.Node {
	user := waBinary.Node{Tag: "user", Attrs: waBinary.Attrs{"jid": jid}}
	if a, ok := s.lookup(jid); ok {
		user.Content = a.usyncDetails(jid.Server, query)
		if _, asked := query.GetOptionalChildByTag("contact"); asked {
			user.Content = append(user.GetChildren(), waBinary.Node{Tag: "contact", Attrs: waBinary.Attrs{"type": "in"}})
		}
	} else if _, asked := query.GetOptionalChildByTag("contact"); asked {
		user.Content = []waBinary.Node{{Tag: "contact", Attrs: waBinary.Attrs{"type": "out"}}}
	}
	return user
}

// usyncByNumber answers for a number as a person would write it, "+1...", with the legacy server behind it or not.
func (s *Server) usyncByNumber(asked string, query *waBinary.Node) waBinary.Node {
	number := strings.TrimSuffix(asked, "@"+types.LegacyUserServer)
	contact := waBinary.Node{Tag: "contact", Attrs: waBinary.Attrs{"type": "out"}, Content: []byte(number)}
	a, ok := s.account(digits(number))
	if !ok {
		return waBinary.Node{
			Tag: "user", Attrs: waBinary.Attrs{"pn_jid": types.NewJID(digits(number), types.DefaultUserServer)},
			Content: []waBinary.Node{contact},
		}
	}
	contact.Attrs["type"] = "in"
	return waBinary.Node{
		Tag: "user", Attrs: waBinary.Attrs{"jid": a.lidJID(0), "pn_jid": a.pnJID(0)},
		Content: append([]waBinary.Node{contact}, a.usyncDetails(types.HiddenUserServer, query)...),
	}
}

// usyncDetails gives what was asked about a user who exists.
func (a *account) usyncDetails(server string, query *waBinary.Node) []waBinary.Node {
	var out []waBinary.Node
	for _, q := range query.GetChildren() {
		switch q.Tag {
		case "lid":
			out = append(out, waBinary.Node{Tag: "lid", Attrs: waBinary.Attrs{"val": a.lidJID(0)}})
		case "devices":
			var list []waBinary.Node
			for _, jid := range a.jids(server) {
				dev := waBinary.Node{Tag: "device", Attrs: waBinary.Attrs{"id": int(jid.Device)}}
				if jid.Device > 0 {
					dev.Attrs["key-index"] = int(jid.Device)
				}
				list = append(list, dev)
			}
			out = append(out, waBinary.Node{Tag: "devices", Content: []waBinary.Node{{Tag: "device-list", Content: list}}})
		case "status":
			out = append(out, waBinary.Node{Tag: "status", Content: []byte("Simulated")})
		}
	}
	return out
}

// text is a node's content as a string, however it was encoded.
func text(n waBinary.Node) string {
	switch c := n.Content.(type) {
	case []byte:
		return string(c)
	case string:
		return c
	default:
		return ""
	}
}
