package wasim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// FaultKind is what goes wrong.
type FaultKind string

// The kinds. Faults of messages are matched by To and Account, faults of queries by Match as well.
const (
	DropBeforeAccept FaultKind = "drop_before_accept" // cut the socket instead of accepting the stanza
	DropAfterAccept  FaultKind = "drop_after_accept"  // accept and deliver, cut the socket instead of answering
	WithholdAck      FaultKind = "withhold_ack"       // deliver, never acknowledge
	DelayAck         FaultKind = "delay_ack"          // deliver, acknowledge after Delay
	AckError         FaultKind = "ack_error"          // deliver nothing, acknowledge with error Code
	PHashMismatch    FaultKind = "phash_mismatch"     // deliver, acknowledge with another participant hash
	IQError          FaultKind = "iq_error"           // answer the query with error Code
	IQSilent         FaultKind = "iq_silent"          // do not answer the query
	StreamError      FaultKind = "stream_error"       // now: stream error Code and Conflict, then close
	Drop             FaultKind = "drop"               // now: cut the socket
	LoginFailure     FaultKind = "login_failure"      // refuse the next login with reason Code
	DelaySuccess     FaultKind = "delay_success"      // let the next login wait for Delay
	UpgradeError     FaultKind = "upgrade_error"      // answer the web socket upgrade with HTTP status Code
	UploadError      FaultKind = "upload_error"       // answer a media upload with HTTP status Code
	ReachOutTimelock FaultKind = "reachout_timelock"  // now: tell the client that new contacts are forbidden for Expire; 0: allowed again
	Latency          FaultKind = "latency"            // delay every frame by Delay each way, until cleared or for Expire
	// Undecryptable: a recipient's phone cannot decrypt a message and asks for it again, after Delay. A group's message is one for
	// each member.
	Undecryptable FaultKind = "undecryptable"
)

// Conflicts of a stream error.
const (
	ConflictReplaced      = "replaced"
	ConflictDeviceRemoved = "device_removed"
)

// Fault is one scripted fault.
type Fault struct {
	ID   string
	Kind FaultKind
	// Account limits the fault to connections of this number's companions, To to messages for (and queries about) this number.
	Account, To string
	// Match names the query it hits: an xmlns ("usync", "encrypt", "w:g2", ...) or one of prekeys, prekey-count,
	// prekey-upload, usync-lid, usync-devices, usync-contact, media_conn, group-query, group-create, group-participating, logout,
	// active, keepalive; for the drops also receipt and ack, what clients confirm with. Empty is every query for iq_error and
	// iq_silent, and messages for the drops.
	Match string
	// Times is how often it happens: 0 is once, negative until cleared.
	Times int
	// Delay is for the kinds that delay, Code for those that answer with one.
	Delay time.Duration
	Code  int
	// Conflict is the child of a stream error. Code 401 without it means device_removed.
	Conflict string
	// Expire is how long the ban of login failure 402 lasts, or the latency.
	Expire time.Duration
	// Remaining is how often it is still going to happen, -1 until cleared. Script sets it.
	Remaining int

	until time.Time // end of a latency, zero when it is to be cleared
}

// immediate kinds do not wait for a stanza.
func (f *Fault) immediate() bool {
	return f.Kind == StreamError || f.Kind == Drop || f.Kind == ReachOutTimelock
}

func (f *Fault) forAccount(number string) bool { return f.Account == "" || f.Account == number }

// check completes a fault and refuses one that cannot happen.
func (f *Fault) check() error {
	f.Account, f.To = digits(f.Account), digits(f.To)
	switch f.Kind {
	case DropBeforeAccept, DropAfterAccept, WithholdAck, PHashMismatch, IQSilent, Drop, Undecryptable, ReachOutTimelock:
	case AckError, IQError, LoginFailure:
		if f.Code <= 0 {
			return fmt.Errorf("a fault of kind %s needs a code", f.Kind)
		}
	case UpgradeError, UploadError:
		if f.Code < 400 || f.Code > 599 {
			return fmt.Errorf("a fault of kind %s needs an HTTP error status as its code", f.Kind)
		}
	case DelayAck, DelaySuccess, Latency:
		if f.Delay <= 0 {
			return fmt.Errorf("a fault of kind %s needs a delay", f.Kind)
		}
	case StreamError:
		if f.Code == 0 && f.Conflict == "" {
			return fmt.Errorf("a fault of kind %s needs a code or a conflict", f.Kind)
		}
		if f.Code == 401 && f.Conflict == "" {
			f.Conflict = ConflictDeviceRemoved
		}
	default:
		return fmt.Errorf("there is no fault of kind %q", f.Kind)
	}
	if f.Kind == Latency && f.Expire > 0 {
		f.until = now().Add(f.Expire)
	}
	switch {
	case f.Kind == Latency || f.Times < 0:
		f.Remaining = -1
	case f.Times == 0:
		f.Remaining = 1
	default:
		f.Remaining = f.Times
	}
	return nil
}

