// Package webui is the room with the pages: the API's documentation, signing in, and the dashboard. Everything in it is embedded;
// no page asks another host for anything. It imports only the domain. What a page shows and does goes through the API, in this
// process, with the visitor's own sign-in: a page can do and see nothing that the API would refuse (I7). Pages work under a strict
// Content-Security-Policy: no inline script, style or handler.
package webui

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Sessions knows who signed in in which browser.
type Sessions interface {
	// SignIn opens a session for who holds an API key; the token goes into the cookie. gateway.CodeUnauthorized.
	SignIn(ctx context.Context, key string) (token string, err error)
	// SignOut ends a session, if it is one.
	SignOut(ctx context.Context, token string) error
	// Visitor is who signed in with this token. gateway.CodeUnauthorized.
	Visitor(ctx context.Context, token string) (gateway.Visitor, error)
}

// Failures slows down who tries keys that do not exist.
type Failures interface {
	Wait(r *http.Request) time.Duration // before who sent r may try another key; 0: not at all
	Failed(r *http.Request, key string) // the same key counts once, an empty one each time
}

// Deps are what the pages need. All but Clock are required.
type Deps struct {
	API         http.Handler // gets every request that is not for a page, and what pages ask of it
	Sessions    Sessions
	Failures    Failures
	Cookie      string // the name of the cookie that API takes for a key
	Description []byte // of the API, OpenAPI 3.1 in JSON
	Errors      []byte // docs/errors.md
	Statuses    []byte // docs/message-status.md
	Sandbox     bool   // phones are simulated
	Log         *slog.Logger
	Clock       func() time.Time // nil: time.Now
}

// Site is the pages. It starts nothing.
type Site struct {
	api       http.Handler
	sessions  Sessions
	cookie    string
	sandbox   bool
	log       *slog.Logger
	clock     func() time.Time
	mux       *http.ServeMux
	assets    *assets
	templates *templates
	remedies  map[string]remedy
	failures  Failures

	documentation *documentation
}

// New makes the pages of deps.
func New(deps Deps) (*Site, error) {
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	s := &Site{
		api: deps.API, sessions: deps.Sessions, cookie: deps.Cookie, sandbox: deps.Sandbox, log: deps.Log, clock: deps.Clock,
		mux: http.NewServeMux(), remedies: readRemedies(deps.Errors), failures: deps.Failures,
	}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("load the assets: %w", err)
	}
	if s.templates, err = loadTemplates(s.assets.path); err != nil {
		return nil, fmt.Errorf("load the templates: %w", err)
	}
	if s.documentation, err = readDocumentation(deps, s.remedies); err != nil {
		return nil, fmt.Errorf("make the documentation: %w", err)
	}
	s.mux.Handle("GET /assets/", s.assets)
	sameOrigin := http.NewCrossOriginProtection()
	for _, r := range s.routes() {
		s.mux.Handle(r.pattern, sameOrigin.Handler(s.page(r)))
	}
	s.mux.HandleFunc("/", s.elsewhere)
	return s, nil
}

// routes lists every page. A file of pages adds its own here.
func (s *Site) routes() []route {
	var all []route
	for _, some := range [][]route{
		s.signInRoutes(),
		s.docsRoutes(),
		s.channelRoutes(),
		s.messageRoutes(),
		s.bulkRoutes(),
		s.channelPageRoutes(),
		s.hubRoutes(),
	} {
		all = append(all, some...)
	}
	return all
}

// route is one page.
type route struct {
	pattern string // as http.ServeMux has it: "GET /channels/{id}"
	access  access
	serve   func(*visit) error
}

// access is who may see a page. Which channel is whose the API decides.
type access int

const (
	forSignedIn access = iota // anybody else is asked to sign in
	forAdmin                  // as forSignedIn; a tenant's key is refused
	forAnybody
)

// ServeHTTP answers for the pages and hands everything else to the API untouched.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if ofAPI(r.URL.Path) {
		s.api.ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// ofAPI tells at a glance what is no page: messages must not pay for the pages' router.
func ofAPI(path string) bool {
	for _, prefix := range []string{"/api/", "/admin/", "/sandbox/", "/livez", "/readyz", "/openapi.json"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// elsewhere answers what is no page: a browser with a page that says so, every program as the API does.
func (s *Site) elsewhere(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !wantsPage(r) {
		s.api.ServeHTTP(w, r)
		return
	}
	s.page(route{access: forAnybody, serve: func(v *visit) error {
		if r.URL.Path == "/" {
			return v.goTo(v.home())
		}
		return gateway.Errorf(gateway.CodeNotFound, "there is no page %s", r.URL.Path)
	}}).ServeHTTP(w, r)
}

// wantsPage tells browsers, which name HTML, from programs, which take anything.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }
