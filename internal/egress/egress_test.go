package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// errStopped ends a dial that the guard let through: no test calls the internet.
var errStopped = errors.New("would have been dialled")

// dial asks for raw with a client that resolves by answer, and tells what stopped it.
func dial(t *testing.T, g *Guard, raw string, resolver *net.Resolver) error {
	t.Helper()
	client := g.Client(Options{Resolver: resolver, Time: time.Minute, dialed: func(string) error { return errStopped }})
	t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, raw, nil)
	if err != nil {
		return ErrRefused // it does not get so far as to be sent
	}
	resp, err := client.Do(req)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatalf("%s was answered", raw)
	}
	return err
}

// corpus is what people have got past guards with. Every one of them leads to an address that is not public.
var corpus = []string{
	// As it is usually written.
	"http://127.0.0.1/", "http://127.8.8.8:8080/", "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/",
	"http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://0.0.0.0/", "http://0.1.2.3/", "http://224.0.0.1/", "http://239.255.255.250:1900/",
	"http://240.0.0.1/", "http://255.255.255.255/", "http://192.0.0.8/", "http://192.0.2.1/", "http://198.18.0.1/", "http://198.51.100.1/",
	"http://203.0.113.1/", "http://192.88.99.1/",
	"http://[::1]/", "http://[::]/", "http://[fe80::1]/", "http://[fc00::1]/", "http://[fd12:3456::1]/", "http://[ff02::1]/", "http://[fec0::1]/",
	"http://[2001:db8::1]/", "http://[100::1]/", "http://[3fff::1]/",
	// An address of version 4 inside one of version 6.
	"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:10.0.0.1]/", "http://[::ffff:169.254.169.254]/", "http://[::127.0.0.1]/",
	"http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::7f00:1]/", "http://[2002:7f00:1::]/", "http://[2002:a9fe:a9fe::1]/",
	"http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", "http://[::ffff:0:127.0.0.1]/",
	// With a zone.
	"http://[fe80::1%25eth0]/", "http://[fe80::1%25lo]/", "http://[::1%25lo]/", "http://[2606:4700::1%25eth0]/",
	// As numbers.
	"http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001/", "http://0177.0.0.1/", "http://0177.0.0.01/", "http://127.1/",
	"http://127.0.1/", "http://0/", "http://0x0/", "http://00000177.0.0.1/", "http://0xA9FEA9FE/", "http://2852039166/", "http://425.510.425.510/",
	"http://0251.0376.0251.0376/", "http://0xa9.0xfe.0xa9.0xfe/", "http://169.254.43518/", "http://127.0.0.1.:80/", "http://127.0.0.0x1/",
	// Names of this host, dots at the end, other scripts.
	"http://localhost/", "http://LOCALHOST:8080/", "http://localhost./", "http://x.localhost/", "http://127.0.0.1./", "http://10.0.0.1.../",
	"http://127。0。0。1/", "http://①②⑦.⓪.⓪.①/", "http://localhost%00.example.com/", "http://ｌｏｃａｌｈｏｓｔ/",
	// Users, and what is taken for the host.
	"http://example.com@127.0.0.1/", "http://127.0.0.1@example.com/", "http://user:password@example.com/", "http://example.com:80@10.0.0.1/",
	"http://example.com#@127.0.0.1:80@x/", "http://127.0.0.1:80\\@example.com/", "http://example.com\\@127.0.0.1/", "http://@127.0.0.1/",
	"http://127.0.0.1%2eexample.com@10.0.0.1", "http:127.0.0.1", "http:///127.0.0.1", "http://", "http://:80/", "//127.0.0.1/", "127.0.0.1:80",
	// Ports and schemes.
	"http://example.com:22/", "http://example.com:25/", "https://example.com:587/", "http://example.com:0/", "http://example.com:65536/", "http://example.com:99999999999/",
	"http://example.com:-80/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "ftp://example.com/", "unix:///run/docker.sock", "dict://127.0.0.1:11211/",
	"javascript:alert(1)", "http+unix://%2Frun%2Fdocker.sock/", "", " ", "\x00", "http://exa mple.com/", "http://example.com\r\nHost: x/",
}