func (f *Fault) failureNode() waBinary.Node {
	attrs := waBinary.Attrs{"reason": f.Code, "t": now().Unix()}
	if f.Code == 402 {
		attrs["code"], attrs["expire"] = 101, int(f.Expire/time.Second)
	}
	return waBinary.Node{Tag: "failure", Attrs: attrs}
}

func (f *Fault) streamNode() waBinary.Node {
	n := waBinary.Node{Tag: "stream:error", Attrs: waBinary.Attrs{}}
	if f.Code != 0 {
		n.Attrs["code"] = strconv.Itoa(f.Code)
	}
	if f.Conflict != "" {
		n.Content = []waBinary.Node{{Tag: "conflict", Attrs: waBinary.Attrs{"type": f.Conflict}}}
	}
	return n
}

// timelockNode is the notification of a reach-out timelock, as whatsmeow reads it.
func (f *Fault) timelockNode(id string) waBinary.Node {
	lock := map[string]any{"is_active": f.Expire > 0, "enforcement_type": "SIMULATED"}
	if f.Expire > 0 {
		lock["time_enforcement_ends"] = strconv.FormatInt(now().Add(f.Expire).Unix(), 10)
	}
	content, err := json.Marshal(map[string]any{"data": map[string]any{"xwa2_notify_account_reachout_timelock": lock}})
	if err != nil {
		panic(err) // a map of strings, numbers and booleans
	}
	return waBinary.Node{
		Tag: "notification", Attrs: waBinary.Attrs{"from": types.ServerJID, "id": id, "t": now().Unix(), "type": "mex"},
		Content: []waBinary.Node{{
			Tag: "update", Attrs: waBinary.Attrs{"op_name": "NotificationUserReachoutTimelockUpdate"}, Content: content,
		}},
	}
}

// faultBook holds the faults that are still to happen.
type faultBook struct {
	count atomic.Int32 // spares the lock when there are none
	mu    sync.Mutex
	all   []*Fault
	next  int
}

func newFaultBook() *faultBook { return &faultBook{} }

func (b *faultBook) empty() bool { return b.count.Load() == 0 }

func (b *faultBook) add(f *Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	f.ID = "fault-" + strconv.Itoa(b.next)
	if f.Remaining != 0 {
		b.all = append(b.all, f)
		b.count.Store(int32(len(b.all)))
	}
}

func (b *faultBook) list() []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetOver()
	out := make([]Fault, len(b.all))
	for i, f := range b.all {
		out[i] = *f
	}
	return out
}

func (b *faultBook) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = nil
	b.count.Store(0)
}

// take finds the oldest fault that matches, counts it and returns a copy, nil when there is none.
func (b *faultBook) take(match func(*Fault) bool) *Fault {
	if b.empty() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.all, match)
	if i < 0 {
		return nil
	}
	f := b.all[i]
	if f.Remaining > 0 {
		f.Remaining--
	}
	hit := *f
	if f.Remaining == 0 {
		b.all = slices.Delete(b.all, i, i+1)
		b.count.Store(int32(len(b.all)))
	}
	return &hit
}

// takeFor takes a fault of one of the kinds that hits this stanza of that account.
func (b *faultBook) takeFor(account string, q stanzaInfo, kinds ...FaultKind) *Fault {
	return b.take(func(f *Fault) bool {
		return slices.Contains(kinds, f.Kind) && f.forAccount(account) && q.matchedBy(f)
	})
}

func (b *faultBook) latency(account string) time.Duration {
	if b.empty() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetOver()
	var sum time.Duration
	for _, f := range b.all {
		if f.Kind == Latency && f.forAccount(account) {
			sum += f.Delay
		}
	}
	return sum
}

// forgetOver drops what has lasted its time. The caller holds the lock.
func (b *faultBook) forgetOver() {
	b.all = slices.DeleteFunc(b.all, func(f *Fault) bool { return !f.until.IsZero() && !now().Before(f.until) })
	b.count.Store(int32(len(b.all)))
}

// Script plans a fault and returns its id. The immediate kinds, stream_error and drop, hit every matching connection that is
// open, once each, and when there is none the next one that logs in.
func (s *Server) Script(f Fault) (id string, err error) {
	if err := f.check(); err != nil {
		return "", err
	}
	if !f.immediate() {
		s.faults.add(&f)
		return f.ID, nil
	}
	var hit []*device
	for _, a := range s.allAccounts() {
		for _, d := range a.companions() {
			if f.forAccount(a.number) && d.connection() != nil {
				hit = append(hit, d)
			}
		}
	}
	if len(hit) > 0 && f.Remaining > 0 {
		f.Remaining--
	}
	s.faults.add(&f)
	for _, d := range hit {
		if c := d.connection(); c != nil {
			s.interrupt(d, c, &f)
		}
	}
	return f.ID, nil
}

