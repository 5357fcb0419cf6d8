package webui

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Bounds of failed sign-ins.
const (
	failuresAllowed   = 10 // of one address ...
	failureWindow     = 5 * time.Minute
	failingAddresses  = 4096 // ... as long as no more fail at a time
	failuresOfTheRest = 100  // of all the others together
)

// throttle counts failed sign-ins per address, in bounded memory. Keys are too long to be guessed; it keeps a leaked list of
// them from being tried out, and the log from being filled.
type throttle struct {
	clock func() time.Time

	mu        sync.Mutex
	addresses map[string]*failures
	rest      failures
}

type failures struct {
	count int
	until time.Time
}

func newThrottle(clock func() time.Time) *throttle {
	return &throttle{clock: clock, addresses: map[string]*failures{}}
}

// wait is how long the address has to wait before it may try again; 0: not at all.
func (t *throttle) wait(address string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	f, limit := t.addresses[address], failuresAllowed
	if f == nil {
		if len(t.addresses) < failingAddresses {
			return 0
		}
		f, limit = &t.rest, failuresOfTheRest
	}
	if f.count < limit || !now.Before(f.until) {
		return 0
	}
	return f.until.Sub(now)
}

// failed counts a failure of the address.
func (t *throttle) failed(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	f := t.addresses[address]
	if f == nil && len(t.addresses) >= failingAddresses {
		for a, old := range t.addresses {
			if !now.Before(old.until) {
				delete(t.addresses, a)
			}
		}
	}
	switch {
	case f != nil:
	case len(t.addresses) < failingAddresses:
		f = &failures{}
		t.addresses[address] = f
	default:
		f = &t.rest
	}
	if !now.Before(f.until) {
		f.count = 0
		f.until = now.Add(failureWindow)
	}
	f.count++
}

// addressOf is whom a request comes from: the peer, or, when that is a proxy in our own network, whom the proxy saw. IPv6 counts by
// its /64, which is one customer's.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if peer.IsLoopback() || peer.IsPrivate() {
		seen := r.Header.Get("X-Forwarded-For")
		if i := strings.LastIndexByte(seen, ','); i >= 0 {
			seen = seen[i+1:]
		}
		if a, err := netip.ParseAddr(strings.TrimSpace(seen)); err == nil {
			peer = a
		}
	}
	if peer = peer.Unmap(); peer.Is6() {
		if prefix, err := peer.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return peer.String()
}
