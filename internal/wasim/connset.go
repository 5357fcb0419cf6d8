package wasim

import (
	"slices"
	"sync"
)

// connSet holds every open connection, so that Close and scripts reach them.
type connSet struct {
	mu     sync.Mutex
	conns  []*conn
	closed bool
	idle   sync.WaitGroup
}

func (s *connSet) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns = append(s.conns, c)
	s.idle.Add(1)
	return true
}

func (s *connSet) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.conns, c); i >= 0 {
		s.conns = slices.Delete(s.conns, i, i+1)
		s.idle.Done()
	}
}

func (s *connSet) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.conns)
}

// closeAll cuts every connection and waits until their handlers ended.
func (s *connSet) closeAll() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, c := range s.all() {
		c.drop()
	}
	s.idle.Wait()
}
