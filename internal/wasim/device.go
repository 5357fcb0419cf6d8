package wasim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// device is a companion: a client that was paired with an account.
type device struct {
	account *account
	index   uint16
	keys    deviceRecord

	mu       sync.Mutex
	preKeys  []uploadedKey // one-time keys the client left here
	queue    []*queued     // not confirmed yet, oldest first
	sent     int           // how many of the queue went out on the current connection
	conn     *conn         // logged in
	active   bool          // and it asked for its messages
	sequence func() uint64
}

// deviceRecord is what is stored of a device.
type deviceRecord struct {
	Noise        []byte `json:"noise"`
	Identity     []byte `json:"identity"`
	Registration uint32 `json:"registration"`
	SignedID     uint32 `json:"signedId"`
	SignedKey    []byte `json:"signedKey"`
	Signature    []byte `json:"signature"`
	ADV          []byte `json:"adv"` // the ADVSignedDeviceIdentity with the device's own signature
}

type uploadedKey struct {
	id  uint32
	pub []byte
}

// queued is a stanza a device has not confirmed.
type queued struct {
	seq   uint64
	Key   string `json:"key"`  // what confirms it, see confirmKey
	Data  []byte `json:"data"` // the encoded stanza
	ready atomic.Bool
}

func (d *device) path() string { return d.account.number + "/" + strconv.Itoa(int(d.index)) }

func (d *device) lid() types.JID { return d.account.lidJID(d.index) }

func (d *device) save(b *batch) error {
	value, err := json.Marshal(d.keys)
	if err != nil {
		return fmt.Errorf("encoding device %s: %w", d.path(), err)
	}
	b.put(kindDevice, d.path(), value)
	return nil
}

// confirmKey names what a client's receipt or ack refers to. kind is the stanza's tag, typ its type (empty for messages,
// whose acks do not repeat it).
func confirmKey(kind, id string, from, participant any, typ string) string {
	return fmt.Sprintf("%s %s %v %v %s", kind, id, orEmpty(from), orEmpty(participant), typ)
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// enqueue adds a stanza to the device's queue as part of b; it goes out once b is committed. Stanzas carry the
// attributes id and from.
func (d *device) enqueue(b *batch, n waBinary.Node) error {
	id, _ := n.Attrs["id"].(string)
	typ, _ := n.Attrs["type"].(string)
	if n.Tag == "message" {
		typ = ""
	}
	data, err := waBinary.Marshal(n)
	if err != nil {
		return fmt.Errorf("encoding a %s for %s: %w", n.Tag, d.path(), err)
	}
	q := &queued{Key: confirmKey(n.Tag, id, n.Attrs["from"], n.Attrs["participant"], typ), Data: data}
	d.mu.Lock()
	defer d.mu.Unlock()
	q.seq = d.sequence()
	d.queue = append(d.queue, q)
	if b.j.db != nil {
		value, err := json.Marshal(q)
		if err != nil {
			return fmt.Errorf("encoding a queued %s: %w", n.Tag, err)
		}
		b.put(kindQueue, d.queueKey(q), value)
	}
	b.entries = append(b.entries, q)
	if b.devices == nil {
		b.devices = map[*device]struct{}{}
	}
	b.devices[d] = struct{}{}
	return nil
}

func (d *device) queueKey(q *queued) string { return fmt.Sprintf("%s/%020d", d.path(), q.seq) }

// confirm removes the oldest queued stanza with that key, if there is one.
func (d *device) confirm(b *batch, key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.queue, func(q *queued) bool { return q.Key == key })
	if i < 0 {
		return false
	}
	b.delete(kindQueue, d.queueKey(d.queue[i]))
	d.queue = slices.Delete(d.queue, i, i+1)
	if i < d.sent {
		d.sent--
	}
	return true
}

// flush writes what is queued and committed to the connection, in order.
func (d *device) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushLocked()
}

func (d *device) flushLocked() (count int) {
	if d.conn == nil || !d.active {
		return 0
	}
	for d.sent < len(d.queue) && d.queue[d.sent].ready.Load() {
		d.conn.sendRaw(d.queue[d.sent].Data)
		d.sent++
		count++
	}
	return count
}

// activate starts the flow of queued stanzas to c and returns how many went out.
func (d *device) activate(c *conn) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != c {
		return 0
	}
	d.active, d.sent = true, 0
	return d.flushLocked()
}

func (d *device) passivate(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == c {
		d.active = false
	}
}

// attach makes c the device's connection and returns the one it replaces, or nil.
func (d *device) attach(c *conn) *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.conn
	d.conn, d.active, d.sent = c, false, 0
	return old
}

func (d *device) detach(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == c {
		d.conn, d.active = nil, false
	}
}

func (d *device) connection() *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn
}

// takePreKey removes one uploaded key, nil when none is left; left is how many remain.
func (d *device) takePreKey(b *batch) (key *uploadedKey, left int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.preKeys) == 0 {
		return nil, 0
	}
	k := d.preKeys[0]
	d.preKeys = d.preKeys[1:]
	b.delete(kindUploaded, d.preKeyPath(k.id))
	return &k, len(d.preKeys)
}

func (d *device) preKeyPath(id uint32) string { return fmt.Sprintf("%s/%08d", d.path(), id) }

func (d *device) preKeyCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.preKeys)
}
