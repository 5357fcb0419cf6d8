package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/testkit/fakeclock"
)

// TestARotatedKeyWorksUntilItsEnd: both keys open while programs are given the new one, then the new one alone.
func TestARotatedKeyWorksUntilItsEnd(t *testing.T) {
	t.Parallel()
	clock := fakeclock.At(time.Now())
	h := newHub(t, func(s *settings) { s.options = httpapi.Options{Clock: clock.Now} })
	admin := func(r request) response { t.Helper(); r.key = h.adminKey; return h.do(r) }
	type made struct {
		ID, Key, Name, OldKeyID string
		Scopes                  []string
		OldKeyExpiresAt         time.Time
	}
	old := decode[made](admin(request{path: "/admin/tenants/algo/keys", body: `{"name":"till","scopes":["read"]}`}).want(http.StatusCreated))
	rotate := "/admin/tenants/algo/keys/" + old.ID + "/rotate"
	for _, body := range []string{`{"graceSeconds":-1}`, `{"graceSeconds":2592001}`, `{"graceSeconds":1.5}`, `{"graceSeconds":"60"}`, `{"grace":60}`, `[]`} {
		if got := admin(request{path: rotate, body: body}); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s answers %d", body, got.status)
		}
	}
	h.do(request{path: rotate, body: `{}`}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
	admin(request{path: "/admin/tenants/algo/keys/none/rotate", body: `{}`}).refused(http.StatusNotFound, gateway.CodeNotFound, "")

	again := map[string]string{"Idempotency-Key": "rotate-1"}
	fresh := decode[made](admin(request{path: rotate, body: `{"graceSeconds":600}`, header: again}).want(http.StatusCreated))
	if fresh.Key == old.Key || fresh.Name != "till" || strings.Join(fresh.Scopes, " ") != "read" || fresh.OldKeyID != old.ID {
		t.Errorf("rotated to %+v", fresh)
	}
	if left := time.Until(fresh.OldKeyExpiresAt); left < 5*time.Minute || left > 10*time.Minute {
		t.Errorf("the old one ends in %v", left)
	}
	if replay := decode[made](admin(request{path: rotate, body: `{"graceSeconds":600}`, header: again}).want(http.StatusCreated)); replay.Key != "" || replay.ID != fresh.ID {
		t.Errorf("the replay is %+v", replay)
	}
	admin(request{path: rotate, body: `{}`}).refused(http.StatusConflict, gateway.CodeConflict, "")
	if list := admin(request{path: "/admin/tenants/algo/keys"}).want(http.StatusOK); strings.Count(string(list.body), fresh.OldKeyExpiresAt.Format(time.RFC3339)[:16]) != 1 {
		t.Errorf("the list does not show the end: %s", list.body)
	}
	for _, key := range []string{old.Key, fresh.Key} {
		h.do(request{path: "/api/algo/session", key: key}).want(http.StatusOK)
		h.do(request{path: "/api/algo/message", key: key, body: hello}).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	}
	clock.Advance(10 * time.Minute)
	h.do(request{path: "/api/algo/session", key: old.Key}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	h.do(request{path: "/api/algo/session", key: fresh.Key}).want(http.StatusOK)

	// At once: what was leaked is of no use a moment later.
	last := decode[made](admin(request{path: "/admin/tenants/algo/keys/" + fresh.ID + "/rotate", body: `{"graceSeconds":0}`}).want(http.StatusCreated))
	h.do(request{path: "/api/algo/session", key: fresh.Key}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	h.do(request{path: "/api/algo/session", key: last.Key}).want(http.StatusOK)
}

// TestAKeyReplacesItself: a tenant's own key with the scope manage makes its successor, which can do no more than it could, and ends by itself; the
// operator who revokes it revokes what came of it.
func TestAKeyReplacesItself(t *testing.T) {
	t.Parallel()
	clock := fakeclock.At(time.Now())
	h := newHub(t, func(s *settings) { s.options = httpapi.Options{Clock: clock.Now} })
	type made struct {
		ID, Key, Name, OldKeyID, MadeBy string
		Scopes                          []string
		OldKeyExpiresAt                 time.Time
	}
	admin := func(r request) response { t.Helper(); r.key = h.adminKey; return h.do(r) }
	first := decode[made](admin(request{path: "/admin/tenants/algo/keys", body: `{"name":"shop","scopes":["send","manage"]}`}).want(http.StatusCreated))
	rotate := func(key, body string) response {
		t.Helper()
		return h.do(request{path: "/api/algo/key/rotate", key: key, body: body})
	}
	for _, body := range []string{`{"graceSeconds":59}`, `{"graceSeconds":2592001}`, `{"scopes":[]}`, `{"scopes":["admin"]}`, `{"scopes":null}`, `{"name":"x"}`, `[]`} {
		if got := rotate(first.Key, body); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s answers %d %s", body, got.status, got.body)
		}
	}
	rotate(first.Key, `{"scopes":["read"]}`).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	rotate(h.newKey(h.algo, "send", "read"), `{}`).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	rotate(h.adminKey, `{}`).refused(http.StatusForbidden, gateway.CodeForbidden, "")

	again := map[string]string{"Idempotency-Key": "own-1"}
	ask := request{path: "/api/algo/key/rotate", key: first.Key, body: `{"graceSeconds":600}`, header: again}
	second := decode[made](h.do(ask).want(http.StatusCreated))
	if second.Key == "" || second.Key == first.Key || second.Name != "shop" || strings.Join(second.Scopes, " ") != "send manage" || second.OldKeyID != first.ID {
		t.Errorf("rotated to %+v", second)
	}
	if replay := decode[made](h.do(ask).want(http.StatusCreated)); replay.Key != "" || replay.ID != second.ID {
		t.Errorf("the replay is %+v", replay)
	}
	rotate(first.Key, `{}`).refused(http.StatusConflict, gateway.CodeConflict, "")
	rotate(second.Key, `{}`).refused(http.StatusConflict, gateway.CodeConflict, "") // no more than two
	for _, key := range []string{first.Key, second.Key} {
		h.do(request{path: "/api/algo/message", key: key, body: hello}).want(http.StatusAccepted)
		h.do(request{path: "/api/algo/session", key: key}).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	}
	clock.Advance(10 * time.Minute)
	rotate(first.Key, `{}`).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	h.do(request{path: "/api/algo/message", key: second.Key, body: hello}).want(http.StatusAccepted)

	other := decode[made](admin(request{path: "/admin/tenants/algo/keys", body: `{"name":"stolen"}`}).want(http.StatusCreated))
	thief := decode[made](rotate(other.Key, `{}`).want(http.StatusCreated))
	list := decode[struct{ Data []made }](admin(request{path: "/admin/tenants/algo/keys"}).want(http.StatusOK))
	if last := list.Data[len(list.Data)-1]; last.ID != thief.ID || last.MadeBy != other.ID {
		t.Errorf("the list does not show whose it is: %+v", last)
	}
	admin(request{method: http.MethodDelete, path: "/admin/tenants/algo/keys/" + other.ID}).want(http.StatusNoContent)
	for _, key := range []string{other.Key, thief.Key} {
		h.do(request{path: "/api/algo/session", key: key}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	}
}

func TestTheAdminSetsWhatATenantIsAllowed(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	patch := func(body string) response {
		t.Helper()
		return h.do(request{method: http.MethodPatch, path: "/admin/tenants/algo", key: h.adminKey, body: body})
	}
	for body, want := range map[string]string{
		`{"requestsPerSecond":50}`:      `"requestsPerSecond":50`,
		`{"queuedMessages":1000000000}`: `"queuedMessages":1000000000`,
	} {
		if got := patch(body).want(http.StatusOK); !strings.Contains(string(got.body), want) {
			t.Errorf("%s answers %s", body, got.body)
		}
	}
	if got := patch(`{"requestsPerSecond":null}`).want(http.StatusOK); !strings.Contains(string(got.body), `"requestsPerSecond":null,"queuedMessages":1000000000`) &&
		!strings.Contains(string(got.body), `"queuedMessages":1000000000,"requestsPerSecond":null`) {
		t.Errorf("answers %s", got.body)
	}
	for _, body := range []string{`{"requestsPerSecond":0}`, `{"requestsPerSecond":-1}`, `{"queuedMessages":1.5}`, `{"queuedMessages":1000000001}`, `{"id":"x"}`} {
		if got := patch(body); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s answers %d", body, got.status)
		}
	}
	h.do(request{method: http.MethodPatch, path: "/admin/tenants/nobody", key: h.adminKey, body: `{}`}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{method: http.MethodPatch, path: "/admin/tenants/algo", body: `{"requestsPerSecond":9}`}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
}
