package wasim

import (
	"container/heap"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// dueReceipt is a receipt a phone is going to send. Delivery receipts have no type.
type dueReceipt struct {
	At     time.Time `json:"at"`
	Phone  string    `json:"phone"`  // number that confirms
	Sender string    `json:"sender"` // number whose companions are told
	Group  string    `json:"group,omitempty"`
	ID     string    `json:"id"`
	Type   string    `json:"type,omitempty"`

	// Of a retry receipt only.
	Device uint16    `json:"device,omitempty"` // of the sender
	Count  int       `json:"count,omitempty"`
	Chat   types.JID `json:"chat,omitzero"` // of a copy of what the own phone's companion sent

	seq uint64
}

// confirmDelivery makes a phone confirm a message: at once or after the configured delay, and, when it is shown for the
// first time, that it was read. The receipts are part of b.
func (s *Server) confirmDelivery(b *batch, in incoming, first *Shown) error {
	phone, sender := in.phone, in.r.sender
	if phone == sender {
		return s.confirmOwnCopy(b, in)
	}
	if in.r.category == "peer" {
		return nil
	}
	delay, read := s.cfg.ReceiptDelay, s.cfg.ReadDelay
	switch testBehaviour(phone.number) {
	case NeverRead:
		read = -1
	case SlowReceipts:
		delay = s.cfg.SlowDelay
	default: // the others get no message at all
	}
	r := dueReceipt{At: in.at.Add(delay), Phone: phone.number, Sender: sender.number, ID: in.r.id}
	if in.r.group != nil {
		r.Group = in.r.group.user
	}
	var err error
	if delay <= 0 {
		err = s.sendReceipt(b, r)
	} else {
		err = s.receipts.schedule(b, r)
	}
	if first == nil || read < 0 || err != nil {
		return err
	}
	r.At, r.Type = r.At.Add(read), string(types.ReceiptTypeRead)
	if err = s.receipts.schedule(b, r); err == nil && first.Voice {
		r.At, r.Type = r.At.Add(read), string(types.ReceiptTypePlayed)
		err = s.receipts.schedule(b, r)
	}
	return err
}

// confirmOwnCopy tells a companion that its own phone has the copy of what it sent.
func (s *Server) confirmOwnCopy(b *batch, in incoming) error {
	d := in.phone.device(in.r.device)
	if d == nil || in.r.category == "peer" {
		return nil
	}
	attrs := waBinary.Attrs{"id": in.r.id, "t": in.at.Unix(), "type": string(types.ReceiptTypeSender), "from": in.phone.lidJID(0)}
	if in.r.group != nil {
		attrs["from"], attrs["participant"] = in.r.group.jid(), in.phone.lidJID(0)
	} else {
		attrs["recipient"] = in.r.to.ToNonAD()
	}
	return d.enqueue(b, waBinary.Node{Tag: "receipt", Attrs: attrs})
}

// sendReceipt queues a receipt for every companion of the sender's account.
func (s *Server) sendReceipt(b *batch, r dueReceipt) error {
	phone, ok := s.existing(r.Phone)
	sender, ok2 := s.existing(r.Sender)
	if !ok || !ok2 {
		return nil
	}
	attrs := waBinary.Attrs{"id": r.ID, "t": now().Unix(), "type": r.Type, "from": phone.lidJID(0)}
	if r.Group != "" {
		attrs["from"], attrs["participant"] = groupJID(r.Group), phone.lidJID(0)
	}
	for _, d := range sender.companions() {
		if err := d.enqueue(b, waBinary.Node{Tag: "receipt", Attrs: attrs}); err != nil {
			return err
		}
	}
	return nil
}

// requestRetry makes a phone ask the sending device to encrypt a message again, at once or later.
func (s *Server) requestRetry(b *batch, in incoming, did reaction) error {
	r := dueReceipt{
		At: in.at.Add(did.after), Phone: in.phone.number, Sender: in.r.sender.number, ID: in.r.id, Type: string(types.ReceiptTypeRetry),
		Device: in.r.device, Count: did.retry,
	}
	switch {
	case in.r.group != nil:
		r.Group = in.r.group.user
	case in.phone == in.r.sender:
		r.Chat = in.r.to.ToNonAD()
	}
	if did.after > 0 {
		return s.receipts.schedule(b, r)
	}
	return s.sendRetry(b, in.phone, in.r.sender, r)
}

// sendRetry queues a retry receipt for the sending device; from the second one on it brings the keys for a new session. The
// caller holds the phone's lock.
func (s *Server) sendRetry(b *batch, phone, sender *account, r dueReceipt) error {
	d := sender.device(r.Device)
	if d == nil {
		return nil
	}
	attrs := waBinary.Attrs{"id": r.ID, "t": r.At.Unix(), "type": r.Type, "from": phone.lidJID(0)}
	switch {
	case r.Group != "":
		attrs["from"], attrs["participant"] = groupJID(r.Group), phone.lidJID(0)
	case phone == sender:
		attrs["recipient"] = r.Chat
	}
	content := []waBinary.Node{
		{Tag: "retry", Attrs: waBinary.Attrs{"count": r.Count, "id": r.ID, "t": r.At.Unix(), "v": "1"}},
		{Tag: "registration", Content: binary.BigEndian.AppendUint32(nil, phone.phone.RegistrationID)},
	}
	if r.Count > 1 {
		keys, err := phone.keyNodes()
		if err != nil {
			return err
		}
		if err := phone.save(b); err != nil { // the number of the next prekey
			return err
		}
		content = append(content, waBinary.Node{Tag: "keys", Content: keys[1:]}) // without the registration
	}
	return d.enqueue(b, waBinary.Node{Tag: "receipt", Attrs: attrs, Content: content})
}

// AskAgain makes the phone of number ask now for what it was going to ask for later; see Undecryptable.
func (s *Server) AskAgain(number string) {
	s.receipts.hurry(func(r dueReceipt) bool { return r.Phone == digits(number) && r.Type == string(types.ReceiptTypeRetry) })
}

// handleReceipt takes a client's receipt: it clears the message from the device's queue and is passed on to the sender.
func (c *conn) handleReceipt(n *waBinary.Node) error {
	id, _ := n.Attrs["id"].(string)
	to, _ := n.Attrs["to"].(types.JID)
	typ, _ := n.Attrs["type"].(string)
	participant, inGroup := n.Attrs["participant"].(types.JID)
	b := c.srv.journal.begin()
	ids := []string{id}
	list := n.GetChildByTag("list")
	for _, item := range list.GetChildrenByTag("item") {
		if more, ok := item.Attrs["id"].(string); ok {
			ids = append(ids, more)
		}
	}
	for _, id := range ids {
		c.device.confirm(b, confirmKey("message", id, n.Attrs["to"], n.Attrs["participant"], ""))
	}
	target := to
	if inGroup {
		target = participant
	}
	var err error
	switch sender, ok := c.srv.lookup(target); {
	case !ok || typ == string(types.ReceiptTypeSender) || typ == string(types.ReceiptTypePeerMsg):
	case typ == string(types.ReceiptTypeRetry):
		err = c.srv.passRetry(b, c.device, n, sender, target.Device)
	case sender != c.device.account:
		err = c.srv.passReceipt(b, c.device, n, sender)
	}
	if err != nil {
		return err
	}
	if err := b.commit(); err != nil {
		return err
	}
	c.send(waBinary.Node{Tag: "ack", Attrs: waBinary.Attrs{
		"class": "receipt", "id": id, "from": n.Attrs["to"], "participant": n.Attrs["participant"], "type": typ,
	}})
	return nil
}

// passed is a client's receipt as the other side gets it.
func passed(from *device, n *waBinary.Node) waBinary.Node {
	attrs := waBinary.Attrs{"id": n.Attrs["id"], "t": now().Unix(), "from": from.lid()}
	if typ, ok := n.Attrs["type"]; ok {
		attrs["type"] = typ
	}
	if to, ok := n.Attrs["to"].(types.JID); ok && to.Server == types.GroupServer {
		attrs["from"], attrs["participant"] = to, from.lid()
	}
	return waBinary.Node{Tag: "receipt", Attrs: attrs, Content: n.Content}
}

func (s *Server) passReceipt(b *batch, from *device, n *waBinary.Node, sender *account) error {
	for _, d := range sender.companions() {
		if err := d.enqueue(b, passed(from, n)); err != nil {
			return err
		}
	}
	return nil
}

// passRetry brings a retry receipt to the device that sent the message.
func (s *Server) passRetry(b *batch, from *device, n *waBinary.Node, sender *account, device uint16) error {
	if device == 0 {
		return s.resend(from, n, sender)
	}
	if d := sender.device(device); d != nil {
		return d.enqueue(b, passed(from, n))
	}
	return nil
}

// handleAck clears what a client confirmed from its device's queue.
func (c *conn) handleAck(n *waBinary.Node) error {
	class, _ := n.Attrs["class"].(string)
	id, _ := n.Attrs["id"].(string)
	typ, _ := n.Attrs["type"].(string)
	if class == "message" {
		typ = ""
	}
	b := c.srv.journal.begin()
	if c.device.confirm(b, confirmKey(class, id, n.Attrs["to"], n.Attrs["participant"], typ)) {
		b.submit() // nobody waits for it: a confirmation that is lost means one more delivery
	}
	return nil
}

// receiptClock sends receipts when they are due. They are stored until then.
type receiptClock struct {
	srv *Server

	mu      sync.Mutex
	queue   dueQueue
	wake    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

func newReceiptClock(s *Server) *receiptClock {
	return &receiptClock{srv: s, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// schedule stores a receipt as part of b; it counts from b's commit on.
func (r *receiptClock) schedule(b *batch, due dueReceipt) error {
	due.seq = r.srv.nextSeq()
	value, err := json.Marshal(due)
	if err != nil {
		return fmt.Errorf("encoding a receipt: %w", err)
	}
	b.put(kindDue, dueKey(due.seq), value)
	b.after(func() { r.add(due) })
	return nil
}

func dueKey(seq uint64) string { return fmt.Sprintf("%020d", seq) }

func (r *receiptClock) load(key string, value []byte) error {
	var due dueReceipt
	seq, err := strconv.ParseUint(key, 10, 64)
	if err := errors.Join(err, json.Unmarshal(value, &due)); err != nil {
		return err
	}
	due.seq = seq
	r.add(due)
	return nil
}

func (r *receiptClock) add(due dueReceipt) {
	r.mu.Lock()
	heap.Push(&r.queue, due)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *receiptClock) stop() { r.once.Do(func() { close(r.stopped) }) }

func (r *receiptClock) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, due := r.takeDue()
		if len(due) > 0 {
			if err := r.fire(due); err != nil {
				r.srv.log.Error("receipts are lost", "count", len(due), "error", err)
			}
			continue
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-r.wake:
		case <-r.stopped:
			return
		}
	}
}

func (r *receiptClock) takeDue() (next time.Duration, due []dueReceipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		if wait := time.Until(r.queue[0].At); wait > 0 {
			return wait, due
		}
		due = append(due, heap.Pop(&r.queue).(dueReceipt))
	}
	return time.Hour, due
}

func (r *receiptClock) fire(due []dueReceipt) error {
	b := r.srv.journal.begin()
	for _, d := range due {
		if d.Type == string(types.ReceiptTypeRetry) {
			if err := r.fireRetry(d); err != nil {
				return err
			}
			continue
		}
		b.delete(kindDue, dueKey(d.seq))
		if err := r.srv.sendReceipt(b, d); err != nil {
			return err
		}
	}
	return b.commit()
}

// fireRetry has a batch of its own, which is submitted under the phone's lock as every change of a phone's keys.
func (r *receiptClock) fireRetry(d dueReceipt) error {
	b := r.srv.journal.begin()
	b.delete(kindDue, dueKey(d.seq))
	if err := r.submitRetry(b, d); err != nil {
		return err
	}
	return b.finish()
}

func (r *receiptClock) submitRetry(b *batch, d dueReceipt) error {
	phone, ok := r.srv.existing(d.Phone)
	sender, ok2 := r.srv.existing(d.Sender)
	if ok && ok2 {
		defer lockPhones(b, []*account{phone})()
		if err := r.srv.sendRetry(b, phone, sender, d); err != nil {
			return err
		}
	}
	b.submit()
	return nil
}

// hurry makes what match takes due now.
func (r *receiptClock) hurry(match func(dueReceipt) bool) {
	r.mu.Lock()
	for i := range r.queue {
		if match(r.queue[i]) {
			r.queue[i].At = now()
		}
	}
	heap.Init(&r.queue)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

type dueQueue []dueReceipt

func (q dueQueue) Len() int { return len(q) }
func (q dueQueue) Less(i, j int) bool {
	if !q[i].At.Equal(q[j].At) {
		return q[i].At.Before(q[j].At)
	}
	return q[i].seq < q[j].seq
}
func (q dueQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *dueQueue) Push(x any)   { *q = append(*q, x.(dueReceipt)) }
func (q *dueQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
