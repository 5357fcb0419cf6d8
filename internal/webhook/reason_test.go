package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/gateway"
)

// TestTheLogOfDeliveriesTellsNothingOfTheHubsNetwork posts in vain in every way that there is: whoever owns the webhook is told what to look at, and neither addresses nor
// resolvers nor the URL.
func TestTheLogOfDeliveriesTellsNothingOfTheHubsNetwork(t *testing.T) {
	t.Parallel()
	drops := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer drops.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	var plain net.ListenConfig
	closed, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	babbles, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = babbles.Close() }()
	go func() {
		for {
			conn, err := babbles.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = conn.Write([]byte("220 mail.corp.internal ESMTP\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	never := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-never }))
	defer silent.Close()
	defer close(never)

	resolver := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	dialing := func(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
		return &http.Client{Transport: &http.Transport{DialContext: dial}}
	}
	open := &http.Client{Transport: &http.Transport{}}
	defer open.CloseIdleConnections()
	guarded := egress.New(false).Client(egress.Options{})
	const path = "/hook?token=hush"
	for name, c := range map[string]struct {
		client *http.Client
		url    string
		want   string
	}{
		"guard, by its URL": {guarded, "http://127.0.0.1:8080" + path, "It leads to an address that the hub does not call."},
		"guard, when dialled": {
			dialing(resolver(&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 3, 7), Port: 5432}, Err: fmt.Errorf("%w: it is private", egress.ErrRefused)})),
			"http://db.example.com" + path, "It leads to an address that the hub does not call.",
		},
		"no such name": {
			dialing(resolver(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "x", Server: "10.96.0.10:53", IsNotFound: true}})),
			"http://x.example.com" + path, "Its name was not found.",
		},
		"resolver broken": {
			dialing(resolver(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: "x", Server: "10.96.0.10:53"}})),
			"http://x.example.com" + path, "Its name could not be looked up.",
		},
		"connection refused":  {open, "http://" + closed.Addr().String() + path, "It refused the connection."},
		"ended early":         {open, drops.URL + path, "It ended the connection before it had answered."},
		"certificate":         {open, secure.URL + path, "Its TLS certificate is not accepted."},
		"no TLS over there":   {open, strings.Replace(drops.URL, "http:", "https:", 1) + path, "No TLS connection could be made."},
		"not HTTP":            {open, "http://" + babbles.Addr().String() + path, "It could not be reached, or did not answer in HTTP."},
		"too slow":            {&http.Client{Timeout: time.Millisecond, Transport: open.Transport}, silent.URL + path, "It did not answer in time."},
		"something else":      {dialing(resolver(errors.New("dial tcp 10.0.3.7:5432: no route to host"))), "http://x.example.com" + path, "It could not be reached, or did not answer in HTTP."},
		"the URL is none":     {open, "http://%zz" + path, "The URL cannot be called."},
		"it answers, but 404": {secure.Client(), secure.URL + path, "It answered 404 instead of 2xx."},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Deps{Client: c.client})
			got := d.post(t.Context(), &gateway.Webhook{ID: "w", URL: c.url}, [][]byte{{1}}, gateway.Delivery{Notice: gateway.Notice{ID: "evt", Data: []byte("{}")}})
			if got.Error != c.want {
				t.Errorf("told %q, want %q", got.Error, c.want)
			}
		})
	}
}
