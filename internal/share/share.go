// Package share divides places, of which a process has so many, among tenants: each may hold some of them at most, so that one that takes all it gets leaves some to the
// others (I6). It imports the standard library only.
package share

import (
	"context"
	"fmt"
	"sync"
)

// Places are places to hold for a while. The methods may be called from any goroutine.
type Places struct {
	all, each int

	mu    sync.Mutex
	taken int
	of    map[int64]int // by tenant, of those that hold any
	freed chan struct{} // closed when one was freed
}

// New makes all places, of which a tenant holds each at most. Both are at least 1.
func New(all, each int) *Places {
	return &Places{all: max(all, 1), each: max(each, 1), of: map[int64]int{}, freed: make(chan struct{})}
}

// Full is the error of who gets no place.
type Full struct {
	Places int  // that are held already
	Own    bool // all of them by who asks
}

func (e *Full) Error() string {
	if e.Own {
		return fmt.Sprintf("%d places are held already, a tenant's share", e.Places)
	}
	return fmt.Sprintf("%d places are held already, all that there are", e.Places)
}

// Take takes a place if there is one, which leave gives back, once; else the error is a *Full. Tenant 0, the operator, may hold all.
func (p *Places) Take(tenantKey int64) (leave func(), err error) {
	leave, _, err = p.take(tenantKey)
	return leave, err
}

// Wait is Take that waits for a place until ctx ends, whose error it then returns.
func (p *Places) Wait(ctx context.Context, tenantKey int64) (leave func(), err error) {
	for {
		leave, freed, err := p.take(tenantKey)
		if err == nil {
			return leave, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *Places) take(tenantKey int64) (leave func(), freed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case tenantKey != 0 && p.of[tenantKey] >= p.each:
		return nil, p.freed, &Full{Places: p.each, Own: true}
	case p.taken >= p.all:
		return nil, p.freed, &Full{Places: p.all}
	}
	p.taken++
	p.of[tenantKey]++
	return sync.OnceFunc(func() { p.leave(tenantKey) }), nil, nil
}

func (p *Places) leave(tenantKey int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[tenantKey]--; p.of[tenantKey] == 0 {
		delete(p.of, tenantKey)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}
