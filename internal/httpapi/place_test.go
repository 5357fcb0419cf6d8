package httpapi_test

import (
	"net/http"
	"testing"
	"time"

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

// TestAMessageOfABulkThatDoesNotRunTellsNoTime: it would be one of seconds, for what goes out tomorrow or never.
func TestAMessageOfABulkThatDoesNotRunTellsNoTime(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	f := h.own()[h.algo.Key]
	h.sent(f, h.text("919876543210", "the pace").ID)
	place := func(b bulkBody) placed {
		t.Helper()
		list, err := h.store.BulkMessages(t.Context(), h.algo.Key, b.ID, 0, nil, 1)
		must(t, err)
		return decode[placed](h.do(request{path: "/api/algo/messages/" + list[0].ID}).want(http.StatusOK))
	}
	const rows = `"message":"x","recipients":[{"to":"919876543211"}]`
	later := h.bulk(`{"sendAt":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `",` + rows + `}`)
	if got := place(later); got.Queue == nil || got.Queue.Ahead != 0 || got.Queue.EtaSeconds != nil {
		t.Errorf("of a bulk whose time has not come: %+v", got.Queue)
	}
	b := h.bulk(`{` + rows + `}`)
	if got := place(b); got.Queue == nil || got.Queue.EtaSeconds == nil {
		t.Errorf("of a bulk that runs: %+v", got.Queue)
	}
	h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/pause"}).want(http.StatusOK)
	if got := place(b); got.Queue == nil || got.Queue.EtaSeconds != nil {
		t.Errorf("of a bulk that is paused: %+v", got.Queue)
	}
	h.do(request{method: http.MethodPost, path: bulkPath + "/" + b.ID + "/resume"}).want(http.StatusOK)
	if got := place(b); got.Queue == nil || got.Queue.EtaSeconds == nil {
		t.Errorf("of a bulk that runs again: %+v", got.Queue)
	}
}
