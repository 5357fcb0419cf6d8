// Package egress makes the HTTP clients that call addresses which customers chose: webhooks and media.url. It promises
// that such a request reaches a public address only, whatever the URL looked like and whatever its name resolves to, and
// that nothing it does is without bound. It imports no other room.
package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// MaxURL is the longest URL that is taken, in bytes.
const MaxURL = 2048

// ErrRefused is an address that the hub does not call. It is permanent for the URL as it is.
var ErrRefused = errors.New("the hub does not call this address")

// ErrTooLarge is an answer that is longer than its limit.
var ErrTooLarge = errors.New("the answer is too large")

// Guard decides which addresses may be called. It is immutable.
type Guard struct {
	private  bool
	guardian *ssrf.Guardian
}

// New makes a guard. With private, addresses of private networks, of carriers' shared space and of this host may be called too;
// never those that are nobody's or a trap: unspecified, link-local (where clouds answer with credentials), multicast, reserved,
// documentation, 6to4, Teredo and NAT64.
func New(private bool) *Guard {
	opts := []ssrf.Option{ssrf.WithAnyPort()}
	if private {
		opts = append(opts,
			ssrf.WithAllowedV4Prefixes(
				netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
				netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8")),
			ssrf.WithAllowedV6Prefixes(netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("::1/128")))
	}
	return &Guard{private: private, guardian: ssrf.New(opts...)}
}

// Options bound a client; the zero value of each means its default.
type Options struct {
	Time         time.Duration // of a whole exchange, the body included; 10 s
	Answer       time.Duration // until the answer begins; Time
	IdleConns    int           // kept open to all hosts together; 32
	ConnsPerHost int           // at a time; 8
	Resolver     *net.Resolver // net.DefaultResolver
	RootCAs      func(*http.Transport)

	dialed func(address string) error // for tests: after the check, instead of the connection
}

// Client makes a client that calls what the guard lets through. It follows no redirect (the 3xx is the answer), uses no proxy of the
// environment, keeps no cookie and asks for no compression, so that what is counted is what was sent. The address is looked at
// when it is dialled, so a name that resolves differently a moment later gains nothing. The caller bounds the body with Limit.
func (g *Guard) Client(o Options) *http.Client {
	if o.Time == 0 {
		o.Time = 10 * time.Second
	}
	if o.Answer == 0 {
		o.Answer = o.Time
	}
	if o.IdleConns == 0 {
		o.IdleConns = 32
	}
	if o.ConnsPerHost == 0 {
		o.ConnsPerHost = 8
	}
	dialer := &net.Dialer{
		Timeout: min(o.Time, 10*time.Second), KeepAlive: 30 * time.Second, Resolver: o.Resolver,
		ControlContext: func(_ context.Context, network, address string, raw syscall.RawConn) error {
			if err := g.checkDial(network, address, raw); err != nil {
				return err
			}
			if o.dialed != nil {
				return o.dialed(address)
			}
			return nil
		},
	}
	transport := &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    min(o.Time, 10*time.Second),
		ResponseHeaderTimeout:  o.Answer,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           o.IdleConns,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        o.ConnsPerHost,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
	if o.RootCAs != nil {
		o.RootCAs(transport)
	}
	return &http.Client{
		Transport:     checked{g, transport},
		Timeout:       o.Time,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checked refuses what Check refuses also when nobody asked Check before, such as a URL that was stored by an older version.
type checked struct {
	guard *Guard
	next  *http.Transport
}

func (c checked) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := c.guard.checkURL(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper closes the body, also when it refuses
		}
		return nil, err
	}
	return c.next.RoundTrip(req)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (c checked) CloseIdleConnections() { c.next.CloseIdleConnections() }

// Check reads a URL that a customer gave and refuses what cannot be called in any case: another scheme than http and https, a user,
// a host that is written as a number or names this host, a refused address. A name that resolves to a refused address is found when
// it is dialled. The error is ErrRefused and its text may be shown.
func (g *Guard) Check(raw string) (*url.URL, error) {
	if len(raw) > MaxURL {
		return nil, fmt.Errorf("%w: a URL has at most %d bytes", ErrRefused, MaxURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be read as a URL", ErrRefused)
	}
	return u, g.checkURL(u)
}

func (g *Guard) checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: it must begin with http:// or https://", ErrRefused)
	case u.Opaque != "" || u.Hostname() == "":
		return fmt.Errorf("%w: it has no host", ErrRefused)
	case u.User != nil:
		return fmt.Errorf("%w: it must not hold a user or a password", ErrRefused)
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || !allowedPort(uint16(n)) {
			return errPort
		}
	}
	return g.checkHost(u.Hostname())
}

var errPort = fmt.Errorf("%w: its port must be 80, 443, or 1024 and above", ErrRefused)

// allowedPort keeps the hub from speaking to mail servers and the like: HTTP has its two ports, below 1024 is what others rely on.
func allowedPort(port uint16) bool { return port == 80 || port == 443 || port >= 1024 }

func (g *Guard) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.checkAddr(addr)
	}
	for _, c := range []byte(host) {
		if c <= ' ' || c > '~' || strings.IndexByte(`%\/:@`, c) >= 0 {
			return fmt.Errorf("%w: its host may hold ASCII letters, digits, dashes and dots only; write other scripts as xn--", ErrRefused)
		}
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" {
		return fmt.Errorf("%w: it has no host", ErrRefused)
	}
	if numeric(last) {
		// Some resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1 (https://url.spec.whatwg.org/#ends-in-a-number-checker).
		return fmt.Errorf("%w: its host is a number, but not an address as it is usually written", ErrRefused)
	}
	if !g.private && last == "localhost" {
		return fmt.Errorf("%w: it is on the hub's own host (EGRESS_ALLOW_PRIVATE)", ErrRefused)
	}
	return nil
}

func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		label = hex
		return !strings.ContainsFunc(label, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
	}
	return !strings.ContainsFunc(label, func(r rune) bool { return r < '0' || r > '9' })
}

func (g *Guard) checkDial(network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !slices.Contains([]string{"tcp4", "tcp6"}, network) {
		return fmt.Errorf("%w: %s %s is no TCP address", ErrRefused, network, address)
	}
	if !allowedPort(ap.Port()) {
		return errPort
	}
	return g.checkAddr(ap.Addr())
}

func (g *Guard) checkAddr(addr netip.Addr) error {
	// ::ffff:127.0.0.1 is 127.0.0.1 to the kernel. An address with a zone is in no prefix and so always refused.
	if err := g.guardian.SafeAddr(addr.Unmap()); err != nil {
		hint := ""
		if !g.private && New(true).guardian.SafeAddr(addr.Unmap()) == nil {
			hint = " (EGRESS_ALLOW_PRIVATE)"
		}
		return fmt.Errorf("%w: it is not on the public internet%s", ErrRefused, hint)
	}
	return nil
}

// Limit reads from r and fails with ErrTooLarge as soon as there are more than n bytes.
func Limit(r io.Reader, n int64) io.Reader { return &limited{r, n} }

type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		n, err = int(l.left), ErrTooLarge
	}
	l.left -= int64(n)
	return n, err
}
