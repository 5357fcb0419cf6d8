package throttle

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func from(peer string, forwarded ...string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	return r
}

func TestAnAddressThatTriesManyKeysWaits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	th := New(func() time.Time { return now }, LocalNetworks())
	guesser, neighbour := from("203.0.113.7:1000"), from("203.0.113.8:1000")
	for range 1000 { // a program with an old key
		th.Failed(guesser, "the same")
	}
	if th.Wait(guesser) != 0 {
		t.Error("one key, however often, closed the door")
	}
	for i := range failuresAllowed - 1 {
		if th.Wait(guesser) != 0 {
			t.Errorf("closed after %d", i)
		}
		th.Failed(guesser, fmt.Sprint("another ", i))
	}
	if wait := th.Wait(guesser); wait <= 0 || wait > failureWindow {
		t.Errorf("waits %v", wait)
	}
	if th.Wait(neighbour) != 0 {
		t.Error("a neighbour waits too")
	}
	now = now.Add(failureWindow)
	if th.Wait(guesser) != 0 {
		t.Error("still closed after its time")
	}
	for range failuresAllowed {
		th.Failed(neighbour, "")
	}
	if th.Wait(neighbour) == 0 {
		t.Error("empty keys do not count each")
	}
}

func TestOnlyTrustedProxiesAreBelieved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		r       *http.Request
		want    string
	}{
		"no proxy":                 {LocalNetworks(), from("203.0.113.7:1"), "203.0.113.7"},
		"a stranger that pretends": {LocalNetworks(), from("203.0.113.7:1", "198.51.100.1"), "203.0.113.7"},
		"a proxy":                  {LocalNetworks(), from("10.0.0.2:1", "198.51.100.1"), "198.51.100.1"},
		"what the client added":    {LocalNetworks(), from("127.0.0.1:1", "1.1.1.1, 198.51.100.1"), "198.51.100.1"},
		"in a line of its own":     {LocalNetworks(), from("127.0.0.1:1", "1.1.1.1", "198.51.100.1"), "198.51.100.1"},
		"nonsense":                 {LocalNetworks(), from("10.0.0.2:1", "unknown"), "10.0.0.2"},
		"none is trusted":          {nil, from("10.0.0.2:1", "198.51.100.1"), "10.0.0.2"},
		"one that was named":       {[]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, from("203.0.113.7:1", "198.51.100.1"), "198.51.100.1"},
		"mapped":                   {LocalNetworks(), from("[::ffff:127.0.0.1]:1", "::ffff:198.51.100.1"), "198.51.100.1"},
		"version 6":                {LocalNetworks(), from("[2001:db8:1:2:3::4]:1"), "2001:db8:1:2::/64"},
	} {
		if got := New(time.Now, c.trusted).addressOf(c.r); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestMemoryIsBoundedHoweverManyFail(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	th := New(func() time.Time { return now }, nil)
	for i := range failingAddresses + 200 {
		th.Failed(from(fmt.Sprintf("%d.%d.%d.1:1", 11+i>>16, i>>8&255, i&255)), "x")
	}
	if len(th.addresses) > failingAddresses {
		t.Errorf("%d addresses", len(th.addresses))
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("10.0.0.1:1", "1.1.1.1, 2.2.2.2")
	f.Add("[::1]:80", "fe80::1%eth0")
	f.Add("x", ",")
	th := New(time.Now, LocalNetworks())
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		if got := th.addressOf(from(peer, forwarded)); len(got) > len(peer)+50 {
			t.Errorf("%q and %q make %q", peer, forwarded, got)
		}
	})
}
