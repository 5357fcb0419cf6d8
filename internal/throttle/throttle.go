// Package throttle slows down who tries keys that do not exist, over the API and at the sign-in together. It imports the standard
// library only.
package throttle

import (
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of failures.
const (
	failuresAllowed   = 10 // of one address ...
	failureWindow     = 5 * time.Minute
	failingAddresses  = 4096 // ... as long as no more fail at a time
	failuresOfTheRest = 100  // of all the others together
)

// Throttle counts keys that do not exist per address, in bounded memory. Keys are too long to be guessed; it makes a program that was left with
// old ones, or that tries them out, notice.
type Throttle struct {
	clock   func() time.Time
	trusted []netip.Prefix // proxies whose X-Forwarded-For is believed
	seed    maphash.Seed

	mu        sync.Mutex
	addresses map[string]*failures
	rest      failures
}

type failures struct {
	count int
	seen  [failuresAllowed]uint64 // hashes of the keys that were counted
	until time.Time
}

// LocalNetworks are loopback and private networks: where a proxy usually is.
func LocalNetworks() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// New makes a Throttle that believes what proxies in these networks say of whom they speak for.
func New(clock func() time.Time, trusted []netip.Prefix) *Throttle {
	return &Throttle{clock: clock, trusted: trusted, seed: maphash.MakeSeed(), addresses: map[string]*failures{}}
}

// Wait is how long who sent r has to wait before it is told of another key that it does not exist; 0: not at all. It is asked only when a key is
// unknown: behind one address there are many, and a key that exists opens always.
func (t *Throttle) Wait(r *http.Request) time.Duration { return t.wait(t.addressOf(r)) }

// Failed counts a key that does not exist. The same key counts once in a window, so that a program which was left with an old one does
// not close the door to its neighbours; an empty one counts each time.
func (t *Throttle) Failed(r *http.Request, key string) {
	var hash uint64
	if key != "" {
		hash = max(1, maphash.String(t.seed, key))
	}
	t.failed(t.addressOf(r), hash)
}

func (t *Throttle) wait(address string) time.Duration {
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

func (t *Throttle) failed(address string, key uint64) {
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
		*f = failures{until: now.Add(failureWindow)}
	}
	if key != 0 && slices.Contains(f.seen[:], key) {
		return
	}
	f.seen[f.count%len(f.seen)] = key
	f.count++
}

// addressOf is whom a request comes from: the peer, or, when that is a trusted proxy, whom the proxy saw: the last of X-Forwarded-For, what
// stands before it anybody can have written. IPv6 counts by its /64, which is one customer's.
func (t *Throttle) addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	peer = peer.Unmap()
	if slices.ContainsFunc(t.trusted, func(p netip.Prefix) bool { return p.Contains(peer.WithZone("")) }) {
		seen := r.Header.Values("X-Forwarded-For")
		if len(seen) > 0 {
			last := seen[len(seen)-1]
			if a, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])); err == nil {
				peer = a.Unmap()
			}
		}
	}
	if peer.Is6() {
		if prefix, err := peer.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return peer.String()
}
