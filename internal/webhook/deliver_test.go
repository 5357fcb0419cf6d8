package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/queue"
	"github.com/wapro/hub/internal/queue/embedded"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/fakeclock"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/webhook"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// patience bounds every wait for something that should happen.
const patience = 2 * time.Minute

// world is a store and a broker, with as many deliverers as a test starts.
type world struct {
	t       *testing.T
	store   *store.Store
	redis   redis.UniversalClient
	clock   *fakeclock.Clock
	service *webhook.Service
}

type plain struct{}

func (plain) Seal(key []byte, _, _ string) ([]byte, error)    { return key, nil }
func (plain) Open(sealed []byte, _, _ string) ([]byte, error) { return sealed, nil }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: fakeclock.At(time.Now())}
	db, err := store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{Clock: w.clock.Now})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	client, stop, err := embedded.Start()
	must(t, err)
	t.Cleanup(stop)
	w.store, w.redis = db, client
	w.service = webhook.NewService(db, plain{}, func(string) error { return nil }, w.clock.Now)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deliver starts a worker's part; the last one started ends first.
func (w *world) deliver() {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{w.t}, nil))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 20 * time.Second} // less than a turn, as in production
	tickets := queue.NewWebhooks(w.redis, queue.WebhookOptions{Log: log, EnqueueTimeout: patience})
	d := webhook.New(webhook.Deps{
		Store: w.store, Queue: tickets, Secrets: plain{}, Client: client, Often: 20 * time.Millisecond, Seldom: 20 * time.Millisecond, Clock: w.clock.Now, Log: log,
	})
	must(w.t, tickets.Start(w.t.Context(), d.Deliver))
	must(w.t, d.Start(w.t.Context()))
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(w.t, d.Stop(ctx))
		must(w.t, tickets.Stop(ctx))
		client.CloseIdleConnections()
	})
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

// tenant makes a tenant that listens, with a webhook at url.
func (w *world) tenant(id, url string) (tenant gateway.Tenant, hook gateway.Webhook) {
	w.t.Helper()
	tenant, err := w.store.CreateTenant(w.t.Context(), id, "")
	must(w.t, err)
	hook, _, err = w.service.Create(w.t.Context(), tenant.Key, gateway.WebhookChange{URL: &url}, "")
	must(w.t, err)
	return tenant, hook
}

// happen writes events of a tenant as the triggers do: n messages, each of which is sent, delivered and so on.
func (w *world) happen(tenant gateway.Tenant, n int, kinds ...string) {
	w.t.Helper()
	tx, err := w.store.Writer().BeginTx(w.t.Context(), nil)
	must(w.t, err)
	for _, kind := range kinds {
		for i := range n {
			_, err := tx.ExecContext(w.t.Context(), `INSERT INTO event_outbox (tenant_key, kind, subject, at, data) VALUES (?, ?, ?, ?, ?)`,
				tenant.Key, kind, fmt.Sprintf("%s-%05d", tenant.ID, i), w.clock.Now().UnixMicro(), fmt.Sprintf(`{"message":%d}`, i))
			must(w.t, err)
		}
	}
	must(w.t, tx.Commit())
}

// receiver is the customers' software: it keeps what it is told, and answers as answer says.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) // nil: 204
	bodies map[string]string                            // by webhook-id
	posts  map[string]int
	order  map[string][]string // kinds by message, each event the first time that it was taken
	news   chan struct{}       // cap 1: something was posted
	now    map[string]int      // being posted at this moment
	t      *testing.T
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, bodies: map[string]string{}, posts: map[string]int{}, order: map[string][]string{}, news: make(chan struct{}, 1), now: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.post))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) post(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	var event struct {
		ID, Type, TenantID string
		Data               struct{ Message int }
	}
	if err := json.Unmarshal(body, &event); err != nil || event.ID != req.Header.Get("Webhook-Id") {
		r.t.Errorf("posted %s as %s: %v", body, req.Header.Get("Webhook-Id"), err)
	}
	r.mu.Lock()
	post := req.URL.Path + event.ID // each webhook has a path of its own
	if r.now[post]++; r.now[post] > 1 {
		r.t.Errorf("%s is posted twice at the same time", event.ID)
	}
	if before, known := r.bodies[event.ID]; known && before != string(body) {
		r.t.Errorf("%s was %s and is %s", event.ID, before, body)
	}
	r.bodies[event.ID] = string(body)
	r.posts[event.ID]++
	answer := r.answer
	r.mu.Unlock()
	status := recorded{ResponseWriter: w, status: http.StatusOK}
	if answer != nil {
		answer(&status, req)
	} else {
		status.WriteHeader(http.StatusNoContent)
	}
	r.mu.Lock()
	r.now[post]--
	if status.status < 300 && r.posts[event.ID] > 0 {
		message := fmt.Sprint(event.TenantID, event.Data.Message)
		if kinds := r.order[message]; len(kinds) == 0 || kinds[len(kinds)-1] != event.Type {
			r.order[message] = append(kinds, event.Type)
		}
	}
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) { r.status = status; r.ResponseWriter.WriteHeader(status) }

