package httpapi_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

// I7: the answer to a stranger's key is the same to the letter, whether the tenant exists or not.
func TestForeignKeyLearnsNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	_, foreign := h.tenant("foreign")
	secret := h.text("919876543210", "for nobody else")
	for _, path := range []string{
		"GET /api/%/messages", "GET /api/%/messages/" + secret.ID, "GET /api/%/messages/" + secret.ID + "/events",
		"POST /api/%/messages/" + secret.ID + "/cancel", "POST /api/%/messages/" + secret.ID + "/retry", "POST /api/%/messages/status",
		"POST /api/%/message", "POST /api/%/media", "GET /api/%/session", "GET /api/%/session/qr", "GET /api/%/session/events",
		"POST /api/%/session/connect", "POST /api/%/session/logout", "GET /api/%/settings", "GET /api/%/bulk",
		"PATCH /api/%/settings", "POST /api/%/queue/pause", "POST /api/%/queue/purge", "POST /api/%/queue/release",
		"POST /api/%/bulk", "GET /api/%/bulk/1", "POST /api/%/bulk/1/cancel", "GET /api/%/bulk/1/results.csv",
	} {
		method, path, _ := strings.Cut(path, " ")
		var answers []string
		for _, tenant := range []string{"algo", "does-not-exist", "NOT%20A%20TENANT"} {
			got := h.do(request{method: method, path: strings.Replace(path, "%", tenant, 1), key: foreign}).
				refused(http.StatusForbidden, gateway.CodeForbidden, "")
			answers = append(answers, strings.Replace(string(got.body), decode[problem](got).RequestID, "", 1))
		}
		if answers[0] != answers[1] || answers[0] != answers[2] {
			t.Errorf("%s %s tells tenants apart:\n%s", method, path, strings.Join(answers, ""))
		}
	}
	if m, err := h.store.Message(t.Context(), h.algo.Key, secret.ID); err != nil || m.Status != gateway.StatusQueued {
		t.Errorf("the message is %v, %v", m.Status, err)
	}
}

// I7: an own key with another tenant's ids finds nothing.
func TestForeignIdsDoNotExist(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	_, foreign := h.tenant("foreign")
	secret := h.text("919876543210", "for nobody else")
	at := "/api/foreign/messages/" + secret.ID
	h.do(request{path: at, key: foreign}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: at + "?wait=1ms", key: foreign}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: at + "/events", key: foreign}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{method: http.MethodPost, path: at + "/cancel", key: foreign}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{method: http.MethodPost, path: at + "/retry", key: foreign}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	got := h.do(request{path: "/api/foreign/messages/status", key: foreign, body: `{"ids":["` + secret.ID + `"]}`}).want(http.StatusOK)
	if string(got.body) != `{"data":[],"missing":["`+secret.ID+`"]}`+"\n" {
		t.Errorf("statuses: %s", got.body)
	}
	if got := h.do(request{path: "/api/foreign/messages", key: foreign}).want(http.StatusOK); strings.Contains(string(got.body), secret.ID) {
		t.Errorf("list: %s", got.body)
	}
}

// I7: whoever names the hash of a file that the hub has for another tenant is answered as for one that nobody has. Only once the message's own file was
// fetched is it answered from the hub's, and only for as long as it is kept because of that.
func TestTheHashOfAReceivedFileOpensNothing(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64
	h := newHub(t, func(s *settings) {
		s.options.Clock = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	})
	foreign, key := h.tenant("foreign")
	body := `{"to":"919876543210","media":{"mimetype":"image/png","data":"` + png + `"}}`
	theirs := decode[messageBody](h.do(request{path: "/api/algo/media", body: body}).want(http.StatusAccepted)).Media.Sha256
	receive := func(id, sha256 string) (path string) {
		t.Helper()
		must(t, h.store.ReceiveInbound(t.Context(), &gateway.Inbound{
			ID: id, TenantKey: foreign.Key, StanzaID: id, Chat: "77@lid", Sender: "77@lid", Type: gateway.TypeImage, At: time.Now(), ReceivedAt: time.Now(),
			Media: &gateway.InboundMedia{MimeType: "image/png", Size: 7, SHA256: sha256, DirectPath: "/v"},
		}))
		return "/api/foreign/inbound/" + id + "/media"
	}
	forged, nobodys := receive("forged", theirs), receive("nobodys", strings.Repeat("ab", 32))
	one := h.do(request{path: forged, key: key}).refused(http.StatusConflict, gateway.CodeSessionOffline, "")
	two := h.do(request{path: nobodys, key: key}).refused(http.StatusConflict, gateway.CodeSessionOffline, "")
	if decode[problem](one).Detail != decode[problem](two).Detail {
		t.Errorf("told apart: %s %s", one.body, two.body)
	}

	must(t, h.store.KeepInboundFetched(t.Context(), foreign.Key, "forged"))
	got := h.do(request{path: forged, key: key, keepRaw: true}).want(http.StatusOK)
	file, err := io.ReadAll(got.raw)
	must(t, err)
	must(t, got.raw.Close())
	if base64.StdEncoding.EncodeToString(file) != png {
		t.Errorf("its own file: %q", file)
	}
	passed.Store(int64(gateway.InboundFileAge))
	h.do(request{path: forged, key: key}).refused(http.StatusConflict, gateway.CodeSessionOffline, "")
}

