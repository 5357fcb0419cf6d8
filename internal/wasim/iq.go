package wasim

import (
	"errors"
	"fmt"
	"strconv"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// serverJID is where IQ answers come from. JID attributes must be JIDs, not strings: clients compare them as such.
var serverJID = types.ServerJID //nolint:gochecknoglobals // a constant

// iqError is answered instead of a result.
type iqError struct{ code int }

func (e iqError) Error() string { return fmt.Sprintf("%d %s", e.code, iqErrorText(e.code)) }

func iqErrorText(code int) string {
	switch code {
	case 400:
		return "bad-request"
	case 401:
		return "not-authorized"
	case 403:
		return "forbidden"
	case 404:
		return "item-not-found"
	case 405:
		return "not-allowed"
	case 406:
		return "not-acceptable"
	case 410:
		return "gone"
	case 419:
		return "resource-limit"
	case 423:
		return "locked"
	case 429:
		return "rate-overlimit"
	case 500:
		return "internal-server-error"
	case 501:
		return "feature-not-implemented"
	case 503:
		return "service-unavailable"
	default:
		return "error"
	}
}

func (s *Server) iqID() string { return "sim-" + strconv.FormatUint(s.seq.Add(1), 10) }

func (s *Server) nextSeq() uint64 { return s.seq.Add(1) }

// handleIQ answers a query of a logged-in device.
func (c *conn) handleIQ(n *waBinary.Node) error {
	if n.Attrs["type"] != "get" && n.Attrs["type"] != "set" {
		return nil // an answer to something of ours
	}
	q := describeIQ(n)
	account := c.device.account.number
	if f := c.srv.faults.takeFor(account, q, IQError, IQSilent, DropBeforeAccept); f != nil {
		switch f.Kind {
		case IQError:
			c.iqFailed(n, f.Code)
		case DropBeforeAccept:
			c.drop()
		default: // silence
		}
		return nil
	}
	content, err := c.answerIQ(n, q)
	if failed, ok := errors.AsType[iqError](err); ok {
		c.iqFailed(n, failed.code)
		return nil
	}
	if err != nil {
		return err
	}
	if f := c.srv.faults.takeFor(account, q, DropAfterAccept); f != nil {
		c.drop()
		return nil
	}
	result := waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"from": serverJID, "type": "result", "id": n.Attrs["id"]}}
	if to, ok := n.Attrs["to"].(types.JID); ok && to.Server == types.GroupServer {
		result.Attrs["from"] = to
	}
	if content != nil {
		result.Content = content
	}
	c.send(result)
	if q.is("passive") {
		c.setPassive(n)
	}
	return nil
}

func (c *conn) iqFailed(n *waBinary.Node, code int) {
	c.send(waBinary.Node{
		Tag:     "iq",
		Attrs:   waBinary.Attrs{"from": serverJID, "type": "error", "id": n.Attrs["id"]},
		Content: []waBinary.Node{{Tag: "error", Attrs: waBinary.Attrs{"code": code, "text": iqErrorText(code)}}},
	})
}

func (c *conn) answerIQ(n *waBinary.Node, q stanzaInfo) ([]waBinary.Node, error) {
	set := n.Attrs["type"] == "set"
	switch q.xmlns {
	case "encrypt":
		switch {
		case set:
			return nil, c.device.storePreKeys(c.srv.journal, n)
		case q.is("prekey-count"):
			return []waBinary.Node{{Tag: "count", Attrs: waBinary.Attrs{"value": c.device.preKeyCount()}}}, nil
		case q.is("prekeys"):
			return c.srv.preKeyBundles(n)
		}
	case "usync":
		return c.srv.usync(n)
	case "passive", "w:p", "urn:xmpp:whatsapp:dirty", "urn:xmpp:whatsapp:push", "tos", "status", "disappearing_mode", "w:stats", "abt":
		return nil, nil
	case "w:m":
		return []waBinary.Node{mediaConn(c.srv.media.auth)}, nil
	case "w:g2":
		return c.srv.groupIQ(c.device, n)
	case "md":
		return nil, c.removeCompanion(n)
	case "privacy":
		if set {
			return nil, nil
		}
		return []waBinary.Node{{Tag: "privacy", Content: privacySettings()}}, nil
	case "blocklist":
		return []waBinary.Node{{Tag: "list", Attrs: waBinary.Attrs{"dhash": "empty"}}}, nil
	case "w:sync:app:state":
		return []waBinary.Node{emptyAppState(n)}, nil
	}
	c.log.Debug("an unknown query", "xmlns", q.xmlns)
	return nil, iqError{501}
}

// setPassive starts or stops the flow of queued stanzas.
func (c *conn) setPassive(n *waBinary.Node) {
	if _, ok := n.GetOptionalChildByTag("active"); !ok {
		c.device.passivate(c)
		return
	}
	count := c.device.activate(c)
	c.send(waBinary.Node{Tag: "ib", Attrs: waBinary.Attrs{"from": serverJID}, Content: []waBinary.Node{
		{Tag: "offline", Attrs: waBinary.Attrs{"count": count}},
	}})
}

func (c *conn) removeCompanion(n *waBinary.Node) error {
	child, ok := n.GetOptionalChildByTag("remove-companion-device")
	if !ok {
		return iqError{501}
	}
	jid, _ := child.Attrs["jid"].(types.JID)
	a, found := c.srv.lookup(jid)
	if !found || a != c.device.account {
		return iqError{403}
	}
	d := a.device(jid.Device)
	if d == nil {
		return iqError{404}
	}
	if err := c.srv.removeDevice(d); err != nil {
		return err
	}
	if d == c.device {
		// The client closes after the result. A stream error at the same time would race with that.
		return nil
	}
	if other := d.connection(); other != nil {
		other.send(deviceRemoved())
		other.finish(farewell)
	}
	return nil
}

func deviceRemoved() waBinary.Node {
	return waBinary.Node{
		Tag: "stream:error", Attrs: waBinary.Attrs{"code": "401"},
		Content: []waBinary.Node{{Tag: "conflict", Attrs: waBinary.Attrs{"type": "device_removed"}}},
	}
}

func privacySettings() []waBinary.Node {
	var out []waBinary.Node
	for _, s := range [][2]string{
		{"groupadd", "all"}, {"last", "all"}, {"status", "all"}, {"profile", "all"}, {"readreceipts", "all"}, {"online", "all"}, {"calladd", "all"},
	} {
		out = append(out, waBinary.Node{Tag: "category", Attrs: waBinary.Attrs{"name": s[0], "value": s[1]}})
	}
	return out
}

func emptyAppState(n *waBinary.Node) waBinary.Node {
	var out []waBinary.Node
	sync := n.GetChildByTag("sync")
	for _, col := range sync.GetChildrenByTag("collection") {
		out = append(out, waBinary.Node{Tag: "collection", Attrs: waBinary.Attrs{"name": col.Attrs["name"], "version": "0"}})
	}
	return waBinary.Node{Tag: "sync", Content: out}
}
