package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// others are the tenants whose messages are timed while one more has a backlog.
const others = 4

// neighbours measures how long other tenants' messages take, from the request to the first byte at the simulator, while one tenant has as
// many waiting as one bulk may have. The baseline is the same hub without that tenant: it is made, paired, given its backlog, and
// deleted again for each pair. Its number is paced as a real one, a message every few seconds; then a second time, not at all, so
// that it sends as fast as it can meanwhile.
func neighbours(b *bench) {
	sim := testkit.StartSimulator(b)
	server := startWire(b, sim.Process.Printed("WHATSAPP_SERVER="))
	h := startHubAt(b, sim, server.addr())
	tenants := h.pair(sim, others)
	const to = "491711234567"
	for _, t := range tenants {
		m := h.admin.Send(b, t, to, text)
		h.admin.AwaitStatus(b, t, m.ID, "read")
	}
	server.onlyThese() // what the tenant with the backlog sends is not meant

	backlog := bulkRecipients
	if b.quick {
		backlog = quickRecipients
	}
	if b.recipients > 0 {
		backlog = b.recipients
	}
	sample := func() float64 {
		var took []float64
		for i := range b.samples {
			pause(b, 20*time.Millisecond)
			server.forget()
			begun := time.Now()
			h.admin.Send(b, tenants[i%len(tenants)], to, text)
			took = append(took, milliseconds(arrival(b, server).Sub(begun)))
		}
		pause(b, 200*time.Millisecond) // until the last ones' receipts are there
		return percentile(took, 99)
	}
	sample() // caches, statements
	for _, c := range []struct{ how, settings string }{
		{"paced as a real number", `{"pacing":{"delaySeconds":4}}`},
		{"sending as fast as it can", ""},
	} {
		r := row{
			what:  fmt.Sprintf("accept to first byte, p99 of %d, beside a tenant with %d waiting, %s", b.samples, backlog, c.how),
			shape: b.shape.name, unit: " ms", baseline: "without that tenant",
		}
		for n := range b.pairs {
			p := pair{base: sample()}
			busy := fmt.Sprintf("busy-%d-%d", len(c.settings), n)
			h.admin.JSON(b, http.MethodPost, "/admin/tenants", map[string]string{"id": busy}, http.StatusCreated, nil)
			sim.Scan(h.admin.PairingCode(b, busy), hubNumber(others+n))
			h.admin.AwaitSession(b, busy, "online")
			if c.settings != "" {
				h.admin.JSON(b, http.MethodPatch, "/api/"+busy+"/settings", []byte(c.settings), http.StatusOK, nil)
			}
			id, _ := h.bulk(busy, backlog, "")
			testkit.Eventually(b, time.Minute, func() (bool, string) {
				return h.sentOf(busy, id) > 0, "no message of the backlog was sent"
			})
			p.hub = sample()
			h.admin.JSON(b, http.MethodDelete, "/admin/tenants/"+busy, nil, http.StatusNoContent, nil)
			r.pairs = append(r.pairs, p)
		}
		b.table.add(r)
	}
}

// sentOf counts the messages of a bulk that have left.
func (h *hub) sentOf(tenant, id string) int {
	h.b.Helper()
	var bulk struct {
		Counts map[string]int `json:"counts"`
	}
	h.admin.JSON(h.b, http.MethodGet, "/api/"+tenant+"/bulk/"+id, nil, http.StatusOK, &bulk)
	return bulk.Counts["sent"] + bulk.Counts["delivered"] + bulk.Counts["read"]
}
