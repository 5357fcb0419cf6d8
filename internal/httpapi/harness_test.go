package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/backlog"
	"github.com/wapro/hub/internal/bulk"
	"github.com/wapro/hub/internal/egress"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/media"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/leaks"
	"github.com/wapro/hub/internal/webhook"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// patience bounds every wait for something that should happen.
const patience = 60 * time.Second

// hub is the API over the real store, intake, ledger and media room; only the queue is left out: what is accepted
// waits in SQL until a test moves it.
type hub struct {
	t      *testing.T
	store  *store.Store
	ledger *ledger.Ledger
	fault  *faulty
	log    *logBuffer
	server *httpapi.Server
	base   string
	client *http.Client

	algo     gateway.Tenant
	adminKey string
	key      string         // of algo
	fence    *gateway.Fence // of algo, when a test has taken it
}

type settings struct {
	options  httpapi.Options
	inflight int64
	sandbox  http.Handler
	rates    httpapi.Rates
	failures httpapi.Failures
	database string // its URL; empty: a SQLite file of the test's own
}

func newHub(t *testing.T, change ...func(*settings)) *hub {
	t.Helper()
	set := settings{inflight: 256 << 20, sandbox: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":[]}`)
	})}
	set.options = httpapi.Options{PollInterval: 5 * time.Millisecond, StreamPoll: 5 * time.Millisecond}
	for _, c := range change {
		c(&set)
	}
	dir := t.TempDir()
	logs := &logBuffer{}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if set.database == "" {
		set.database = "sqlite://" + dir + "/hub.db"
	}
	db, err := store.Open(t.Context(), set.database, store.Options{})
	must(t, err)
	files, err := media.Open(dir+"/media", set.inflight, db)
	must(t, err)
	h := &hub{t: t, store: db, ledger: ledger.New(db, time.Now), log: logs}
	h.fault = &faulty{Store: db}
	full := backlog.New(db, 0, time.Now)
	h.server, err = httpapi.New(httpapi.Deps{
		Store:  h.fault,
		Intake: intake.New(intake.Deps{Store: h.fault, Queue: noQueue{}, Media: files, CheckURL: checkURL, Admit: full.Admit}),
		Bulks: bulk.New(bulk.Deps{
			Store: h.fault, Ledger: h.ledger, Media: files, ParseRecipient: intake.ParseRecipient, CheckURL: checkURL, Admit: full.Admit, Dir: dir, Log: log,
		}),
		Webhooks: webhook.NewService(h.fault, plainSecrets{}, func(url string) error {
			_, err := egress.New(false).Check(url)
			return err
		}, time.Now),
		Ledger: h.ledger, Media: blobs{files}, Tenants: tenants{db}, Log: log, WebSessions: db, Sandbox: set.sandbox, Rates: set.rates, Failures: set.failures, Options: set.options,
	})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h.base = "http://" + listener.Addr().String()
	h.client = &http.Client{Transport: &http.Transport{}}
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(listener) }()
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.server.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		must(t, db.Close())
	})
	h.adminKey = gateway.NewKeySecret()
	must(t, db.CreateKey(t.Context(), gateway.APIKey{ID: "admin", Name: "admin", Hash: gateway.HashKey(h.adminKey)}))
	h.algo, h.key = h.tenant("algo")
	return h
}

// plainSecrets keeps secrets as they are.
type plainSecrets struct{}

func (plainSecrets) Seal(key []byte, _, _ string) ([]byte, error)    { return key, nil }
func (plainSecrets) Open(sealed []byte, _, _ string) ([]byte, error) { return sealed, nil }

// in is h for a subtest.
func (h *hub) in(t *testing.T) *hub {
	sub := *h
	sub.t = t
	return &sub
}

// tenant makes a tenant with a key.
func (h *hub) tenant(id string, scopes ...string) (gateway.Tenant, string) {
	h.t.Helper()
	tenant, err := h.store.CreateTenant(h.t.Context(), id, "")
	must(h.t, err)
	return tenant, h.newKey(tenant, scopes...)
}

