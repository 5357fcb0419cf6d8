package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// sendCase is one way to send.
type sendCase struct {
	sessions  int
	first     bool // to people never written to before; else to known contacts, several of each session in turn
	roundTrip time.Duration
	each      int // messages of one session
}

func (c sendCase) String() string {
	who := "known contacts"
	if c.first {
		who = "first contacts"
	}
	sessions := "1 session"
	if c.sessions > 1 {
		sessions = fmt.Sprintf("%d sessions", c.sessions)
	}
	return fmt.Sprintf("sends to %s, %s, %d ms round trip", who, sessions, c.roundTrip.Milliseconds())
}

// sendCases have so many messages that each run lasts some seconds: a round trip of 50 ms allows 20 sends a second, a first contact
// takes four. Beside one session alone, many send at the same time.
func sendCases(n, many int) []sendCase {
	const slow = 50 * time.Millisecond
	return []sendCase{
		{sessions: 1, each: n},
		{sessions: 1, each: n / 10, roundTrip: slow},
		{sessions: 1, each: n / 4, first: true},
		{sessions: 1, each: n / 20, first: true, roundTrip: slow},
		{sessions: many, each: n / 5},
		{sessions: many, each: n / 15, roundTrip: slow},
		{sessions: many, each: n / 30, first: true},
		{sessions: many, each: n / 30, first: true, roundTrip: slow},
	}
}

// fewest is how many messages a session sends at least, unless asked for fewer: the first and the last are counted less exactly.
const fewest = 8

// contacts is how many people a session knows.
const contacts = 10

// send measures messages a second from a backlog: accepted before, and counted from the answer to the last one until the last one's
// status is sent, with every status recorded and the phones' receipts handled meanwhile; and the CPU time that takes. The baseline is a loop over whatsmeow's SendMessage
// (bare.go), on the same database engine and server, through the same simulator process.
//
// The round trip is the simulator's: it holds back every frame half of it each way; nothing of it is between a program and its database.
// The simulator decrypts what it is sent, and takes its part of the machine from both alike.
func send(b *bench) {
	sim := testkit.StartSimulator(b)
	h := startHub(b, sim)
	tenants := h.pair(sim, b.many)
	settings := bareOn(b, sim)
	settings.Numbers = bareNumbers(b.many)
	loop := startBare(b, sim, settings)

	s := &sending{b: b, hub: h, tenants: tenants, loop: loop}
	known := s.recipients(sendCase{sessions: b.many, first: true, each: contacts})
	s.throughHub(known)
	loop.send(b, known)
	s.known = known
	for _, c := range sendCases(b.n, b.many) {
		s.measure(sim, c)
	}
}

// sending is a hub and a bare loop that are ready to send.
type sending struct {
	b       *bench
	hub     *hub
	tenants []string
	loop    bare
	known   [][]string // contacts of each session
	fresh   int        // people so far
}

func (s *sending) measure(sim *testkit.Simulator, c sendCase) {
	s.b.Helper()
	sim.ClearFaults()
	if c.roundTrip > 0 {
		sim.Script(wasim.Fault{Kind: wasim.Latency, Delay: c.roundTrip / 2, Times: -1})
	}
	defer sim.ClearFaults()
	c.each = max(c.each, min(s.b.n, fewest))
	rate := row{what: c.String(), unit: "/s"}
	cost := row{what: c.String() + ": CPU time of one", unit: " ms"}
	whole := row{what: c.String() + ": CPU time of one, all programs", unit: " ms"}
	for range s.b.pairs {
		ours, ourCost, ourPrograms := s.throughHub(s.recipients(c))
		before, programs := processUsage(s.b, s.loop.pid).cpu, spent(s.b)
		n := float64(c.sessions * c.each)
		theirs := n / s.loop.send(s.b, s.recipients(c)).Seconds()
		theirCost := milliseconds(processUsage(s.b, s.loop.pid).cpu-before) / n
		theirPrograms := spentFor(programs, spent(s.b), n)
		s.b.Logf("%s: milliseconds of CPU time of one: hub %v, bare %v", c, ourPrograms, theirPrograms)
		rate.pairs = append(rate.pairs, pair{ours, theirs})
		cost.pairs = append(cost.pairs, pair{ourCost, theirCost})
		whole.pairs = append(whole.pairs, pair{sum(ourPrograms), sum(theirPrograms)})
	}
	rows := []row{rate}
	if c.roundTrip == 0 {
		rows = append(rows, cost, whole)
	}
	for _, r := range rows {
		r.shape, r.baseline = s.b.shape.name, "bare whatsmeow"
		s.b.table.add(r)
	}
}