// Faults lists what is still to happen.
func (s *Server) Faults() []Fault { return s.faults.list() }

// ClearFaults forgets every planned fault.
func (s *Server) ClearFaults() { s.faults.clear() }

// interrupt ends a connection as the fault says, or tells it something. A device that is told it was removed is removed.
func (s *Server) interrupt(d *device, c *conn, f *Fault) {
	if f.Kind == Drop {
		c.drop()
		return
	}
	if f.Kind == ReachOutTimelock {
		c.send(f.timelockNode(s.iqID()))
		return
	}
	if f.Conflict == ConflictDeviceRemoved {
		if err := s.removeDevice(d); err != nil {
			s.log.Error("a device cannot be removed", "error", err)
		}
	}
	c.send(f.streamNode())
	if f.Code == 515 {
		c.finish(restart)
	} else {
		c.finish(farewell)
	}
}

func (s *Server) allAccounts() []*account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*account, 0, len(s.accounts))
	for _, a := range s.accounts {
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y *account) int { return compareNumbers(x.number, y.number) })
	return out
}

func compareNumbers(x, y string) int {
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	return slices.Compare([]byte(x), []byte(y))
}

// stanzaInfo is what faults are matched against.
type stanzaInfo struct {
	tag   string // iq, message, receipt or ack
	xmlns string
	names []string    // what Match may say
	about []types.JID // recipients of a message, subjects of a query
}

func (q stanzaInfo) is(name string) bool { return slices.Contains(q.names, name) }

func (q stanzaInfo) matchedBy(f *Fault) bool {
	if f.Match == "" && q.tag != "message" && f.Kind != IQError && f.Kind != IQSilent {
		return false
	}
	if f.Match != "" && !q.is(f.Match) {
		return false
	}
	return f.To == "" || slices.ContainsFunc(q.about, func(jid types.JID) bool {
		return digits(jid.User) == f.To || jid.Server == types.HiddenUserServer && jid.User == lidOf(f.To)
	})
}

func describeMessage(n *waBinary.Node, to types.JID) stanzaInfo {
	q := stanzaInfo{tag: "message", names: []string{"message"}, about: []types.JID{to}}
	if pn, ok := n.Attrs["peer_recipient_pn"].(types.JID); ok {
		q.about = append(q.about, pn)
	}
	return q
}

// describeArrival is for a message that has reached a phone.
func describeArrival(phone *account) stanzaInfo {
	return stanzaInfo{tag: "message", names: []string{"message"}, about: []types.JID{phone.lidJID(0), phone.pnJID(0)}}
}

// describeConfirmation is for the receipts and acks of clients, which a script can lose.
func describeConfirmation(n *waBinary.Node) stanzaInfo {
	q := stanzaInfo{tag: n.Tag, names: []string{n.Tag}}
	if to, ok := n.Attrs["to"].(types.JID); ok {
		q.about = append(q.about, to)
	}
	return q
}

func describeIQ(n *waBinary.Node) stanzaInfo {
	xmlns, _ := n.Attrs["xmlns"].(string)
	q := stanzaInfo{tag: "iq", xmlns: xmlns, names: []string{xmlns}}
	child := ""
	if children := n.GetChildren(); len(children) > 0 {
		child = children[0].Tag
	}
	set := n.Attrs["type"] == "set"
	name := func(s string) { q.names = append(q.names, s) }
	switch xmlns {
	case "encrypt":
		switch {
		case set:
			name("prekey-upload")
		case child == "count":
			name("prekey-count")
		case child == "key":
			name("prekeys")
			key := n.GetChildByTag("key")
			q.about = userJIDs(&key)
		}
	case "usync":
		usync := n.GetChildByTag("usync")
		list := usync.GetChildByTag("list")
		q.about = userJIDs(&list)
		switch usync.Attrs["context"] {
		case "message":
			name("usync-devices")
		case "interactive":
			name("usync-contact")
		default:
			name("usync-lid")
		}
	case "w:m":
		name("media_conn")
	case "w:g2":
		name("group-" + child)
	case "md":
		if child == "link_code_companion_reg" {
			name("pair-code")
		} else {
			name("logout")
		}
	case "w:p":
		name("keepalive")
	case "passive":
		name(child)
	}
	if to, ok := n.Attrs["to"].(types.JID); ok && to.User != "" {
		q.about = append(q.about, to)
	}
	return q
}

// userJIDs are the users a query lists, by JID or as a contact.
func userJIDs(list *waBinary.Node) []types.JID {
	var out []types.JID
	for _, user := range list.GetChildrenByTag("user") {
		if jid, ok := user.Attrs["jid"].(types.JID); ok {
			out = append(out, jid)
		} else if contact, ok := user.GetOptionalChildByTag("contact"); ok {
			out = append(out, types.NewJID(digits(text(contact)), types.DefaultUserServer))
		}
	}
	return out
}
