package wa

import (
	"bytes"
	"maps"
	"sync"
)

// rememberedMost is how many sessions half of a sessionMemory holds, of one to three KB each.
const rememberedMost = 2048

// sessionMemory remembers, for all clients of a process, Signal sessions as the last sends have written them, to save reading them again for
// the next message to the same person. The zero value is empty.
type sessionMemory struct {
	mu       sync.Mutex
	now, old map[sessionKey][]byte // when now is full it becomes old
}

type sessionKey struct {
	of      *sessionCache
	cleared int
	address string
}

// sessionCache is the part of one client, and so of one lease: nobody else moves the ratchets of its sessions. It holds only what a write that
// has committed wrote, and only if no other write of the client's sessions was under way meanwhile: which of two is in the database cannot be told.
// What is about to be written is forgotten first. Nothing is kept of what was read, nor of what is written inside a transaction of whatsmeow's,
// which may yet be undone. It stands in for reads alone; a nil one remembers nothing.
type sessionCache struct {
	memory *sessionMemory

	// Under memory.mu.
	begun   int // writes
	open    int // writes that are under way
	cleared int // times that everything was forgotten
}

// recall splits addresses into the sessions that are known and those that have to be read.
func (c *sessionCache) recall(addresses []string) (known map[string][]byte, unknown []string) {
	known = make(map[string][]byte, len(addresses))
	if c == nil {
		return known, addresses
	}
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	for _, address := range addresses {
		key := c.key(address)
		session := c.memory.now[key]
		if session == nil {
			session = c.memory.old[key]
		}
		if session == nil {
			unknown = append(unknown, address)
			continue
		}
		known[address] = bytes.Clone(session)
	}
	return known, unknown
}

// begin forgets everything before a write; end takes what is in the database for sure since then, nil after any other write.
func (c *sessionCache) begin() (end func(committed map[string][]byte)) {
	if c == nil {
		return func(map[string][]byte) {}
	}
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	c.cleared++
	return c.beginLocked()
}

// beginSend is begin for the last write of a send, which touches the sessions of addresses alone.
func (c *sessionCache) beginSend(sessions map[string][]byte) (end func(committed map[string][]byte)) {
	if c == nil {
		return func(map[string][]byte) {}
	}
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	for address := range sessions {
		delete(c.memory.now, c.key(address))
		delete(c.memory.old, c.key(address))
	}
	return c.beginLocked()
}

func (c *sessionCache) beginLocked() (end func(committed map[string][]byte)) {
	alone := c.open == 0
	c.open++
	c.begun++
	mine := c.begun
	return func(committed map[string][]byte) {
		m := c.memory
		m.mu.Lock()
		defer m.mu.Unlock()
		c.open--
		if !alone || c.begun != mine {
			return
		}
		for address, session := range committed {
			if len(m.now) >= rememberedMost || m.now == nil {
				m.now, m.old = make(map[sessionKey][]byte), m.now
			}
			m.now[c.key(address)] = session
		}
	}
}

func (c *sessionCache) key(address string) sessionKey { return sessionKey{c, c.cleared, address} }

// with is known and what was read besides.
func with(known, read map[string][]byte) map[string][]byte {
	maps.Copy(known, read)
	return known
}
