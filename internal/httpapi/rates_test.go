package httpapi_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/ratelimit"
	"github.com/wapro/hub/internal/throttle"
)

// limited is a hub whose tenants may make so many requests a second, at a time that stands still.
func limited(t *testing.T, perSecond int) *hub {
	t.Helper()
	still := time.Now()
	return newHub(t, func(s *settings) {
		s.rates = ratelimit.New(ratelimit.Options{PerSecond: perSecond, Clock: func() time.Time { return still }})
		s.failures = throttle.New(time.Now, throttle.LocalNetworks())
	})
}

func TestATenantThatIsTooFastIsToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	h := limited(t, 2)
	_, other := h.tenant("other")
	left := func(got response) string {
		return got.header.Get("RateLimit-Limit") + " " + got.header.Get("RateLimit-Remaining") + " " + got.header.Get("RateLimit-Reset")
	}
	for want := 3; want >= 0; want-- {
		key := h.key
		if want%2 == 0 {
			key = h.newKey(h.algo) // the limit is the tenant's, however many keys it has
		}
		if got := h.do(request{path: "/api/algo/session", key: key}).want(http.StatusOK); !strings.HasPrefix(left(got), "4 "+strconv.Itoa(want)+" ") {
			t.Errorf("with %d left: %s", want, left(got))
		}
	}
	got := h.do(request{path: "/api/algo/message", body: hello, header: map[string]string{"Idempotency-Key": "k"}}).refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "")
	if got.header.Get("Retry-After") != "1" || left(got) != "4 0 2" {
		t.Errorf("Retry-After %q, %s", got.header.Get("Retry-After"), left(got))
	}
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d messages were accepted", n)
	}
	h.do(request{path: "/api/other/session", key: other}).want(http.StatusOK)
	if got := h.do(request{path: "/api/algo/session", key: h.adminKey}).want(http.StatusOK); got.header.Get("RateLimit-Limit") != "" {
		t.Error("the operator's key is limited")
	}
	// The operator allows more, at once.
	h.do(request{method: http.MethodPatch, path: "/admin/tenants/algo", key: h.adminKey, body: `{"requestsPerSecond":1000000}`}).want(http.StatusOK)
	if got := h.do(request{path: "/api/other/session", key: other}).want(http.StatusOK); got.header.Get("RateLimit-Limit") != "4" {
		t.Errorf("another tenant's limit is %s", got.header.Get("RateLimit-Limit"))
	}
	if got := h.do(request{path: "/api/algo/session"}); got.header.Get("RateLimit-Limit") != "2000000" {
		t.Errorf("its limit is now %s", got.header.Get("RateLimit-Limit"))
	}
}

func TestAKeyMayHaveALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	h := limited(t, 2)
	create := func(path, body string) (id, key string) {
		t.Helper()
		var made struct {
			ID, Key           string
			RequestsPerSecond int
		}
		h.do(request{method: http.MethodPost, path: path, key: h.adminKey, body: body}).want(http.StatusCreated).decode(&made)
		if made.RequestsPerSecond != 1 {
			t.Errorf("made %+v", made)
		}
		return made.ID, made.Key
	}
	id, slow := create("/admin/tenants/algo/keys", `{"requestsPerSecond":1}`)
	for want := 1; want >= 0; want-- {
		if got := h.do(request{path: "/api/algo/session", key: slow}).want(http.StatusOK); got.header.Get("RateLimit-Limit") != "2" || got.header.Get("RateLimit-Remaining") != strconv.Itoa(want) {
			t.Errorf("with %d left: %v", want, got.header)
		}
	}
	h.do(request{path: "/api/algo/session", key: slow}).refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "")
	h.do(request{path: "/api/algo/session", key: "none", header: h.signedIn(slow)}).refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "") // signing in with it gains nothing
	// What it was refused is left to the other keys: two of the tenant's four are used.
	for range 2 {
		h.do(request{path: "/api/algo/session"}).want(http.StatusOK)
	}
	h.do(request{path: "/api/algo/session"}).refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "")
	create("/admin/tenants/algo/keys/"+id+"/rotate", "") // the successor has the limit, too
	h.do(request{method: http.MethodPost, path: "/admin/tenants/algo/keys", key: h.adminKey, body: `{"requestsPerSecond":0}`}).
		refused(http.StatusUnprocessableEntity, gateway.CodeInvalidBody, "/requestsPerSecond")
}

