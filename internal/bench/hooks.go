package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

const (
	hangingWebhooks = 10 // as many as a tenant may have
	hangingEvents   = 20 // that wait for each
)

// hooks measures how long other tenants' events take, from the request that makes one to its post, while the webhooks of one more tenant do not
// answer at all, with events that wait for each. The baseline is the same hub without that tenant, which is made and deleted again for each pair.
func hooks(b *bench) {
	h := startHub(b, testkit.StartSimulator(b))
	came := &arrivals{at: map[string]time.Time{}, news: make(chan struct{}, 1)}
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came.note(r.Header.Get("Webhook-Id"))
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(good.Close)
	hung, over := make(chan struct{}, 10_000), make(chan struct{})
	bad := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then the server does not see that the client has gone
		hung <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	b.Cleanup(func() { close(over); bad.Close() })

	webhook := func(tenant, url string) (path string) {
		var made struct{ ID string }
		h.admin.JSON(b, http.MethodPost, "/api/"+tenant+"/webhooks", map[string]string{"url": url}, http.StatusCreated, &made)
		return "/api/" + tenant + "/webhooks/" + made.ID
	}
	test := func(path string) (id string) {
		var made struct{ EventID string }
		h.admin.JSON(b, http.MethodPost, path+"/test", nil, http.StatusAccepted, &made)
		return made.EventID
	}
	newTenant := func(id string) string {
		h.admin.JSON(b, http.MethodPost, "/admin/tenants", map[string]string{"id": id}, http.StatusCreated, nil)
		return id
	}
	var paths []string
	for i := range others {
		paths = append(paths, webhook(newTenant(fmt.Sprint("tenant-", i)), good.URL))
	}
	sample := func() float64 {
		var took []float64
		for i := range b.samples {
			begun := time.Now()
			id := test(paths[i%len(paths)])
			took = append(took, milliseconds(came.await(b, id).Sub(begun)))
		}
		return percentile(took, 99)
	}
	sample() // caches, statements
	r := row{
		what:  fmt.Sprintf("event to post, p99 of %d, beside a tenant whose %d webhooks hang with %d events each", b.samples, hangingWebhooks, hangingEvents),
		shape: b.shape.name, unit: " ms", baseline: "without that tenant",
	}
	for n := range b.pairs {
		p := pair{base: sample()}
		hanging := newTenant(fmt.Sprint("hanging-", n))
		for range hangingWebhooks {
			path := webhook(hanging, bad.URL)
			for range hangingEvents {
				test(path)
			}
		}
		limit := time.NewTimer(time.Minute)
		select {
		case <-hung:
		case <-limit.C:
			b.Fatal("nothing hangs")
		}
		limit.Stop()
		p.hub = sample()
		h.admin.JSON(b, http.MethodDelete, "/admin/tenants/"+hanging, nil, http.StatusNoContent, nil)
		if n < b.pairs-1 {
			pause(b, 11*time.Second) // until the last post to it has ended
		}
		for len(hung) > 0 {
			<-hung
		}
		r.pairs = append(r.pairs, p)
	}
	b.table.add(r)
}

// arrivals are when events were posted.
type arrivals struct {
	mu   sync.Mutex
	at   map[string]time.Time
	news chan struct{} // cap 1
}

func (a *arrivals) note(id string) {
	now := time.Now()
	a.mu.Lock()
	a.at[id] = now
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default:
	}
}

func (a *arrivals) await(b *bench, id string) time.Time {
	b.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		a.mu.Lock()
		at, ok := a.at[id]
		a.mu.Unlock()
		if ok {
			return at
		}
		select {
		case <-a.news:
		case <-limit.C:
			b.Fatalf("event %s was not posted", id)
		}
	}
}
