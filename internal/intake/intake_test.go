package intake_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/intake"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/media"
	"github.com/wapro/hub/internal/store"
)

// world is an intake over a real store and real files, with a queue that can be dead.
type world struct {
	*intake.Intake
	t      *testing.T
	store  *store.Store
	files  *media.Store
	queue  *queue
	tenant gateway.Tenant
	now    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, queue: &queue{}, now: time.Now().UTC().Truncate(time.Millisecond)}
	var err error
	w.store, err = store.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.files, err = media.Open(filepath.Join(t.TempDir(), "media"), 1<<20, w.store)
	must(t, err)
	w.tenant, err = w.store.CreateTenant(t.Context(), "algo", "")
	must(t, err)
	w.Intake = intake.New(intake.Deps{
		Store: w.store, Queue: w.queue, Media: w.files, Clock: func() time.Time { return w.now },
	})
	return w
}

func (w *world) text(r gateway.TextRequest) (gateway.Message, error) {
	return w.Text(w.t.Context(), w.tenant, r, nil)
}

// enqueued is what the queue has got by the time that nothing is on its way any more.
func (w *world) enqueued() (calls int, tickets []gateway.Ticket) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	must(w.t, w.Flush(ctx))
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	return w.queue.calls, slices.Clone(w.queue.tickets)
}

func (w *world) blob(content string) gateway.Blob {
	w.t.Helper()
	blob, err := w.files.Put(w.t.Context(), strings.NewReader(content))
	must(w.t, err)
	return blob
}

// queue remembers the tickets of calls that before lets through.
type queue struct {
	before func(context.Context) error // set while nothing is on its way

	mu      sync.Mutex
	calls   int
	tickets []gateway.Ticket
}

func (q *queue) Enqueue(ctx context.Context, tickets ...gateway.Ticket) error {
	q.mu.Lock()
	q.calls++
	q.mu.Unlock()
	if q.before != nil {
		if err := q.before(ctx); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tickets = append(q.tickets, tickets...)
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused asserts a code, and the pointers of all that is wrong.
func refused(t *testing.T, err error, code gateway.Code, pointers ...string) {
	t.Helper()
	e, ok := errors.AsType[*gateway.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("error %v, want %s", err, code)
	}
	var got []string
	for _, f := range e.Fields {
		got = append(got, f.Pointer)
	}
	if fmt.Sprint(got) != fmt.Sprint(pointers) {
		t.Fatalf("fields %v, want %v", got, pointers)
	}
}

func TestAnAcceptedTextIsStoredAndEnqueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, err := w.text(gateway.TextRequest{To: "+49 151 12345678", Text: "hello ☺", SendOptions: gateway.SendOptions{Reference: "order 7"}})
	must(t, err)
	if id, err := uuid.Parse(m.ID); err != nil || id.Version() != 7 {
		t.Errorf("id %s: %v", m.ID, err)
	}
	if !regexp.MustCompile(`^3EB0[0-9A-F]{18}$`).MatchString(m.WhatsAppID) {
		t.Errorf("stanza id %s", m.WhatsAppID)
	}
	if m.To != "4915112345678" || m.Type != gateway.TypeText || m.Priority != gateway.PriorityNormal || m.Status != gateway.StatusQueued ||
		!m.ExpiresAt.Equal(w.now.Add(24*time.Hour)) || m.Seq == 0 || m.TenantID != "algo" {
		t.Errorf("%+v", m)
	}
	stored, err := w.store.Message(t.Context(), w.tenant.Key, m.ID)
	must(t, err)
	if stored.Text != "hello ☺" || stored.Reference != "order 7" || stored.WhatsAppID != m.WhatsAppID || stored.Phase != gateway.PhaseWaiting {
		t.Errorf("%+v", stored)
	}
	_, tickets := w.enqueued()
	if want := (gateway.Ticket{TenantKey: w.tenant.Key, MessageID: m.ID, Lane: gateway.PriorityNormal}); !slices.Equal(tickets, []gateway.Ticket{want}) {
		t.Errorf("tickets %v", tickets)
	}
}

func TestExpiryFollowsThePriority(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := w.now.Add(3 * time.Second).In(time.FixedZone("somewhere", 3600))
	for _, test := range []struct {
		o    gateway.SendOptions
		want time.Time
	}{
		{gateway.SendOptions{Priority: gateway.PriorityHigh}, w.now.Add(10 * time.Minute)},
		{gateway.SendOptions{Priority: gateway.PriorityNormal}, w.now.Add(24 * time.Hour)},
		{gateway.SendOptions{Priority: gateway.PriorityBulk}, w.now.Add(24 * time.Hour)},
		{gateway.SendOptions{Priority: gateway.PriorityHigh, ExpiresAt: own}, own},
	} {
		m, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "x", SendOptions: test.o})
		must(t, err)
		if !m.ExpiresAt.Equal(test.want) || m.ExpiresAt.Location() != time.UTC {
			t.Errorf("%+v expires at %v, want %v", test.o, m.ExpiresAt, test.want)
		}
	}
}

