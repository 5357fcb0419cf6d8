package wa

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Bounds of setting up a connection. whatsmeow's contexts live as long as the connection, so none of them can bound this.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	responseTimeout  = 60 * time.Second // from the end of a request to the head of its answer
)

// newTransport reaches WhatsApp, or, with server ("host:port"), dials that one for every address and takes whatever
// certificate it shows: the simulator proves itself by the Noise chain instead.
func newTransport(server string) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   handshakeTimeout,
		ResponseHeaderTimeout: responseTimeout,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConns:          32,
	}
	if server != "" {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, server)
		}
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	}
	return t
}

// mediaTransport notes the status of an upload where its sender can read it: whatsmeow tells it in words only.
type mediaTransport struct{ next http.RoundTripper }

type mediaStatusKey struct{}

// withMediaStatus lets the media answers of requests made under ctx be read from status.
func withMediaStatus(ctx context.Context, status *int) context.Context {
	return context.WithValue(ctx, mediaStatusKey{}, status)
}

func (t mediaTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if status, ok := req.Context().Value(mediaStatusKey{}).(*int); ok && err == nil {
		*status = resp.StatusCode
	}
	return resp, err
}