func (h *hub) newKey(tenant gateway.Tenant, scopes ...string) string {
	h.t.Helper()
	secret := gateway.NewKeySecret()
	must(h.t, h.store.CreateKey(h.t.Context(), gateway.APIKey{
		ID: fmt.Sprintf("%x", gateway.HashKey(secret))[:12], TenantKey: tenant.Key, Hash: gateway.HashKey(secret), Scopes: scopes,
	}))
	return secret
}

// own takes the lease of every session, as a worker would.
func (h *hub) own() map[int64]gateway.Fence {
	h.t.Helper()
	sessions, err := h.store.AcquireSessions(h.t.Context(), "worker-1", time.Hour, 100)
	must(h.t, err)
	fences := map[int64]gateway.Fence{}
	for _, s := range sessions {
		fences[s.TenantKey] = s.Fence()
	}
	return fences
}

// sent does what a worker does: claims the message and records that WhatsApp took it.
func (h *hub) sent(f gateway.Fence, id string) {
	h.t.Helper()
	m, err := h.ledger.Claim(h.t.Context(), f, gateway.Ticket{TenantKey: f.TenantKey, MessageID: id, Lane: gateway.PriorityNormal}, "worker-1")
	must(h.t, err)
	if m == nil || m.ID != id {
		h.t.Fatalf("claim %s: got %v", id, m)
	}
	_, err = h.ledger.Record(h.t.Context(), f, id, gateway.Outcome{
		Kind: gateway.OutcomeSent, Sent: &gateway.Sent{RecipientJID: gateway.UserJID(m.To), At: time.Now()},
	})
	must(h.t, err)
}

// confirmed records a receipt of the recipient.
func (h *hub) confirmed(tenantKey int64, id string, kind gateway.ReceiptKind) {
	h.t.Helper()
	m, err := h.store.Message(h.t.Context(), tenantKey, id)
	must(h.t, err)
	must(h.t, h.ledger.Receipt(h.t.Context(), tenantKey, nil, gateway.Receipt{
		Kind: kind, StanzaIDs: []string{m.WhatsAppID}, Chat: m.RecipientJID, Sender: m.RecipientJID, At: time.Now(),
	}))
}

// request is one call; the zero value of each field means the usual.
type request struct {
	method  string // GET, or POST with a body
	path    string
	key     string // h.key; "none" for none
	body    string
	reader  io.Reader // instead of body
	length  int64     // of reader, announced in Content-Length
	header  map[string]string
	keepRaw bool // do not read the body: a stream
}

type response struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
	raw    io.ReadCloser
}

// do sends r and holds the answer against the description: every test that talks to the API checks the contract too.
func (h *hub) do(r request) response {
	h.t.Helper()
	resp, err := h.send(h.t.Context(), r)
	must(h.t, err)
	return resp
}

// send is do for other goroutines than the test's.
func (h *hub) send(ctx context.Context, r request) (response, error) {
	if r.method == "" {
		r.method = http.MethodGet
		if r.body != "" || r.reader != nil {
			r.method = http.MethodPost
		}
	}
	body := r.reader
	if body == nil && r.body != "" {
		body = strings.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, h.base+r.path, body)
	if err != nil {
		return response{}, err
	}
	if r.length > 0 {
		req.ContentLength = r.length
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch r.key {
	case "":
		req.Header.Set("x-api-key", h.key)
	case "none":
	default:
		req.Header.Set("x-api-key", r.key)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	got, err := h.client.Do(req)
	if err != nil {
		return response{}, err
	}
	out := response{t: h.t, status: got.StatusCode, header: got.Header}
	if r.keepRaw {
		out.raw = got.Body
		return out, nil
	}
	defer got.Body.Close()
	if out.body, err = io.ReadAll(got.Body); err != nil {
		return response{}, err
	}
	if err := description(h.t).check(r.method, req.URL.Path, out.status, out.header.Get("Content-Type"), out.body); err != nil {
		return response{}, fmt.Errorf("%s %s: the answer is not as described: %w", r.method, r.path, err)
	}
	return out, nil
}

func (r response) want(status int) response {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d; body %s", r.status, status, r.body)
	}
	return r
}

// refused is want for a problem with this code; pointer "" asks for no field.
func (r response) refused(status int, code gateway.Code, pointer string) response {
	r.t.Helper()
	r.want(status)
	p := decode[problem](r)
	if p.Code != code {
		r.t.Fatalf("code %q, want %q; body %s", p.Code, code, r.body)
	}
	if p.RequestID == "" || p.RequestID != r.header.Get("X-Request-Id") {
		r.t.Errorf("requestId %q, header %q", p.RequestID, r.header.Get("X-Request-Id"))
	}
	if pointer != "" && (len(p.Errors) == 0 || p.Errors[0].Pointer != pointer) {
		r.t.Errorf("errors %v, want one at %s", p.Errors, pointer)
	}
	return r
}

type problem struct {
	Code      gateway.Code
	Detail    string
	RequestID string
	Errors    []struct{ Pointer, Detail string }
}

type messageBody struct {
	ID, TenantID, To, Type, Status, Priority, WhatsappID string
	Message, Reference, RetryOf                          *string
	ExpiresAt                                            time.Time
	Media                                                *struct {
		Mimetype, Sha256 string
		Size             int64
		Filename         *string
	}
}

func decode[T any](r response) (v T) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, &v); err != nil {
		r.t.Fatalf("decode %s: %v", r.body, err)
	}
	return v
}