func (r *receiver) answers(answer func(w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// taken is how many events were taken of messages.
func (r *receiver) taken() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kinds := range r.order {
		n += len(kinds)
	}
	return n
}

// until waits for done, and calls tick whenever nothing was posted for a moment.
func (r *receiver) until(what string, tick func(), done func() bool) {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for !done() {
		select {
		case <-r.news:
		case <-pause.C:
			if tick != nil {
				tick()
			}
		case <-limit.C:
			r.t.Fatalf("waited in vain: %s; %d events were taken", what, r.taken())
		}
	}
}

// TestAnAbsentReceiverMissesNothing: while 2,000 events happen (200 under the race detector) the receiver refuses all, for hours; then it gets every one of them, under one id and
// with one body, those of each message in their order.
func TestAnAbsentReceiverMissesNothing(t *testing.T) {
	t.Parallel()
	const messages = manyMessages
	w, r := newWorld(t), newReceiver(t)
	kinds := []string{"message.sending", "message.sent", "message.delivered", "message.read"}
	tenant, hook := w.tenant("algo", r.URL)
	var refused atomic.Int64
	r.answers(func(w http.ResponseWriter, _ *http.Request) { refused.Add(1); w.WriteHeader(http.StatusBadGateway) })
	w.deliver()
	w.happen(tenant, messages, kinds...)
	posts := func() (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range r.posts {
			n += p
		}
		return n
	}
	// It is left in peace: some at first, then one at a time.
	wake := func() { // when it rests, to the end of that and no further: days of failure would end it
		now, err := w.store.Webhook(t.Context(), tenant.Key, hook.ID)
		must(t, err)
		if rest := now.RestUntil.Sub(w.clock.Now()); rest > 0 {
			w.clock.Advance(rest)
		}
	}
	r.until("attempts while it is down", wake, func() bool { return posts() >= 16 })
	waiting := func() gateway.Webhook {
		up, err := w.store.Webhook(t.Context(), tenant.Key, hook.ID)
		must(t, err)
		return up
	}
	r.until("all of it waits", nil, func() bool { return waiting().Waiting == messages*len(kinds) }) // the first are posted before the last have a place
	if down := waiting(); down.Failures < 5 || down.RestUntil.IsZero() || down.Status != gateway.WebhookEnabled {
		t.Errorf("while it is down the webhook is %+v", down)
	}

	r.answers(nil)
	r.until("all events", wake, func() bool { return r.taken() == messages*len(kinds) })
	r.until("that it is recorded", nil, func() bool { return waiting().Waiting == 0 })
	if up := waiting(); up.Failures != 0 || !up.FailingSince.IsZero() || !up.RestUntil.IsZero() {
		t.Errorf("afterwards the webhook is %+v", up)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bodies) != messages*len(kinds) {
		t.Errorf("%d ids for %d events", len(r.bodies), messages*len(kinds))
	}
	for message, got := range r.order {
		if fmt.Sprint(got) != fmt.Sprint(kinds) {
			t.Errorf("%s is told as %v", message, got)
		}
	}
	log, err := w.store.DeliveryAttempts(t.Context(), tenant.Key, hook.ID, 0, 5000)
	must(t, err)
	outcomes := map[gateway.DeliveryOutcome]int{}
	for _, a := range log {
		outcomes[a.Outcome]++
	}
	want := map[gateway.DeliveryOutcome]int{gateway.DeliveryTaken: messages * len(kinds), gateway.DeliveryRetry: int(refused.Load())}
	if !maps.Equal(outcomes, want) {
		t.Errorf("the log tells %v, want %v", outcomes, want)
	}
}

// TestAHangingWebhookHoldsUpNobody: a tenant's webhooks that do not answer at all, while others are told everything.
func TestAHangingWebhookHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const others, messages = 10, 20
	w, good, bad := newWorld(t), newReceiver(t), newReceiver(t)
	hang := make(chan struct{})
	var mu sync.Mutex
	hanging, most := 0, 0
	bad.answers(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hanging++
		most = max(most, hanging)
		mu.Unlock()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		mu.Lock()
		defer mu.Unlock()
		hanging--
	})
	slow, _ := w.tenant("slow", bad.URL)
	for i := range gateway.MaxWebhooks - 1 {
		url := fmt.Sprint(bad.URL, "/", i)
		_, _, err := w.service.Create(t.Context(), slow.Key, gateway.WebhookChange{URL: &url}, "")
		must(t, err)
	}
	w.deliver()
	t.Cleanup(func() { close(hang) }) // before the deliverer is stopped
	w.happen(slow, messages, "message.sent", "message.delivered")
	count := func() int { mu.Lock(); defer mu.Unlock(); return most }
	bad.until("that it hangs", nil, func() bool { return count() >= 8 })
	for i := range others {
		tenant, _ := w.tenant(fmt.Sprint("other-", i), good.URL)
		w.happen(tenant, messages, "message.sent", "message.delivered")
	}
	good.until("the others' events", nil, func() bool { return good.taken() == others*messages*2 })
	mu.Lock()
	defer mu.Unlock()
	if most > 2*5*8 { // a post that was given up may be seen to end later than the next begins
		t.Errorf("%d posts of one tenant at a time", most)
	}
}