func TestAdminKeyOpensEveryTenant(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.do(request{path: "/api/algo/message", key: h.adminKey, body: hello}).want(http.StatusAccepted)
	h.do(request{path: "/api/nobody/message", key: h.adminKey, body: hello}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: "/api/Not-One/session", key: h.adminKey}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: "/sandbox/phones/919876543210/messages", key: h.adminKey}).want(http.StatusOK)
}

func TestScopedKeyDoesOnlyWhatItIsFor(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	read, send := h.newKey(h.algo, "read"), h.newKey(h.algo, "send")
	h.do(request{path: "/api/algo/message", key: read, body: hello}).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	h.do(request{path: "/api/algo/messages", key: read}).want(http.StatusOK)
	h.do(request{path: "/api/algo/session", key: read}).want(http.StatusOK)
	h.do(request{path: "/api/algo/session/qr", key: read}).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
	h.do(request{path: "/api/algo/message", key: send, body: hello}).want(http.StatusAccepted)
	h.do(request{path: "/api/algo/messages", key: send}).refused(http.StatusForbidden, gateway.CodeScopeMissing, "")
}

func TestTenantsAndKeysLiveAndDie(t *testing.T) {
	t.Parallel()
	// A long-lived cache must not keep a revoked key alive.
	h := newHub(t, func(s *settings) { s.options = httpapi.Options{KeyCacheTTL: time.Hour} })
	admin := func(r request) response { t.Helper(); r.key = h.adminKey; return h.do(r) }
	got := admin(request{path: "/admin/tenants", body: `{"id":"shop","name":"The shop"}`}).want(http.StatusCreated)
	if got.header.Get("Location") != "/admin/tenants/shop" {
		t.Errorf("Location %q", got.header.Get("Location"))
	}
	admin(request{path: "/admin/tenants", body: `{"id":"shop"}`}).refused(http.StatusConflict, gateway.CodeTenantExists, "")
	for _, id := range []string{"", "-shop", "Shop", "shop!", strings.Repeat("s", 64), strings.Repeat("s", 100)} {
		admin(request{path: "/admin/tenants", body: `{"id":"` + id + `"}`}).refused(422, gateway.CodeInvalidTenant, "/id")
	}
	admin(request{path: "/admin/tenants", body: `{"name":"x"}`}).refused(422, gateway.CodeInvalidBody, "/id")
	admin(request{path: "/admin/tenants", body: `{"id":"x","key":"y"}`}).refused(422, gateway.CodeUnknownField, "/key")
	if list := admin(request{path: "/admin/tenants"}).want(http.StatusOK); !strings.Contains(string(list.body), `"The shop"`) {
		t.Errorf("tenants: %s", list.body)
	}

	type created struct{ ID, Key string }
	admin(request{path: "/admin/tenants/nobody/keys", body: `{}`}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	admin(request{path: "/admin/tenants/shop/keys", body: `{"scopes":["everything"]}`}).refused(422, gateway.CodeInvalidBody, "/scopes/0")
	one := decode[created](admin(request{path: "/admin/tenants/shop/keys", body: `{"name":"till"}`}).want(http.StatusCreated))
	two := decode[created](admin(request{method: http.MethodPost, path: "/admin/tenants/shop/keys"}).want(http.StatusCreated))
	if !strings.HasPrefix(one.Key, "wah_") || len(one.Key) != 47 || one.Key == two.Key {
		t.Errorf("keys %q and %q", one.Key, two.Key)
	}
	list := admin(request{path: "/admin/tenants/shop/keys"}).want(http.StatusOK)
	if !strings.Contains(string(list.body), one.ID) || strings.Contains(string(list.body), one.Key) {
		t.Errorf("keys: %s", list.body)
	}
	session := "/api/shop/session"
	h.do(request{path: session, key: one.Key}).want(http.StatusOK)
	admin(request{method: http.MethodDelete, path: "/admin/tenants/algo/keys/" + one.ID}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	admin(request{method: http.MethodDelete, path: "/admin/tenants/shop/keys/" + one.ID}).want(http.StatusNoContent)
	admin(request{method: http.MethodDelete, path: "/admin/tenants/shop/keys/" + one.ID}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: session, key: one.Key}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")

	h.do(request{path: session, key: two.Key}).want(http.StatusOK)
	admin(request{method: http.MethodDelete, path: "/admin/tenants/shop"}).want(http.StatusNoContent)
	admin(request{method: http.MethodDelete, path: "/admin/tenants/shop"}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{path: session, key: two.Key}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
	if log := h.log.String(); strings.Contains(log, one.Key) || strings.Contains(log, h.adminKey) {
		t.Error("a key is in the log")
	}
}
