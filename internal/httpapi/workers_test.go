package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func TestWorkersAreListedWithTheirLoad(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	type worker struct {
		ID, Host                  string
		PID                       int
		StartedAt, SeenAt         time.Time
		Sessions, Online, Waiting int
	}
	list := func() []worker {
		return decode[struct{ Data []worker }](h.do(request{path: "/admin/workers", key: h.adminKey}).want(http.StatusOK)).Data
	}
	if got := list(); got == nil || len(got) != 0 {
		t.Errorf("without a worker: %v", got)
	}
	must(t, h.store.SeeWorker(t.Context(), gateway.Worker{ID: "worker-1", Host: "machine", PID: 42}, time.Hour))
	must(t, h.store.SeeWorker(t.Context(), gateway.Worker{ID: "gone", Host: "machine", PID: 43}, 0))
	h.tenant("other")
	fence := h.own()[h.algo.Key]
	_, err := h.store.UpdateSession(t.Context(), fence, func(s *gateway.Session) { s.State = gateway.SessionOnline })
	must(t, err)
	h.text("919876543210", "hello")
	got := list()
	if len(got) != 1 {
		t.Fatalf("the workers are %+v", got)
	}
	w := got[0]
	if w.ID != "worker-1" || w.Host != "machine" || w.PID != 42 || w.Sessions != 2 || w.Online != 1 || w.Waiting != 1 ||
		time.Since(w.SeenAt).Abs() > time.Minute || w.StartedAt.After(w.SeenAt) {
		t.Errorf("the worker is %+v", w)
	}
	h.do(request{path: "/admin/workers"}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
}