func TestBadRequestsNameEachFieldAndStoreNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const to = "4915112345678"
	at := func(d time.Duration) time.Time { return w.now.Add(d) }
	for _, test := range []struct {
		r        gateway.TextRequest
		code     gateway.Code
		pointers []string
	}{
		{gateway.TextRequest{To: "nobody", Text: "x"}, gateway.CodeInvalidRecipient, []string{"/to"}},
		{gateway.TextRequest{Text: "x"}, gateway.CodeInvalidRecipient, []string{"/to"}},
		{gateway.TextRequest{To: to}, gateway.CodeInvalidMessage, []string{"/message"}},
		{gateway.TextRequest{To: to, Text: " \n\t"}, gateway.CodeInvalidMessage, []string{"/message"}},
		{gateway.TextRequest{To: to, Text: strings.Repeat("x", gateway.MaxTextBytes+1)}, gateway.CodeInvalidMessage, []string{"/message"}},
		{gateway.TextRequest{To: to, Text: "\xff"}, gateway.CodeInvalidMessage, []string{"/message"}},
		{gateway.TextRequest{To: to, Text: "x", SendOptions: gateway.SendOptions{Priority: "urgent"}}, gateway.CodeInvalidBody, []string{"/priority"}},
		{gateway.TextRequest{To: to, Text: "x", SendOptions: gateway.SendOptions{Reference: strings.Repeat("r", 257)}}, gateway.CodeInvalidBody, []string{"/reference"}},
		{gateway.TextRequest{To: to, Text: "x", SendOptions: gateway.SendOptions{ExpiresAt: at(0)}}, gateway.CodeInvalidBody, []string{"/expiresAt"}},
		{gateway.TextRequest{To: to, Text: "x", SendOptions: gateway.SendOptions{SendAt: at(-time.Hour)}}, gateway.CodeInvalidBody, []string{"/sendAt"}},
		{gateway.TextRequest{To: to, Text: "x", SendOptions: gateway.SendOptions{SendAt: at(367 * 24 * time.Hour)}}, gateway.CodeInvalidBody, []string{"/sendAt"}},
		{
			gateway.TextRequest{To: to, Text: "x", SendOptions: gateway.SendOptions{SendAt: at(2 * time.Hour), ExpiresAt: at(time.Hour)}},
			gateway.CodeInvalidBody,
			[]string{"/expiresAt"},
		},
		{
			gateway.TextRequest{To: "?", SendOptions: gateway.SendOptions{Priority: "?", ExpiresAt: at(-time.Hour)}},
			gateway.CodeInvalidRecipient,
			[]string{"/to", "/priority", "/expiresAt", "/message"},
		},
	} {
		_, err := w.text(test.r)
		refused(t, err, test.code, test.pointers...)
	}
	left, err := w.store.Messages(t.Context(), w.tenant.Key, gateway.MessageFilter{Limit: 10})
	if calls, _ := w.enqueued(); err != nil || len(left) != 0 || calls != 0 {
		t.Fatalf("%d messages stored, %d tickets, %v", len(left), calls, err)
	}
	_, err = w.text(gateway.TextRequest{To: to, Text: strings.Repeat("x", gateway.MaxTextBytes)})
	must(t, err)
}

func TestSendAtSchedulesWithoutATicket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	send := func(after time.Duration) gateway.Message {
		m, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "x", SendOptions: gateway.SendOptions{SendAt: w.now.Add(after)}})
		must(t, err)
		return m
	}
	m := send(364 * 24 * time.Hour)
	if m.Status != gateway.StatusScheduled || m.Phase != gateway.PhaseSchedule || !m.ExpiresAt.Equal(m.SendAt.Add(gateway.DefaultExpiry)) {
		t.Errorf("%s, %s, expires at %s", m.Status, m.Phase, m.ExpiresAt)
	}
	if calls, _ := w.enqueued(); calls != 0 {
		t.Error("it has a ticket already")
	}
	m = send(-time.Minute)
	if calls, _ := w.enqueued(); m.Status != gateway.StatusQueued || calls != 1 {
		t.Errorf("a minute ago: %s, %d tickets", m.Status, calls)
	}
}

