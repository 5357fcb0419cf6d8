package webui

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// maxSignIn bounds the body of a sign-in.
const maxSignIn = 8 << 10

func (s *Site) signInRoutes() []route {
	return []route{
		{"GET /signin", forAnybody, (*visit).showSignIn},
		{"POST /signin", forAnybody, (*visit).signIn},
		{"POST /signout", forAnybody, (*visit).signOut},
	}
}

type signInView struct {
	Next    string
	Refused string
}

func (v *visit) showSignIn() error {
	next := v.r.FormValue("next")
	if v.signedIn {
		return v.goTo(v.next(next))
	}
	return v.render("signin", view{Title: "Sign in", Nav: "signin", Data: signInView{Next: next}})
}

// next is where to go after signing in.
func (v *visit) next(asked string) string {
	if path := local(asked); asked != "" && path != "/" && !strings.HasPrefix(path, "/signin") {
		return path
	}
	return v.home()
}

func (v *visit) signIn() error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxSignIn)
	if err := v.r.ParseForm(); err != nil {
		return gateway.Errorf(gateway.CodeInvalidParameter, "the form cannot be read")
	}
	key, next := strings.TrimSpace(v.r.PostFormValue("key")), v.r.PostFormValue("next")
	refuse := func(status int, why string) error {
		return v.renderStatus(status, "signin", view{Title: "Sign in", Nav: "signin", Data: signInView{Next: next, Refused: why}})
	}
	if key == "" {
		return refuse(http.StatusUnprocessableEntity, "Enter a key.")
	}
	token, err := v.sessions.SignIn(v.r.Context(), key)
	if gateway.CodeOf(err) == gateway.CodeUnauthorized && err != nil {
		if wait := v.failures.Wait(v.r); wait > 0 {
			seconds := int(wait.Seconds()) + 1
			v.w.Header().Set("Retry-After", strconv.Itoa(seconds))
			return refuse(http.StatusTooManyRequests, fmt.Sprintf("Too many keys that do not exist came from your address. Try again in %d minutes.", (seconds+59)/60))
		}
		v.failures.Failed(v.r, "")
		return refuse(http.StatusUnauthorized, "There is no such key. Keys begin with wah_ unless somebody chose them; one that was revoked opens nothing.")
	}
	if err != nil {
		return err
	}
	if v.signedIn { // with another key: that session is over
		if err := v.sessions.SignOut(v.r.Context(), v.token); err != nil {
			return err
		}
	}
	v.setCookie(token, int(gateway.WebSessionMax.Seconds()))
	if v.who, err = v.sessions.Visitor(v.r.Context(), token); err != nil {
		return err
	}
	v.signedIn, v.token = true, token
	return v.goTo(v.next(next))
}

func (v *visit) signOut() error {
	if v.token != "" {
		if err := v.sessions.SignOut(v.r.Context(), v.token); err != nil {
			return err
		}
	}
	v.setCookie("", -1)
	return v.goTo("/signin")
}

func (v *visit) setCookie(value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{ //nolint:gosec // Secure where the browser came over TLS: a hub on loopback has none
		Name: v.cookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: v.r.TLS != nil || strings.EqualFold(v.r.Header.Get("X-Forwarded-Proto"), "https"),
	})
}
