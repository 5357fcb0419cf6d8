package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

const hello = `{"to":"919876543210","message":"Hello"}`

func keyed(path, key, body string) request {
	return request{method: http.MethodPost, path: path, body: body, header: map[string]string{"Idempotency-Key": key}}
}

func TestSameKeyAndBodyReplaysTheFirstAnswerToTheLetter(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	media := `{"to":"919876543210","media":{"mimetype":"image/png","data":"` + png + `"}}`
	failed := h.text("919876543210", "to be canceled")
	h.do(request{method: http.MethodPost, path: "/api/algo/messages/" + failed.ID + "/cancel"}).want(http.StatusOK)
	for _, test := range []struct {
		name, path, body string
		status           int
	}{
		{"text", "/api/algo/message", hello, 202},
		{"media", "/api/algo/media", media, 202},
		{"retry", "/api/algo/messages/" + failed.ID + "/retry", "", 202},
		{"cancel", "/api/algo/messages/" + failed.ID + "/cancel", "", 200},
		{"statuses", "/api/algo/messages/status", `{"ids":["` + failed.ID + `"]}`, 200},
		{"connect", "/api/algo/session/connect", `{"method":"qr"}`, 202},
		{"logout", "/api/algo/session/logout", "", 202},
		{"refusal", "/api/algo/message", `{"to":"919876543210"}`, 422},
		{"refused media", "/api/algo/media", `{"to":"919876543210","media":{"mimetype":"image/png","data":"*"}}`, 422},
		{"unknown message", "/api/algo/messages/nothing/cancel", "", 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := h.in(t)
			before := h.count(h.algo.Key)
			first := h.do(keyed(test.path, "k-"+strings.ReplaceAll(test.name, " ", "-"), test.body)).want(test.status)
			again := h.do(keyed(test.path, "k-"+strings.ReplaceAll(test.name, " ", "-"), test.body)).want(test.status)
			if string(first.body) != string(again.body) || first.header.Get("Location") != again.header.Get("Location") ||
				first.header.Get("Content-Type") != again.header.Get("Content-Type") {
				t.Errorf("first\n%s %v\nagain\n%s %v", first.body, first.header, again.body, again.header)
			}
			if again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
				t.Error("a replay must say so, and only a replay")
			}
			if made := h.count(h.algo.Key) - before; made > 1 {
				t.Errorf("%d messages were accepted", made)
			}
		})
	}
}

func TestSameKeyWithAnotherBodyIsRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.do(keyed("/api/algo/message", "k", hello)).want(http.StatusAccepted)
	h.do(keyed("/api/algo/message", "k", strings.Replace(hello, "Hello", "Goodbye", 1))).refused(422, gateway.CodeIdempotencyReuse, "")
	media := `{"to":"919876543210","media":{"mimetype":"image/png","data":"` + png + `"}}`
	h.do(keyed("/api/algo/media", "k", media)).want(http.StatusAccepted)
	h.do(keyed("/api/algo/media", "k", strings.Replace(media, "919876543210", "919876543211", 1))).refused(422, gateway.CodeIdempotencyReuse, "")
	if n := h.count(h.algo.Key); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

// A key belongs to a tenant and a route.
func TestKeysOfOtherTenantsAndRoutesAreOtherKeys(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	other, otherKey := h.tenant("other")
	one, two := h.text("919876543210", "one"), h.text("919876543210", "two")
	h.do(keyed("/api/algo/message", "k", hello)).want(http.StatusAccepted)
	r := keyed("/api/other/message", "k", hello)
	r.key = otherKey
	if m := decode[messageBody](h.do(r).want(http.StatusAccepted)); m.TenantID != "other" || h.count(other.Key) != 1 {
		t.Errorf("the other tenant got %+v", m)
	}
	for _, id := range []string{one.ID, two.ID} {
		if m := decode[messageBody](h.do(keyed("/api/algo/messages/"+id+"/cancel", "k", "")).want(http.StatusOK)); m.ID != id || m.Status != "canceled" {
			t.Errorf("cancel %s answered %+v", id, m)
		}
	}
}

func TestMalformedKeyIsRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for _, key := range []string{"", "with space", strings.Repeat("k", 256), "caf\u00e9"} {
		h.do(keyed("/api/algo/message", key, hello)).refused(422, gateway.CodeInvalidIdempotency, "")
		h.do(keyed("/api/algo/media", key, hello)).refused(422, gateway.CodeInvalidIdempotency, "")
	}
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d messages, want none", n)
	}
}

// However many send the same request at once, one message is accepted and nobody is told of another.
func TestConcurrentRequestsWithOneKeyMakeOneMessage(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const keys, callers = 5, 12
	type outcome struct {
		key  int
		resp response
		err  error
	}
	outcomes := make(chan outcome, keys*callers)
	var group sync.WaitGroup
	for key := range keys {
		for range callers {
			group.Go(func() {
				resp, err := h.send(t.Context(), keyed("/api/algo/message", fmt.Sprintf("k%d", key), hello))
				outcomes <- outcome{key, resp, err}
			})
		}
	}
	group.Wait()
	close(outcomes)
	bodies := map[int]string{}
	for o := range outcomes {
		must(t, o.err)
		switch o.resp.status {
		case http.StatusAccepted:
			if first := bodies[o.key]; first != "" && first != string(o.resp.body) {
				t.Errorf("key %d was answered\n%s and\n%s", o.key, first, o.resp.body)
			}
			bodies[o.key] = string(o.resp.body)
		case http.StatusConflict:
			o.resp.refused(http.StatusConflict, gateway.CodeIdempotencyBusy, "")
		default:
			t.Errorf("status %d: %s", o.resp.status, o.resp.body)
		}
	}
	if len(bodies) != keys || h.count(h.algo.Key) != keys {
		t.Errorf("%d keys answered, %d messages; want %d of each", len(bodies), h.count(h.algo.Key), keys)
	}
}

// A failure of ours frees the key, so that the same request can be tried again.
func TestServerErrorIsNotKept(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.fault.set(func(f *faulty) {
		f.accept = func() error {
			return &gateway.Error{Code: gateway.CodeUnavailable, Message: "the database does not answer"}
		}
	})
	h.do(keyed("/api/algo/message", "k", hello)).refused(http.StatusServiceUnavailable, gateway.CodeUnavailable, "")
	h.fault.set(func(f *faulty) { f.accept = func() error { return errors.New("disk on fire at sector 7") } })
	if got := h.do(keyed("/api/algo/message", "k", hello)).refused(http.StatusInternalServerError, gateway.CodeInternal, ""); strings.Contains(string(got.body), "sector") {
		t.Errorf("our fault is told to the caller: %s", got.body)
	}
	h.fault.set(func(f *faulty) { f.accept = func() error { panic("store broke") } })
	h.do(keyed("/api/algo/message", "k", hello)).refused(http.StatusInternalServerError, gateway.CodeInternal, "")
	h.fault.set(func(f *faulty) { f.accept = nil })
	got := h.do(keyed("/api/algo/message", "k", hello)).want(http.StatusAccepted)
	if got.header.Get("Idempotent-Replayed") != "" || h.count(h.algo.Key) != 1 {
		t.Error("the fourth try was not the one that was accepted")
	}
	if log := h.log.String(); !strings.Contains(log, "sector 7") || strings.Contains(log, "Hello") {
		t.Errorf("the log must tell the fault and no text: %s", log)
	}
}

func TestKeyCreationReplaysWithoutTheSecret(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	create := keyed("/admin/tenants/algo/keys", "k", `{"name":"ci"}`)
	create.key = h.adminKey
	type created struct {
		ID  string
		Key *string
	}
	first := decode[created](h.do(create).want(http.StatusCreated))
	again := decode[created](h.do(create).want(http.StatusCreated))
	if first.Key == nil || again.Key != nil || first.ID != again.ID {
		t.Errorf("first %+v, again %+v", first, again)
	}
	keys, err := h.store.Keys(t.Context(), h.algo.Key)
	must(t, err)
	if len(keys) != 2 { // the test's own, and this
		t.Errorf("%d keys", len(keys))
	}
}