func TestTryingKeysIsSlowedDown(t *testing.T) {
	t.Parallel()
	h := limited(t, 0)
	guess := func(from, key string) response {
		t.Helper()
		return h.do(request{path: "/api/algo/session", key: key, header: map[string]string{"X-Forwarded-For": from}})
	}
	for range 30 {
		guess("203.0.113.7", "wah_an-old-one").refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	}
	for i := range 9 {
		guess("203.0.113.7", "wah_"+strconv.Itoa(i)).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	}
	got := guess("203.0.113.7", "wah_one-more").refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "")
	if after, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || after < 1 || after > 300 {
		t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
	}
	// Behind one address there are many: who knows a key is not kept out by who does not.
	guess("203.0.113.7", h.newKey(h.algo)).want(http.StatusOK)
	guess("203.0.113.7", h.adminKey).want(http.StatusOK)
	guess("203.0.113.7", "wah_one-more").refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "")
	guess("203.0.113.8", h.key).want(http.StatusOK)
	guess("203.0.113.9", "wah_a-neighbour").refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	h.do(request{path: "/livez", key: "none", header: map[string]string{"X-Forwarded-For": "203.0.113.7"}}).want(http.StatusOK)
}

// TestNobodyIsLockedOutByTheFailuresOfOthers, from however many addresses they come.
func TestNobodyIsLockedOutByTheFailuresOfOthers(t *testing.T) {
	t.Parallel()
	failures := throttle.New(time.Now, throttle.LocalNetworks())
	h := newHub(t, func(s *settings) { s.failures = failures })
	for i := range 8192 {
		failures.Failed(&http.Request{RemoteAddr: "198." + strconv.Itoa(i>>16+18) + "." + strconv.Itoa(i>>8&255) + "." + strconv.Itoa(i&255) + ":1"}, strconv.Itoa(i))
	}
	fresh := map[string]string{"X-Forwarded-For": "203.0.113.7"}
	h.do(request{path: "/api/algo/session", key: "wah_wrong", header: fresh}).refused(http.StatusTooManyRequests, gateway.CodeRateLimited, "")
	h.do(request{path: "/api/algo/session", header: fresh}).want(http.StatusOK)
	h.do(request{path: "/admin/tenants", key: h.adminKey, header: fresh}).want(http.StatusOK)
}

// TestAnUnknownKeyIsNotLookedUpEachTime: a program that was left with an old key keeps no database busy; what is remembered is bounded.
func TestAnUnknownKeyIsNotLookedUpEachTime(t *testing.T) {
	t.Parallel()
	still := time.Now()
	h := newHub(t, func(s *settings) { s.options.Clock = func() time.Time { return still } })
	looks := h.fault.keyLooks.Load()
	for range 50 {
		h.do(request{path: "/api/algo/session", key: "wah_an-old-one"}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	}
	if n := h.fault.keyLooks.Load() - looks; n != 1 {
		t.Errorf("it was looked up %d times", n)
	}
	if n := httpapi.UnknownKeysKept(10_000); n < 1 || n > 4096 {
		t.Errorf("%d of 10000 are remembered", n)
	}
}

// TestEveryAnswerOfTheAPIHasItsSafetyHeaders, refusals and what is not there among them.
func TestEveryAnswerOfTheAPIHasItsSafetyHeaders(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options = httpapi.Options{} })
	for _, r := range []request{
		{path: "/"},
		{path: "/livez"},
		{path: "/openapi.json"},
		{path: "/nowhere"},
		{path: "/api/algo/session"},
		{path: "/api/algo/session", key: "wah_wrong"},
		{path: "/api/algo/message", body: hello},
		{path: "/api/algo/message", body: "{"},
		{method: http.MethodPut, path: "/api/algo/message"},
		{path: "/admin/tenants", key: h.adminKey},
	} {
		got := h.do(r)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s %s answers %d with %s %q", r.method, r.path, got.status, name, got.header.Get(name))
			}
		}
		if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Server") != "" {
			t.Errorf("%s tells %v", r.path, got.header)
		}
	}
}

func TestAFullQueueTakesNoMore(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.do(request{method: http.MethodPatch, path: "/admin/tenants/algo", key: h.adminKey, body: `{"queuedMessages":3}`}).want(http.StatusOK)
	h.text("919876543210", "one")
	h.do(request{path: "/api/algo/bulk", body: `{"message":"Hi","recipients":[{"to":"919876543211"},{"to":"919876543212"},{"to":"919876543213"}]}`}).
		refused(http.StatusTooManyRequests, gateway.CodeQueueFull, "")
	h.do(request{path: "/api/algo/bulk", body: `{"message":"Hi","recipients":[{"to":"919876543211"},{"to":"919876543212"}]}`}).want(http.StatusAccepted)
	header := map[string]string{"Idempotency-Key": "later"}
	got := h.do(request{path: "/api/algo/message", body: hello, header: header}).refused(http.StatusTooManyRequests, gateway.CodeQueueFull, "")
	if got.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if n := h.count(h.algo.Key); n != 3 {
		t.Errorf("%d messages", n)
	}
	// Not kept under its key: it is accepted when there is room.
	h.do(request{method: http.MethodPatch, path: "/admin/tenants/algo", key: h.adminKey, body: `{"queuedMessages":null}`}).want(http.StatusOK)
	h.do(request{path: "/api/algo/message", body: hello, header: header}).want(http.StatusAccepted)
}
