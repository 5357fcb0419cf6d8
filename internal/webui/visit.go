package webui

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"

	"github.com/wapro/hub/internal/gateway"
)

// visit is one request for a page.
type visit struct {
	*Site
	w         http.ResponseWriter
	r         *http.Request
	who       gateway.Visitor // the zero value when nobody signed in
	signedIn  bool
	token     string
	requestID string
}

// contentPolicy lets a page load what this hub serves and nothing else, run no inline script, and be shown in no frame.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// page serves a route: who visits, whether they may, and what to show when it fails.
func (s *Site) page(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := &visit{Site: s, w: w, r: req, requestID: newRequestID()}
		h := w.Header()
		h.Set("X-Request-Id", v.requestID)
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store") // pages show keys and messages
		h.Add("Vary", "Accept, Cookie")
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http panics with this very value
					panic(p)
				}
				v.fail(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		err := v.enter(r.access)
		if err == nil {
			err = r.serve(v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// errSignIn sends the visitor to the sign-in page and back.
var errSignIn = errors.New("sign in first")

// enter finds out who visits and whether the page is for them.
func (v *visit) enter(a access) error {
	if cookie, err := v.r.Cookie(v.cookie); err == nil && cookie.Value != "" {
		who, err := v.sessions.Visitor(v.r.Context(), cookie.Value)
		switch {
		case err == nil:
			v.who, v.signedIn, v.token = who, true, cookie.Value
		case gateway.CodeOf(err) != gateway.CodeUnauthorized:
			return err
		}
	}
	switch {
	case a == forAnybody:
		return nil
	case !v.signedIn:
		return errSignIn
	case a == forAdmin && !v.who.Admin:
		return gateway.Errorf(gateway.CodeForbidden, "this page needs the admin key")
	}
	return nil
}

// home is where a visitor starts.
func (v *visit) home() string {
	switch {
	case !v.signedIn:
		return "/signin"
	case v.who.Admin:
		return "/channels"
	}
	return "/channels/" + url.PathEscape(v.who.TenantID)
}

// goTo sends the browser to another page.
func (v *visit) goTo(path string) error {
	if v.r.Header.Get("HX-Request") == "true" {
		v.w.Header().Set("HX-Redirect", path)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}

// fail shows what went wrong and what to do. What has no code is our fault: it is logged and told to nobody.
func (v *visit) fail(err error) {
	if errors.Is(err, errSignIn) {
		back := "/"
		if v.r.Method == http.MethodGet {
			back = v.r.URL.RequestURI()
		}
		if v.r.Header.Get("HX-Request") == "true" {
			back = local(v.r.Header.Get("HX-Current-URL"))
		}
		_ = v.goTo("/signin?next=" + url.QueryEscape(back)) // redirecting cannot fail
		return
	}
	p := v.problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		v.log.ErrorContext(v.r.Context(), "page failed", "path", v.r.URL.Path, "code", p.Code, "requestId", v.requestID, "err", err)
	}
	if p.Code == string(gateway.CodeUnauthorized) && v.signedIn {
		v.fail(errSignIn) // it ended in between
		return
	}
	if err := v.renderStatus(p.Status, "error", view{Title: p.Title, Data: struct {
		Problem *problem
		Remedy  remedy
	}{p, v.remedies[p.Code]}}); err != nil {
		v.log.DebugContext(v.r.Context(), "the visitor has gone", "requestId", v.requestID, "err", err)
	}
}

// problemOf is the problem that an error means: the API's own, or one of ours in the same form.
func (v *visit) problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		status := http.StatusInternalServerError
		switch e.Code { //nolint:exhaustive // what pages themselves refuse
		case gateway.CodeNotFound:
			status = http.StatusNotFound
		case gateway.CodeForbidden:
			status = http.StatusForbidden
		case gateway.CodeUnavailable:
			status = http.StatusServiceUnavailable
		case gateway.CodeRateLimited:
			status = http.StatusTooManyRequests
		case gateway.CodeInvalidParameter:
			status = http.StatusUnprocessableEntity
		}
		if status != http.StatusInternalServerError {
			return &problem{Title: titleOf(string(e.Code)), Detail: e.Message, Code: string(e.Code), Status: status, RequestID: v.requestID}
		}
	}
	return &problem{
		Title: "Internal", Detail: "Something broke on our side. The log has it under this request id.", Code: string(gateway.CodeInternal),
		Status: http.StatusInternalServerError, RequestID: v.requestID,
	}
}

// local is the path and query of an address, and / when it is not one of ours: nobody is sent to another site.
func local(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Path == "" || u.Path[0] != '/' || len(u.Path) > 1 && (u.Path[1] == '/' || u.Path[1] == '\\') || u.Opaque != "" {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}).RequestURI()
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