// recipients are whom each session sends to, in order.
func (s *sending) recipients(c sendCase) [][]string {
	all := make([][]string, c.sessions)
	for i := range all {
		for n := range c.each {
			to := ""
			if c.first {
				to = fmt.Sprintf("49170%07d", s.fresh)
				s.fresh++
			} else {
				to = s.known[i][n%contacts]
			}
			all[i] = append(all[i], to)
		}
	}
	return all
}

// throughHub has the hub accept a message for each recipient and returns how many it sent a second once the last was accepted, and the
// milliseconds of CPU time that the worker (embedded: the hub) took for one of those; all programs' are counted until the receipts of the last
// ones have come. It returns then, so that nothing is left to do.
func (s *sending) throughHub(to [][]string) (rate, cost float64, programs map[string]float64) {
	s.b.Helper()
	first, atFirst, allAtFirst := time.Now(), s.spent(), spent(s.b)
	var requests [][]byte
	last := len(to[0]) - 1
	for n := range last { // in turns, so that no tenant is done while another's are still being accepted
		for i := range to {
			requests = append(requests, postRequest("/api/"+s.tenants[i]+"/message", testkit.AdminKey, messageBody(to[i][n])))
		}
	}
	if err := s.hub.acceptAll(s.b.Context(), requests); err != nil {
		s.b.Fatalf("accept a backlog: %v", err)
	}
	// A lane is first in, first out: when a tenant's last is sent all are.
	ids := make([]string, len(to))
	each(s.b, len(to), len(to), func(i int) { ids[i] = s.hub.admin.Send(s.b, s.tenants[i], to[i][last], text).ID })
	begun, before, all := time.Now(), s.spent(), spent(s.b)
	waiting := make([]int, len(to))
	each(s.b, len(to), len(to), func(i int) { waiting[i] = s.hub.admin.Waiting(s.b, s.tenants[i]) })
	s.await(ids, "sent")
	end, after := time.Now(), s.spent()
	s.await(ids, "read")
	read := spent(s.b)
	total := 0
	for i, n := range waiting {
		total += n
		s.noneFailed(s.tenants[i])
	}
	if total == 0 { // so few that none waited any more: all of them, then, from the first request on
		begun, before, all, total = first, atFirst, allAtFirst, len(to)*len(to[0])
	}
	n := float64(total)
	return n / end.Sub(begun).Seconds(), milliseconds(after-before) / n, spentFor(all, read, n)
}

// spent is the CPU time of the process that sends for the hub.
func (s *sending) spent() time.Duration {
	s.b.Helper()
	return processUsage(s.b, s.hub.worker.PID()).cpu
}

// await holds one request for each tenant's message until it has come to a status; the hub looks every 50 ms.
func (s *sending) await(ids []string, until string) {
	s.b.Helper()
	each(s.b, len(ids), len(ids), func(i int) {
		path := "/api/" + s.tenants[i] + "/messages/" + ids[i] + "?wait=60s&until=" + until
		for deadline := time.Now().Add(10 * time.Minute); ; {
			var m testkit.Message
			s.hub.admin.JSON(s.b, http.MethodGet, path, nil, http.StatusOK, &m)
			switch {
			case m.Status == "read", m.Status == "delivered" && until == "sent", m.Status == until:
				return
			case m.Status == "failed", m.Status == "unknown", m.Status == "expired", time.Now().After(deadline):
				s.b.Fatalf("message %s of %s is %s, and should be %s: %+v", m.ID, s.tenants[i], m.Status, until, m.Error)
			}
		}
	})
}

func (s *sending) noneFailed(tenant string) {
	s.b.Helper()
	var failed struct {
		Data []testkit.Message `json:"data"`
	}
	s.hub.admin.JSON(s.b, http.MethodGet, "/api/"+tenant+"/messages?limit=1&status=failed", nil, http.StatusOK, &failed)
	if len(failed.Data) > 0 {
		s.b.Fatalf("a message of %s failed: %+v", tenant, failed.Data[0].Error)
	}
}
