// Package httpapi is the room that speaks HTTP: it authenticates, decodes strictly, calls one method of another room,
// and renders what came of it. openapi.yaml describes every route; routes, models and access rules are made from it.
// It imports only the domain and declares what it needs of the other rooms in deps.go. It promises that a 2xx is
// answered after the commit (I1), that a key never reaches another tenant's things (I7), and that every wait, body and
// stream is bounded (I9).
package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/share"
)

// Bounds of a request. Text of MaxTextBytes may take six bytes each when escaped, hence the megabyte.
const (
	maxBody      = 1 << 20
	maxMediaBody = gateway.MaxMediaBytes/3*4 + 2<<20

	mediaTime  = 5 * time.Minute
	maxWait    = 60 * time.Second
	streamTime = time.Hour

	// Between the end of a request's time and the connection's: room to write the answer.
	answerTime = 15 * time.Second
)

// Server is the API. New makes it, Serve runs it, Stop ends it.
type Server struct {
	store    Store
	intake   Intake
	ledger   Ledger
	media    Media
	tenants  Tenants
	bulks    Bulks
	webhooks Webhooks
	log      *slog.Logger

	answered func(method, route string, status int, took time.Duration) // nil: nobody wants to know
	failures Failures                                                   // nil: no address is slowed down
	rates    Rates                                                      // nil: there are no limits

	sessions   WebSessions                 // nil: a cookie opens nothing
	sameOrigin *http.CrossOriginProtection // of requests that a cookie opens
	opts       Options

	echo     *echo.Echo
	http     *http.Server
	keys     *keyCache
	keyLooks chan struct{} // one token per key that is looked up
	waits    *waiters
	streams  *share.Places // of open streams, and requests that look at something as often
	watched  watchedBulks  // by streams
	uploads  *share.Places // of bulks that arrive
	stopping chan struct{} // closed by Stop: waits and streams end
	stopOnce sync.Once
}

// call is what is known of the request in hand.
type call struct {
	requestID string
	tenant    gateway.Tenant // of /api routes
	key       gateway.APIKey // that asked
	admin     bool           // the admin key asked
	manages   bool           // the key has the scope manage
}

// holder is who holds the places that the call takes: its tenant, but for the operator, who must be able to look when a tenant has taken all of its own.
func (k *call) holder() int64 {
	if k.admin {
		return 0
	}
	return k.tenant.Key
}

// noPlace is the refusal of who got none of the places that all tenants share; what is what they are for.
func noPlace(err error, code gateway.Code, what string) error {
	full, _ := errors.AsType[*share.Full](err)
	switch {
	case full == nil:
		return err
	case full.Own:
		return gateway.Errorf(code, "%d %s of this tenant already, which is its share of what all tenants have", full.Places, what)
	default:
		return gateway.Errorf(code, "%d %s already", full.Places, what)
	}
}

// New makes the API of deps. It starts nothing.
func New(deps Deps) (*Server, error) {
	opts := deps.Options.withDefaults()
	s := &Server{
		store: deps.Store, intake: deps.Intake, ledger: deps.Ledger, media: deps.Media, tenants: deps.Tenants, bulks: deps.Bulks,
		webhooks: deps.Webhooks,
		log:      deps.Log, answered: deps.Answered, sessions: deps.WebSessions, failures: deps.Failures, rates: deps.Rates, sameOrigin: http.NewCrossOriginProtection(), opts: opts,
		echo:     echo.New(),
		keys:     newKeyCache(opts.KeyCacheTTL, opts.Clock),
		keyLooks: make(chan struct{}, maxKeyLooks),
		streams:  share.New(opts.MaxStreams, opts.MaxStreams/4),
		uploads:  share.New(opts.MaxUploads, opts.MaxUploads/2),
		stopping: make(chan struct{}),
	}
	s.waits = newWaiters(deps.Store.Statuses, opts.PollInterval, opts.MaxWaiters, deps.Log)
	operations, err := readOperations(spec.JSON())
	if err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) { s.answerError(c, err) }
	s.echo.Use(s.around)
	s.register(operations, deps.Sandbox)
	s.http = &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       opts.RequestTime,
		WriteTimeout:      opts.RequestTime + answerTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Handler is the API without its listener. Waits and streams in it end with Stop.
func (s *Server) Handler() http.Handler { return s.echo }

// Front puts pages before the API: they get every request first and hand on what is not theirs. It is called before Serve.
func (s *Server) Front(pages http.Handler) { s.http.Handler = pages }

// Serve answers on l until Stop; it returns nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	}
	return nil
}

// Stop refuses new requests, ends waits and streams, and lets the requests in hand finish until ctx ends; then it cuts
// them off. It may be called twice.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stopping) })
	defer s.waits.close()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("stop the API: %w", err), s.http.Close())
	}
	return nil
}

// around is every request's outermost layer: an id, safe headers, and no panic and no error without an answer.
func (s *Server) around(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		start := s.opts.Clock()
		k := &call{requestID: requestID(c.Request().Header.Get(echo.HeaderXRequestID))}
		c.Set(callKey, k)
		h := c.Response().Header()
		h.Set(echo.HeaderXRequestID, k.requestID)
		h.Set(echo.HeaderXContentTypeOptions, "nosniff")
		h.Set(echo.HeaderCacheControl, "no-store")
		h.Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
		h.Set(echo.HeaderReferrerPolicy, "no-referrer")
		h.Set(echo.HeaderXFrameOptions, "DENY") // for browsers that do not know frame-ancestors
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http panics with this very value
					panic(p)
				}
				s.answerError(c, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
			if s.answered != nil {
				s.answered(c.Request().Method, c.Path(), c.Response().Status, s.opts.Clock().Sub(start))
			}
			if s.log.Enabled(c.Request().Context(), slog.LevelDebug) {
				s.log.DebugContext(c.Request().Context(), "request", "method", c.Request().Method, "route", c.Path(),
					"status", c.Response().Status, "took", s.opts.Clock().Sub(start), "requestId", k.requestID)
			}
		}()
		if err := next(c); err != nil {
			s.answerError(c, err)
		}
		return nil
	}
}

const callKey = "call"

func callOf(c echo.Context) *call {
	k, ok := c.Get(callKey).(*call)
	if !ok {
		// An error before the middleware, from echo itself.
		return &call{requestID: requestID("")}
	}
	return k
}

// requestID keeps the id a proxy gave, if it is harmless in a log, and makes one otherwise.
func requestID(given string) string {
	if len(given) >= 1 && len(given) <= 64 {
		harmless := true
		for _, c := range []byte(given) {
			harmless = harmless && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
		}
		if harmless {
			return given
		}
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
