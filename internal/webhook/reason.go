package webhook

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/wapro/hub/internal/egress"
)

// reason is what a webhook's owner is told of a post that got no answer: one of these sentences, never the error's own words, which name the hub's resolvers, the
// addresses that they found inside its network, and the URL, which may hold a token. They are in no log either: they name the host, which is the customer's.
func reason(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok && e.Timeout() {
		return "It did not answer in time."
	}
	if errors.Is(err, egress.ErrRefused) {
		return "It leads to an address that the hub does not call."
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "Its name was not found."
		}
		return "Its name could not be looked up."
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "It refused the connection."
	case isCertificate(err):
		return "Its TLS certificate is not accepted."
	case isTLS(err):
		return "No TLS connection could be made."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "It ended the connection before it had answered."
	}
	return "It could not be reached, or did not answer in HTTP."
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func isTLS(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	remote, ok := errors.AsType[*net.OpError](err)
	return header || alert || errors.Is(err, http.ErrSchemeMismatch) || ok && remote.Op == "remote error" // an alert of the other side's
}
