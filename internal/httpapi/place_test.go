package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

type placed struct {
	Status string
	Queue  *struct {
		Ahead      int
		EtaSeconds *int
	}
}

func TestAWaitingMessageTellsItsPlace(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	f := h.own()[h.algo.Key]
	get := func(id string) placed {
		t.Helper()
		return decode[placed](h.do(request{path: "/api/algo/messages/" + id}).want(http.StatusOK))
	}
	first, second, third := h.text("919876543210", "1"), h.text("919876543210", "2"), h.text("919876543210", "3")
	if got := get(third.ID); got.Queue == nil || got.Queue.Ahead != 2 || got.Queue.EtaSeconds != nil {
		t.Errorf("%+v", got.Queue)
	}
	h.sent(f, first.ID)
	if got := get(first.ID); got.Status != string(gateway.StatusSent) || got.Queue != nil {
		t.Errorf("sent, and in the queue: %+v", got)
	}
	h.sent(f, second.ID)
	if got := get(third.ID); got.Queue == nil || got.Queue.Ahead != 0 || got.Queue.EtaSeconds == nil || *got.Queue.EtaSeconds != 30 {
		t.Errorf("two were sent in this minute: %+v", got.Queue)
	}
}
