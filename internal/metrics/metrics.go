// Package metrics counts what the hub does, for Prometheus. It is the only importer of its client: rooms know nothing of metrics, and
// internal/app puts what counts between them. It imports nothing of the hub but the domain.
//
// No label names a tenant, a recipient or a message: each is a series for ever, and a hub has thousands. What one tenant does is the API's to
// tell (/stats, /session). Labels are lanes, statuses, codes, routes and kinds, which the program's text bounds.
package metrics

import (
	"database/sql"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wapro/hub/internal/gateway"
)

// Phase is a part of the way of a message whose time is measured.
type Phase string

// The phases.
const (
	PhaseWait    Phase = "wait"    // from when it could be sent to its first attempt: queueing and pacing
	PhaseClaim   Phase = "claim"   // taking the next message from SQL
	PhaseSend    Phase = "send"    // the session: looking up devices, encrypting, uploading, WhatsApp's acknowledgement
	PhaseRecord  Phase = "record"  // writing what came of it
	PhaseDeliver Phase = "deliver" // from WhatsApp's acknowledgement to the confirmation of the recipient's device
)

// Who gives tickets to the queue.
const (
	ByIntake   = "intake"   // with an accept
	ByRelay    = "relay"    // what the queue lost, what became due, what a bulk feeds
	ByDispatch = "dispatch" // a retry
)

// Metrics are the counters of one process. Its methods may be called from any goroutine and do not block.
type Metrics struct {
	registry *prometheus.Registry

	accepted    *prometheus.CounterVec
	transitions *prometheus.CounterVec
	outcomes    *prometheus.CounterVec
	retries     prometheus.Counter
	phases      *prometheus.HistogramVec
	receipts    *prometheus.CounterVec
	tickets     *prometheus.CounterVec
	leasesLost  prometheus.Counter
	panics      prometheus.Counter
	requests    *prometheus.CounterVec
	requestTime *prometheus.HistogramVec
	statuses    [600]string // of HTTP, as text
}

// New makes the counters, with those of Go and of the process.
func New() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		accepted:    counter("wapro_messages_accepted_total", "Messages that were committed and answered for, by lane.", "lane"),
		transitions: counter("wapro_message_transitions_total", "Messages that came to a status after they were accepted, by that status.", "status"),
		outcomes:    counter("wapro_attempt_outcomes_total", "Attempts to send, by what came of them and the code of the failure.", "outcome", "code"),
		retries:     prometheus.NewCounter(prometheus.CounterOpts{Name: "wapro_retries_total", Help: "Attempts that were not a message's first."}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wapro_send_phase_seconds", Help: "How long the parts of the way of a message took.",
			Buckets: []float64{.001, .005, .025, .1, .5, 1, 5, 30, 120, 600, 3600},
		}, []string{"phase"}),
		receipts:    counter("wapro_receipts_total", "Receipts that came from WhatsApp and were recorded, by kind; one may be of many messages.", "kind"),
		tickets:     counter("wapro_tickets_total", "Tickets that were given to the queue, by who did.", "by"),
		leasesLost:  prometheus.NewCounter(prometheus.CounterOpts{Name: "wapro_leases_lost_total", Help: "Sessions that this process had to let go because it did not hold their lease any more."}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "wapro_panics_total", Help: "Panics that were contained. The log tells where, and of which tenant."}),
		requests:    counter("wapro_http_requests_total", "Requests to the API that were answered, by route and status.", "method", "route", "status"),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wapro_http_request_seconds", Help: "How long requests to the API took, the streams and ?wait= included.", Buckets: []float64{.005, .025, .1, .5, 2.5, 10}}, []string{"route"}),
	}
	m.registry.MustRegister(m.accepted, m.transitions, m.outcomes, m.retries, m.phases, m.receipts, m.tickets, m.leasesLost, m.panics, m.requests, m.requestTime,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for status := range m.statuses {
		m.statuses[status] = strconv.Itoa(status)
	}
	m.showAtZero()
	return m
}

// showAtZero makes the series that alerts count on be there from the start: a rate cannot tell of the first of something that was not there before.
func (m *Metrics) showAtZero() {
	for _, lane := range gateway.Priorities() {
		m.accepted.WithLabelValues(string(lane))
	}
	for _, status := range gateway.Statuses() {
		if status != gateway.StatusScheduled { // nothing comes to it later
			m.transitions.WithLabelValues(string(status))
		}
	}
	for _, phase := range []Phase{PhaseWait, PhaseClaim, PhaseSend, PhaseRecord, PhaseDeliver} {
		m.phases.WithLabelValues(string(phase))
	}
	for _, kind := range []gateway.ReceiptKind{gateway.ReceiptDelivered, gateway.ReceiptRead, gateway.ReceiptPlayed} {
		m.receipts.WithLabelValues(string(kind))
	}
	for _, by := range []string{ByIntake, ByRelay, ByDispatch} {
		m.tickets.WithLabelValues(by)
	}
	m.outcomes.WithLabelValues(string(gateway.OutcomeSent), "")
}

// Handler serves what was counted.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, Timeout: 2 * readTime})
}

// WatchPool has the state of a connection pool shown under that name, as go_sql_...{db_name=...}.
func (m *Metrics) WatchPool(name string, db *sql.DB) {
	m.registry.MustRegister(collectors.NewDBStatsCollector(db, name))
}

// Accepted counts n messages that were committed.
func (m *Metrics) Accepted(lane gateway.Priority, n int) {
	m.accepted.WithLabelValues(string(lane)).Add(float64(n))
}

// Moved counts n messages that came to a status.
func (m *Metrics) Moved(to gateway.Status, n int) {
	m.transitions.WithLabelValues(string(to)).Add(float64(n))
}

// Began counts an attempt of a message that was claimed.
func (m *Metrics) Began(attempt int) {
	if attempt > 1 {
		m.retries.Inc()
	}
}

// Outcome counts what an attempt came to.
func (m *Metrics) Outcome(o gateway.Outcome) {
	m.outcomes.WithLabelValues(string(o.Kind), string(o.Failure.Code)).Inc()
}

// Took tells how long a phase took.
func (m *Metrics) Took(p Phase, d time.Duration) {
	m.phases.WithLabelValues(string(p)).Observe(max(0, d.Seconds()))
}

// Receipt counts a receipt that was recorded.
func (m *Metrics) Receipt(kind gateway.ReceiptKind) {
	switch kind {
	case gateway.ReceiptDelivered, gateway.ReceiptRead, gateway.ReceiptPlayed:
	default:
		kind = "other" // the server chose it
	}
	m.receipts.WithLabelValues(string(kind)).Inc()
}

// Enqueued counts n tickets.
func (m *Metrics) Enqueued(by string, n int) {
	m.tickets.WithLabelValues(by).Add(float64(n))
}

// LeaseLost counts a session that had to be let go.
func (m *Metrics) LeaseLost() { m.leasesLost.Inc() }

// Panicked counts a panic that was contained.
func (m *Metrics) Panicked() { m.panics.Inc() }

// Request counts a request that was answered. route is a pattern of the router, never a path; "" when none matched.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other" // the caller made it up
	}
	if route == "" {
		method, route = "any", "none" // the caller chose both
	}
	if status < 0 || status >= len(m.statuses) {
		status = 0
	}
	m.requests.WithLabelValues(method, route, m.statuses[status]).Inc()
	m.requestTime.WithLabelValues(route).Observe(took.Seconds())
}
