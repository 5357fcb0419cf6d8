package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// told is customers' software that takes every post, slowly.
type told struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string]string   // by id
	kinds  map[string][]string // by message, in the order in which they were posted first
	posts  int
}

func newTold(t *testing.T) *told {
	t.Helper()
	r := &told{bodies: map[string]string{}, kinds: map[string][]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var event struct {
			ID, Type string
			Data     struct{ MessageID string }
		}
		if err != nil || json.Unmarshal(body, &event) != nil {
			return // killed in the middle
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.posts++
		if before, again := r.bodies[event.ID]; again {
			if before != string(body) {
				t.Errorf("%s was %s and is %s", event.ID, before, body)
			}
		} else {
			r.bodies[event.ID] = string(body)
			r.kinds[event.Data.MessageID] = append(r.kinds[event.Data.MessageID], event.Type)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *told) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

// await waits until it was told that a message was read.
func (r *told) await(t *testing.T, messageID string) {
	t.Helper()
	testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Contains(r.kinds[messageID], "message.read"), fmt.Sprintf("of %s was told %v", messageID, r.kinds[messageID])
	})
}

// TestAKillAmongDeliveriesLosesNoEvent kills the hub with SIGKILL while it sends and tells of it: whatever has happened to a message was told, in its
// order, and each event under one id with one body.
func TestAKillAmongDeliveriesLosesNoEvent(t *testing.T) {
	t.Parallel()
	const messages, kills = 30, 2
	r := newTold(t)
	world := testkit.StartProcesses(t, "EGRESS_ALLOW_PRIVATE=true")
	world.Pair(t, "algo", "15550009999")
	var hook struct{ ID string }
	world.Admin.JSON(t, http.MethodPost, "/api/algo/webhooks", map[string]any{"url": r.URL, "events": []string{"message.*"}}, http.StatusCreated, &hook)
	var ids []string
	for round := range kills {
		before := r.count()
		for i := range messages {
			ids = append(ids, world.Admin.Send(t, "algo", "919876543210", fmt.Sprintf("message %d of %d", i, round)).ID)
		}
		testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
			n := r.count() - before
			return n >= 10, fmt.Sprintf("%d events were told before the kill", n)
		})
		world.RestartHub(t, (*testkit.Process).Kill)
	}
	for _, id := range ids {
		world.Admin.AwaitStatus(t, "algo", id, "read")
	}
	testkit.Eventually(t, 2*time.Minute, func() (bool, string) {
		var w struct{ Waiting int }
		world.Admin.JSON(t, http.MethodGet, "/api/algo/webhooks/"+hook.ID, nil, http.StatusOK, &w)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, id := range ids {
			if !slices.Contains(r.kinds[id], "message.read") {
				return false, fmt.Sprintf("%s was told as %v, %d events wait", id, r.kinds[id], w.Waiting)
			}
		}
		return w.Waiting == 0, fmt.Sprintf("%d events wait", w.Waiting)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		var history []string
		for _, status := range world.Admin.Events(t, "algo", id)[1:] { // the first is that it was accepted
			history = append(history, "message."+status)
		}
		if got := strings.Join(slices.Compact(r.kinds[id]), " "); got != strings.Join(history, " ") {
			t.Errorf("%s was told as %s, its history is %v", id, got, history)
		}
	}
	t.Logf("%d events in %d posts", len(r.bodies), r.posts)
}