func TestNothingThatIsNotPublicIsCalled(t *testing.T) {
	t.Parallel()
	guard := New(false)
	// Whatever is asked for, this resolver says 127.0.0.1: what passes the first look must fail the second.
	resolver := answering(t, "127.0.0.1")
	for _, raw := range corpus {
		if err := dial(t, guard, raw, resolver); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// What Check says is what a person reads when a webhook or a message is refused; it needs no network.
func TestWhatIsRefusedInAnyCaseIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	guard := New(false)
	for _, raw := range corpus {
		if strings.Contains(raw, "#@") {
			continue // this one is example.com
		}
		if _, err := guard.Check(raw); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if _, err := guard.Check("https://example.com/" + strings.Repeat("x", MaxURL)); !errors.Is(err, ErrRefused) {
		t.Errorf("a URL without end: %v", err)
	}
}

func TestPublicAddressesAreCalled(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"http://93.184.216.34/", "https://93.184.216.34:8443/x?y=z", "http://[2606:4700::6810:85e5]/", "http://[::ffff:93.184.216.34]/", "https://example.com/",
		"https://hooks.example.com./a", "http://xn--bcher-kva.example:3000/", "https://under_score.example.com/", "http://1e100.net/", "https://0xdead.example/", "http://example.com:443/",
	} {
		for _, private := range []bool{false, true} {
			guard := New(private)
			if _, err := guard.Check(raw); err != nil {
				t.Errorf("%q is refused at once: %v", raw, err)
			}
			if err := dial(t, guard, raw, answering(t, "93.184.216.34")); !errors.Is(err, errStopped) {
				t.Errorf("%q: %v", raw, err)
			}
		}
	}
}

func TestPrivateNetworksCanBeAllowedAndNothingElse(t *testing.T) {
	t.Parallel()
	guard := New(true)
	for _, raw := range []string{
		"http://127.0.0.1:3001/", "http://10.1.2.3/", "http://172.20.0.5:8080/", "http://192.168.0.9/", "http://100.64.1.1/", "http://[::1]:9000/", "http://[fd00::5]/",
		"http://localhost:8080/", "http://receiver:8080/", "http://[::ffff:127.0.0.1]/",
	} {
		if _, err := guard.Check(raw); err != nil {
			t.Errorf("%q is refused at once: %v", raw, err)
		}
		if err := dial(t, guard, raw, answering(t, "10.0.0.7")); !errors.Is(err, errStopped) {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, raw := range []string{
		"http://0.0.0.0/", "http://169.254.169.254/", "http://[fe80::1]/", "http://[::]/", "http://224.0.0.1/", "http://255.255.255.255/", "http://2130706433/", "http://[::1%25lo]/",
		"http://192.0.2.1/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://10.0.0.1:22/", "http://user@10.0.0.1/", "ftp://10.0.0.1/",
	} {
		if err := dial(t, guard, raw, answering(t, "169.254.169.254")); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// The address is looked at when it is dialled: a name that is public when somebody looks it up and private when it is called
// (DNS rebinding), and one that is both at once.
func TestANameIsJudgedByTheAddressThatIsDialled(t *testing.T) {
	t.Parallel()
	guard := New(false)
	rebinding := answering(t, "93.184.216.34", "169.254.169.254")
	if err := dial(t, guard, "http://rebind.example/", rebinding); !errors.Is(err, errStopped) {
		t.Errorf("the public answer: %v", err)
	}
	for range 3 {
		if err := dial(t, guard, "http://rebind.example/", rebinding); !errors.Is(err, ErrRefused) || errors.Is(err, errStopped) {
			t.Errorf("the private answer: %v", err)
		}
	}
	for _, address := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "100.100.100.200"} {
		if err := dial(t, guard, "https://private.example:8443/", answering(t, address)); !errors.Is(err, ErrRefused) {
			t.Errorf("a name of %s: %v", address, err)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var secret atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { secret.Add(1) }))
	defer inside.Close()
	outside := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusTemporaryRedirect))
	defer outside.Close()
	client := New(true).Client(Options{Time: time.Minute})
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, outside.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect || secret.Load() != 0 {
		t.Errorf("answered %d, and %d requests went on", resp.StatusCode, secret.Load())
	}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	if err := dial(t, New(false), "http://127.0.0.1/", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("through a proxy: %v", err)
	}
	if err := dial(t, New(false), "http://public.example/", answering(t, "93.184.216.34")); !errors.Is(err, errStopped) {
		t.Errorf("not dialled itself: %v", err)
	}
}

func TestAnAnswerEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{0: nil, 9: nil, 10: nil, 11: ErrTooLarge, 1 << 16: ErrTooLarge} {
		got, err := io.ReadAll(Limit(strings.NewReader(strings.Repeat("x", size)), 10))
		if !errors.Is(err, want) || len(got) != min(size, 10) {
			t.Errorf("%d bytes: %d read, %v", size, len(got), err)
		}
	}
}

func TestATricklingAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // the caller's time is over
		close(gone)
	}))
	defer server.Close()
	client := New(true).Client(Options{Time: 2 * time.Second})
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Fatal("an answer without end was read to its end")
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the connection is still open")
	}
}

// FuzzURL: whatever a URL looks like, what is dialled is public.
func FuzzURL(f *testing.F) {
	for _, raw := range corpus {
		f.Add(raw)
	}
	f.Add("https://93.184.216.34:8443/x")
	guard := New(false)
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := guard.Check(raw)
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if u.User != nil || len(raw) > MaxURL || u.Scheme != "http" && u.Scheme != "https" {
			t.Errorf("%q is let through", raw)
		}
		if ip := net.ParseIP(strings.TrimSuffix(u.Hostname(), ".")); ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()) {
			t.Errorf("%q is let through", raw)
		}
	})
}

// answering is a resolver that gives one address per question, the last for ever.
func answering(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		asked := 0
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			answer, v4 := dnsAnswer(buf[:n], addresses[min(asked, len(addresses)-1)])
			if v4 {
				asked++
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// dnsAnswer answers a question for an address of version 4 with address, and any other with nothing (RFC 1035, section 4).
func dnsAnswer(query []byte, address string) (answer []byte, v4 bool) {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	v4 = binary.BigEndian.Uint16(query[end+1:]) == 1
	answer = append(answer, query[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0) // an answer, recursion done; one question
	answer = append(answer, query[12:end+5]...)
	if v4 {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the same name, A, IN, not to be kept
		answer = append(answer, net.ParseIP(address).To4()...)
	}
	return answer, v4
}
