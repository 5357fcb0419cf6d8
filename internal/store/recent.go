package store

import (
	"slices"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// What a store remembers of messages, on Postgres. None of it is ever believed: a change goes by the version that was seen, and what is
// outdated is read again (quick.go). So it may be forgotten, or wrong, at any moment.

// seenMessage is a message in the state of that version.
type seenMessage struct {
	m    gateway.Message
	seen version
}

const (
	recentMost = 2048            // messages of half a recent
	recentText = 2048            // bytes of text of a message that is remembered; longer ones are read again
	recentFor  = 2 * time.Second // what is looked at for an outcome: the tenant's settings come with the message
)

// recent remembers the messages that were claimed or changed here last, to save reading them again for the outcome and for the receipts that
// follow it within moments. The zero value is empty.
type recent struct {
	mu       sync.Mutex
	now, old map[recentKey]*recentMessage // when now is full it becomes old
}

// recentKey names a message of a tenant by its id or by its stanza id.
type recentKey struct {
	tenantKey int64
	name      string
}

type recentMessage struct {
	seenMessage
	at time.Time
}

func (r *recent) findLocked(key recentKey) *recentMessage {
	if v := r.now[key]; v != nil {
		return v
	}
	return r.old[key]
}

// get is what is remembered of the message that key names, for at most maxAge (zero: for ever), and since when.
func (r *recent) get(key recentKey, maxAge time.Duration) (m gateway.Message, seen version, at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.findLocked(key)
	if v == nil || maxAge > 0 && time.Since(v.at) > maxAge {
		return m, "", at, false
	}
	return v.m, v.seen, v.at, true
}

// ended reports whether a message is known to have ended, which no claim can change.
func (r *recent) ended(tenantKey int64, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.findLocked(recentKey{tenantKey, id})
	return v != nil && v.m.Status.Final()
}

// put remembers a message as it was just stored.
func (r *recent) put(m gateway.Message, seen version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := [2]recentKey{{m.TenantKey, m.ID}, {m.TenantKey, m.WhatsAppID}}
	if len(m.Text) > recentText {
		for _, key := range names {
			delete(r.now, key)
			delete(r.old, key)
		}
		return
	}
	if len(r.now) >= 2*recentMost || r.now == nil {
		r.now, r.old = make(map[recentKey]*recentMessage), r.now
	}
	v := &recentMessage{seenMessage{m, seen}, time.Now()}
	for _, key := range names {
		r.now[key] = v
	}
}

// drop forgets what key names.
func (r *recent) drop(key recentKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.findLocked(key)
	if v == nil {
		return
	}
	for _, name := range []string{v.m.ID, v.m.WhatsAppID} {
		delete(r.now, recentKey{key.tenantKey, name})
		delete(r.old, recentKey{key.tenantKey, name})
	}
}

const (
	aheadFor   = time.Second
	aheadLanes = 256 // beyond so many, what is outdated is forgotten
)

// ahead remembers, by lane, the oldest messages that could be claimed, in their order. Whoever is accepted later comes after them; one that gets
// its place between them, for its time has come or its bulk goes on, is passed by those that were read before it, for a second at most.
type ahead struct {
	mu    sync.Mutex
	lanes map[aheadKey]*aheadLane
}

type aheadKey struct {
	tenantKey int64
	lane      gateway.Priority
}

type aheadLane struct {
	fence gateway.Fence
	read  time.Time
	list  []seenMessage
}

// next takes the oldest message, if that of the ticket is among those that are known. What another process changed since is found out by its version.
func (a *ahead) next(f gateway.Fence, ticket gateway.Ticket, now time.Time) (m gateway.Message, seen version, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lanes[aheadKey{f.TenantKey, ticket.Lane}]
	if l == nil || l.fence != f || now.Sub(l.read) > aheadFor {
		return m, "", false
	}
	for _, v := range l.list {
		if v.m.ID == ticket.MessageID {
			first := l.list[0]
			if l.list = l.list[1:]; len(l.list) == 0 {
				delete(a.lanes, aheadKey{f.TenantKey, ticket.Lane})
			}
			return first.m, first.seen, true
		}
	}
	return m, "", false
}

func (a *ahead) put(f gateway.Fence, ticket gateway.Ticket, list []seenMessage, read time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lanes == nil {
		a.lanes = make(map[aheadKey]*aheadLane)
	}
	if len(a.lanes) >= aheadLanes {
		for key, l := range a.lanes {
			if read.Sub(l.read) > aheadFor {
				delete(a.lanes, key)
			}
		}
	}
	key := aheadKey{f.TenantKey, ticket.Lane}
	if long := slices.IndexFunc(list, func(v seenMessage) bool { return len(v.m.Text) > recentText }); long >= 0 {
		list = list[:long]
	}
	if len(list) == 0 {
		delete(a.lanes, key)
		return
	}
	a.lanes[key] = &aheadLane{fence: f, read: read, list: list}
}

// drop forgets the lanes of a tenant.
func (a *ahead) drop(tenantKey int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, lane := range gateway.Priorities() {
		delete(a.lanes, aheadKey{tenantKey, lane})
	}
}