// text sends a text message and returns it.
func (h *hub) text(to, text string) messageBody {
	h.t.Helper()
	body, err := json.Marshal(map[string]string{"to": to, "message": text})
	must(h.t, err)
	return decode[messageBody](h.do(request{path: "/api/algo/message", body: string(body)}).want(http.StatusAccepted))
}

// count is how many messages a tenant has.
func (h *hub) count(tenantKey int64) int {
	h.t.Helper()
	all, err := h.store.Messages(h.t.Context(), tenantKey, gateway.MessageFilter{Limit: 200})
	must(h.t, err)
	return len(all)
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkURL is the guard of a hub that is set to nothing.
func checkURL(raw string) error {
	_, err := egress.New(false).Check(raw)
	return err
}

type noQueue struct{}

func (noQueue) Enqueue(context.Context, ...gateway.Ticket) error { return nil }

type blobs struct{ *media.Store }

func (b blobs) PutBase64(ctx context.Context, r io.Reader) (gateway.Blob, error) {
	return b.Put(ctx, media.NewBase64Reader(r))
}

type tenants struct{ *store.Store }

func (t tenants) Delete(ctx context.Context, tenant gateway.Tenant) error {
	return t.DeleteTenant(ctx, tenant.ID)
}

// faulty is the store with its failures injected.
type faulty struct {
	*store.Store
	mu       sync.Mutex
	accept   func() error // instead of the commit
	statuses int          // calls of Statuses
	ids      int          // ids of its last call
	ping     error
	panics   bool
	keyLooks atomic.Int64 // calls of KeysByPrefix
	notices  atomic.Int64 // calls of Notices
}

func (f *faulty) Notices(ctx context.Context, tenantKey, after int64, filters []string, limit int) ([]gateway.Notice, error) {
	f.notices.Add(1)
	return f.Store.Notices(ctx, tenantKey, after, filters, limit)
}

func (f *faulty) KeysByPrefix(ctx context.Context, prefix [8]byte) ([]gateway.APIKey, error) {
	f.keyLooks.Add(1)
	return f.Store.KeysByPrefix(ctx, prefix)
}

func (f *faulty) Accept(ctx context.Context, m []*gateway.Message, idem *gateway.IdempotencyCompletion) error {
	f.mu.Lock()
	fail := f.accept
	f.mu.Unlock()
	if fail != nil {
		if err := fail(); err != nil {
			return err
		}
	}
	return f.Store.Accept(ctx, m, idem)
}

func (f *faulty) Statuses(ctx context.Context, ids []string) (map[string]gateway.Status, error) {
	f.mu.Lock()
	f.statuses++
	f.ids = len(ids)
	f.mu.Unlock()
	return f.Store.Statuses(ctx, ids)
}

func (f *faulty) Ping(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("the store broke")
	}
	if f.ping != nil {
		return f.ping
	}
	return f.Store.Ping(ctx)
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