// TestTwoWorkersShareAndAWipedQueueLosesNothing: two workers never post one event at the same time (the receiver looks), and deliver each once although
// Redis is wiped again and again.
func TestTwoWorkersShareAndAWipedQueueLosesNothing(t *testing.T) {
	t.Parallel()
	const tenants, messages = 4, 50
	w, r := newWorld(t), newReceiver(t)
	var posts, wiped atomic.Int64
	r.answers(func(answer http.ResponseWriter, _ *http.Request) {
		if posts.Add(1)%40 == 1 { // in the middle of a post, with the tickets of others waiting
			if err := w.redis.FlushAll(t.Context()).Err(); err != nil {
				t.Error(err)
			}
			wiped.Add(1)
		}
		answer.WriteHeader(http.StatusNoContent)
	})
	w.deliver()
	w.deliver()
	for i := range tenants {
		tenant, _ := w.tenant(fmt.Sprint("tenant-", i), r.URL)
		w.happen(tenant, messages, "message.sent", "message.delivered")
	}
	r.until("all events", nil, func() bool { return r.taken() == tenants*messages*2 })
	if wiped.Load() < tenants*messages*2/40 {
		t.Errorf("Redis was wiped %d times", wiped.Load())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, n := range r.posts {
		if n != 1 {
			t.Errorf("%s was posted %d times", id, n)
		}
	}
	for message, got := range r.order {
		if fmt.Sprint(got) != "[message.sent message.delivered]" {
			t.Errorf("%s is told as %v", message, got)
		}
	}
}

// TestAnEventWhoseWorkerDiedIsPostedAgain: the worker dies after it posted and before it could say so.
func TestAnEventWhoseWorkerDiedIsPostedAgain(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	tenant, hook := w.tenant("algo", r.URL)
	w.happen(tenant, 1, "message.sent")
	_, err := w.store.SettleEvents(t.Context(), tenant.Key)
	must(t, err)
	taken, err := w.store.TakeWebhookTurn(t.Context(), gateway.WebhookTurn{WebhookID: hook.ID, Owner: "dead"}, 200*time.Millisecond)
	must(t, err)
	list, err := w.store.NextDeliveries(t.Context(), hook.ID, w.clock.Now(), 10)
	must(t, err)
	if taken == nil || len(list) != 1 {
		t.Fatalf("the dead worker had %v, %v", taken, list)
	}
	w.deliver()
	r.until("the event", nil, func() bool { return r.taken() == 1 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.posts[list[0].Notice.ID] != 1 || r.bodies[list[0].Notice.ID] != string(list[0].Notice.Body()) {
		t.Errorf("posted are %v", r.bodies)
	}
}

// TestAWebhookThatIsGoneIsDisabledAtOnce, and one that is told to wait waits.
func TestAWebhookThatIsGoneIsDisabledAtOnce(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	tenant, hook := w.tenant("algo", r.URL)
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	w.deliver()
	w.happen(tenant, 1, "message.sent")
	state := func() gateway.Webhook {
		now, err := w.store.Webhook(t.Context(), tenant.Key, hook.ID)
		must(t, err)
		return now
	}
	r.until("the rest", nil, func() bool { return !state().RestUntil.IsZero() })
	if rest := state().RestUntil.Sub(w.clock.Now()).Round(time.Millisecond); rest != 30*time.Minute {
		t.Errorf("it rests for %v", rest)
	}
	r.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	w.clock.Advance(time.Hour)
	r.until("the end", nil, func() bool { return state().Status == gateway.WebhookDisabled })
	if now := state(); now.Reason != gateway.WebhookGone || now.Waiting != 0 {
		t.Errorf("the webhook is %+v", now)
	}
}

// TestADeletedWebhookIsEmptiedByAWorker, which begins to with its start.
func TestADeletedWebhookIsEmptiedByAWorker(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	tenant, hook := w.tenant("algo", r.URL)
	w.happen(tenant, 700, "message.sent")
	for more := true; more; {
		var err error
		more, err = w.store.SettleEvents(t.Context(), tenant.Key)
		must(t, err)
	}
	must(t, w.service.DeleteWebhook(t.Context(), tenant.Key, hook.ID))
	left := func() (n int) {
		must(t, w.store.Writer().QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM webhook_deliveries) + (SELECT COUNT(*) FROM webhook_endpoints)`).Scan(&n))
		return n
	}
	if n := left(); n != 701 {
		t.Fatalf("after the deletion %d rows are there", n)
	}
	w.deliver()
	r.until("that nothing is left", nil, func() bool { return left() == 0 })
	if r.taken() > 0 {
		t.Error("it was told of something")
	}
}
