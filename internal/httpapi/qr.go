package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"rsc.io/qr"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

const (
	mimeSVG = "image/svg+xml"
	mimePNG = "image/png"

	// quietZone is the white border a scanner needs, in modules (ISO/IEC 18004 asks for four).
	quietZone = 4
	// pngScale is the size of a module in pixels; WhatsApp's codes have about 61 modules.
	pngScale = 8
)

// GetSessionQr answers with the QR code on show.
func (s *Server) GetSessionQr(c echo.Context, _ string) error {
	code, err := s.pairingCode(c.Request().Context(), callOf(c).tenant.Key)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderVary, echo.HeaderAccept)
	kind := preferred(c.Request().Header.Get(echo.HeaderAccept), mimeJSON, mimeSVG, mimePNG)
	if kind == mimeJSON {
		return sendJSON(c, code)
	}
	image, err := qrImage(code.Code, kind)
	if err != nil {
		return err
	}
	return send(c, &answer{IdempotencyAnswer: gateway.IdempotencyAnswer{
		Status: http.StatusOK, Header: map[string]string{"Content-Type": kind}, Body: image,
	}})
}

// pairingCode returns the QR code on show, or gateway.CodeNotPairing.
func (s *Server) pairingCode(ctx context.Context, tenantKey int64) (spec.QrCode, error) {
	session, err := s.readSession(ctx, tenantKey)
	if err != nil {
		return spec.QrCode{}, err
	}
	if s.showsCode(&session) && session.PairingPhone != "" {
		return spec.QrCode{}, gateway.Errorf(gateway.CodeNotPairing,
			"there is no QR code to show: the session shows a code to be entered on the phone; POST session/connect with method qr shows a QR code instead")
	}
	if !s.showsCode(&session) {
		return spec.QrCode{}, gateway.Errorf(gateway.CodeNotPairing,
			"there is no code to show: the session is %s; POST session/connect starts pairing", session.State)
	}
	return codeOf(&session), nil
}

// codeOf is the code on show, whether scanned or entered.
func codeOf(session *gateway.Session) spec.QrCode {
	method := spec.Qr
	if session.PairingPhone != "" {
		method = spec.Code
	}
	return spec.QrCode{Method: method, Code: session.PairingCode, ExpiresAt: session.PairingExpiresAt.UTC()}
}

func (s *Server) showsCode(session *gateway.Session) bool {
	return session.State == gateway.SessionPairing && session.PairingCode != "" && s.opts.Clock().Before(session.PairingExpiresAt)
}

func qrImage(content, kind string) ([]byte, error) {
	code, err := qr.Encode(content, qr.L) // the level WhatsApp Web uses itself
	if err != nil {
		return nil, fmt.Errorf("encode the QR code: %w", err)
	}
	if kind == mimePNG {
		code.Scale = pngScale
		return code.PNG(), nil
	}
	return qrSVG(code), nil
}

// qrSVG draws the dark modules as one path, a run of modules per stroke.
func qrSVG(code *qr.Code) []byte {
	size := strconv.Itoa(code.Size + 2*quietZone)
	var b bytes.Buffer
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ` + size + ` ` + size + `" shape-rendering="crispEdges">`)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/><path fill="#000" d="`)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			start := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > start {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", start+quietZone, y+quietZone, x-start, x-start)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.Bytes()
}

// preferred picks the offer an Accept header (RFC 9110, 12.5.1) likes best, the first offer in doubt.
func preferred(accept string, offers ...string) string {
	best, bestQ, bestExact := offers[0], 0.0, -1
	for i, offer := range offers {
		q, exact := quality(accept, offer)
		if q > bestQ || q == bestQ && q > 0 && exact > bestExact {
			best, bestQ, bestExact = offers[i], q, exact
		}
	}
	return best
}

// quality is the weight accept gives offer, and how exactly it names it.
func quality(accept, offer string) (q float64, exact int) {
	exact = -1
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		this := -1
		switch {
		case kind == offer:
			this = 2
		case strings.HasSuffix(kind, "/*") && strings.HasPrefix(offer, strings.TrimSuffix(kind, "*")):
			this = 1
		case kind == "*/*":
			this = 0
		}
		if this <= exact || this < 0 {
			continue
		}
		exact, q = this, 1
		if w, err := strconv.ParseFloat(params["q"], 64); err == nil && w >= 0 && w <= 1 {
			q = w
		}
	}
	return q, exact
}