func TestMediaIsOfTheTypeThatItsRecipientSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		mimetype, bytes string
		want            gateway.MessageType
	}{
		{"image/jpeg", "\xff\xd8\xff\xe0\x00\x10JFIF", gateway.TypeImage},
		{"image/png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", gateway.TypeImage},
		{"image/webp", "RIFF\x24\x00\x00\x00WEBPVP8 ", gateway.TypeImage},
		{"image/gif", "GIF89a\x01\x00\x01\x00", gateway.TypeDocument},
		{"video/mp4", "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", gateway.TypeVideo},
		{"audio/mpeg", "\x00\x01\x02", gateway.TypeAudio},
		{"application/pdf", "%PDF-1.4\n", gateway.TypeDocument},
		{"text/plain", "hello", gateway.TypeDocument},
	} {
		m, err := w.Media(t.Context(), w.tenant, gateway.MediaRequest{
			To: "4915112345678", Caption: "look", MimeType: test.mimetype, Filename: "a name.pdf", Blob: w.blob(test.bytes),
		}, nil)
		must(t, err)
		stored, err := w.store.Message(t.Context(), w.tenant.Key, m.ID)
		must(t, err)
		if stored.Type != test.want || stored.Text != "look" || stored.Media == nil || stored.Media.MimeType != test.mimetype ||
			stored.Media.Filename != "a name.pdf" || stored.Media.Size != int64(len(test.bytes)) {
			t.Errorf("%s: %+v with %+v", test.mimetype, stored, stored.Media)
		}
	}
}

func TestBadMediaIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := gateway.MediaRequest{To: "4915112345678", MimeType: "application/pdf", Filename: "x.pdf", Blob: w.blob("%PDF-1.4\n")}
	for _, test := range []struct {
		change   func(*gateway.MediaRequest)
		code     gateway.Code
		pointers []string
	}{
		{func(r *gateway.MediaRequest) { r.MimeType = "" }, gateway.CodeInvalidMedia, []string{"/media/mimetype"}},
		{func(r *gateway.MediaRequest) { r.MimeType = "pdf" }, gateway.CodeInvalidMedia, []string{"/media/mimetype"}},
		{func(r *gateway.MediaRequest) { r.MimeType = "image/png" }, gateway.CodeMediaMismatch, []string{"/media/mimetype"}},
		{func(r *gateway.MediaRequest) { r.Filename = "../../etc/passwd" }, gateway.CodeInvalidMedia, []string{"/media/filename"}},
		{func(r *gateway.MediaRequest) { r.Filename = "a\x00b" }, gateway.CodeInvalidMedia, []string{"/media/filename"}},
		{func(r *gateway.MediaRequest) { r.Filename = strings.Repeat("x", 256) }, gateway.CodeInvalidMedia, []string{"/media/filename"}},
		{func(r *gateway.MediaRequest) { r.Caption = strings.Repeat("x", gateway.MaxTextBytes+1) }, gateway.CodeInvalidMessage, []string{"/message"}},
		{func(r *gateway.MediaRequest) { r.To = "" }, gateway.CodeInvalidRecipient, []string{"/to"}},
	} {
		r := good
		test.change(&r)
		_, err := w.Media(t.Context(), w.tenant, r, nil)
		refused(t, err, test.code, test.pointers...)
	}
	_, err := w.Media(t.Context(), w.tenant, good, nil)
	must(t, err)
}

func TestADeadQueueHoldsUpNoAnswerAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answered := make(chan struct{})
	w.queue.before = func(ctx context.Context) error {
		<-answered // the queue does not come back before all have their answers
		<-ctx.Done()
		return ctx.Err()
	}
	accept := func() {
		_, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "x"})
		must(t, err)
	}
	for range 19 {
		accept()
	}
	close(answered)
	if calls, tickets := w.enqueued(); calls != 1 || len(tickets) != 0 {
		t.Fatalf("the dead queue was asked %d times and took %d tickets", calls, len(tickets))
	}
	accept()
	if calls, _ := w.enqueued(); calls != 1 {
		t.Fatalf("the dead queue was asked %d times", calls)
	}
	// After a moment it is asked again.
	w.queue.before = nil
	w.now = w.now.Add(10 * time.Second)
	accept()
	if _, tickets := w.enqueued(); len(tickets) != 1 {
		t.Fatalf("%d tickets after the queue came back", len(tickets))
	}
	stored, err := w.store.Messages(t.Context(), w.tenant.Key, gateway.MessageFilter{Limit: 100})
	if err != nil || len(stored) != 21 {
		t.Fatalf("%d messages stored, %v", len(stored), err)
	}
}

func TestTicketsThatWaitTravelTogetherAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	called, goOn := make(chan struct{}), make(chan struct{})
	w.queue.before = func(context.Context) error {
		called <- struct{}{}
		<-goOn
		return nil
	}
	var want []string
	accept := func() {
		m, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "x"})
		must(t, err)
		want = append(want, m.ID)
	}
	accept()
	<-called
	for range 40 { // while the queue has the first in hand
		accept()
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := w.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with tickets under way, Flush returned %v", err)
	}
	goOn <- struct{}{}
	<-called
	goOn <- struct{}{}
	calls, tickets := w.enqueued()
	var got []string
	for _, ticket := range tickets {
		got = append(got, ticket.MessageID)
	}
	if calls != 2 || !slices.Equal(got, want) {
		t.Fatalf("%d calls, tickets %v, want %v", calls, got, want)
	}
}

func TestASenderWhoLeavesAfterTheCommitIsServedAllTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	idem := &gateway.IdempotencyCompletion{
		TenantKey: w.tenant.Key, Scope: "POST /message", Key: "k",
		Answer: func([]*gateway.Message) (gateway.IdempotencyAnswer, error) {
			cancel() // inside the transaction
			return gateway.IdempotencyAnswer{Status: 202}, nil
		},
	}
	_, err := w.store.ReserveIdempotency(t.Context(), gateway.Idempotency{
		TenantKey: w.tenant.Key, Scope: idem.Scope, Key: idem.Key, LockUntil: time.Now().Add(time.Minute),
	})
	must(t, err)
	if _, err := w.Text(ctx, w.tenant, gateway.TextRequest{To: "4915112345678", Text: "x"}, idem); err != nil {
		t.Fatal(err)
	}
	if _, tickets := w.enqueued(); len(tickets) != 1 {
		t.Fatalf("%d tickets", len(tickets))
	}
}

func TestRetryMakesANewMessageOfOneThatEndedBadly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, err := w.Media(t.Context(), w.tenant, gateway.MediaRequest{
		To: "4915112345678", Caption: "look", MimeType: "application/pdf", Filename: "x.pdf", Blob: w.blob("%PDF-1.4\n"),
		SendOptions: gateway.SendOptions{Priority: gateway.PriorityHigh, Reference: "r"},
	}, nil)
	must(t, err)
	_, err = w.Retry(t.Context(), w.tenant, old.ID, true, nil)
	refused(t, err, gateway.CodeNotRetryable)

	books := ledger.New(w.store, time.Now)
	_, err = books.Cancel(t.Context(), w.tenant.Key, old.ID)
	must(t, err)
	m, err := w.Retry(t.Context(), w.tenant, old.ID, false, nil)
	must(t, err)
	stored, err := w.store.Message(t.Context(), w.tenant.Key, m.ID)
	must(t, err)
	if m.ID == old.ID || m.WhatsAppID == old.WhatsAppID || stored.RetryOf != old.ID || stored.To != old.To || stored.Text != "look" ||
		stored.Priority != gateway.PriorityHigh || stored.Reference != "r" || *stored.Media != *old.Media || stored.Status != gateway.StatusQueued ||
		!stored.ExpiresAt.Equal(w.now.Add(10*time.Minute)) {
		t.Fatalf("%+v", stored)
	}

	_, err = w.Retry(t.Context(), w.tenant, "none", false, nil)
	refused(t, err, gateway.CodeNotFound)
}

// Unknown, or failed as poison: an attempt may have arrived all the same.
func TestRetryOfAnUnknownOutcomeNeedsForce(t *testing.T) {
	t.Parallel()
	for _, status := range []gateway.Status{gateway.StatusUnknown, gateway.StatusFailed} {
		w := newWorld(t)
		old, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "x"})
		must(t, err)
		_, err = w.store.Update(t.Context(), w.tenant.Key, old.ID, nil, func(m *gateway.Message) ([]gateway.Event, error) {
			m.Status, m.Phase, m.Uncertain = status, gateway.PhaseNone, true
			return nil, nil
		})
		must(t, err)
		_, err = w.Retry(t.Context(), w.tenant, old.ID, false, nil)
		refused(t, err, gateway.CodeNotRetryable)
		m, err := w.Retry(t.Context(), w.tenant, old.ID, true, nil)
		must(t, err)
		if m.RetryOf != old.ID {
			t.Fatalf("%s: %+v", status, m)
		}
	}
}
