package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the size of the database

	"github.com/wapro/hub/internal/testkit"
)

// growTenants shows how cost grows with tenants, none of them paired, whose messages wait; what a connected session costs is measured by
// idle. It takes long and runs only when it is asked for by name, as growBacklog.
func growTenants(b *bench) {
	h := startHub(b, testkit.StartSimulator(b))
	m := &matrix{title: "tenants"}
	var keys []string
	var ids []string
	for _, n := range b.tenants {
		each(b, 8, n-len(ids), func(i int) {
			h.admin.JSON(b, http.MethodPost, "/admin/tenants", map[string]string{"id": fmt.Sprintf("grown-%d", len(ids)+i)}, http.StatusCreated, nil)
		})
		for i := len(ids); i < n; i++ {
			id := fmt.Sprintf("grown-%d", i)
			var key struct {
				Key string `json:"key"`
			}
			h.admin.JSON(b, http.MethodPost, "/admin/tenants/"+id+"/keys", map[string]string{}, http.StatusCreated, &key)
			ids, keys = append(ids, id), append(keys, key.Key)
		}
		m.columns = append(m.columns, n)
		b.acceptAt(h, m, ids, keys)
		last := h.admin.WithKey(keys[n-1]).Send(b, ids[n-1], "491711234567", text)
		m.add("GET messages/{id}, p50", " ms", b.timed(h, "/api/"+ids[n-1]+"/messages/"+last.ID))
		m.add("GET session, p50", " ms", b.timed(h, "/api/"+ids[n-1]+"/session"))
		b.atRest(h, m)
	}
	b.table.addMatrix(b.shape.name+": cost by the number of tenants", m)
}

// growBacklog shows how cost grows with messages that wait, of bulks of one tenant that is online and paced so that next to none leaves.
func growBacklog(b *bench) {
	sim := testkit.StartSimulator(b)
	server := startWire(b, sim.Process.Printed("WHATSAPP_SERVER="))
	h := startHubAt(b, sim, server.addr())
	big := h.pair(sim, 1)[0]
	const to = "491711234567"
	h.admin.AwaitStatus(b, big, h.admin.Send(b, big, to, text).ID, "read")
	h.admin.JSON(b, http.MethodPatch, "/api/"+big+"/settings", []byte(`{"pacing":{"delaySeconds":3600},"defaultExpiry":{"bulk":2592000}}`), http.StatusOK, nil)
	m := &matrix{title: "waiting messages"}
	waiting, bulk := 0, ""
	for _, n := range b.waiting {
		begun, before := time.Now(), waiting
		for waiting < n {
			part := min(n-waiting, bulkRecipients)
			bulk, _ = h.bulk(big, part, "")
			waiting += part
		}
		m.columns = append(m.columns, n)
		m.add("accepted by POST /bulk", "/s", float64(n-before)/time.Since(begun).Seconds())
		pause(b, min(b.window, settled)) // the first of the bulk leaves, the lane is filled
		b.acceptAt(h, m, []string{tenant}, []string{testkit.TenantKey})
		var next []float64
		for range min(b.samples, 20) {
			idleAWhile(b)
			server.forget()
			begun := time.Now()
			h.admin.JSON(b, http.MethodPost, "/api/"+big+"/message", map[string]string{"to": to, "message": text, "priority": "high"}, http.StatusAccepted, nil)
			next = append(next, milliseconds(arrival(b, server).Sub(begun)))
		}
		m.add(fmt.Sprintf("a high message of that tenant: accept to first byte, p50 of %d", len(next)), " ms", percentile(next, 50))
		m.add("the same, highest", " ms", percentile(next, 100))
		m.add("GET messages/{id} of the last in line, with its place and time, p50", " ms", b.timed(h, "/api/"+big+"/messages/"+h.lastOf(big, bulk)))
		m.add("GET bulk/{id}, counted, p50", " ms", b.timed(h, "/api/"+big+"/bulk/"+bulk))
		m.add("GET session, everything that waits counted, p50", " ms", b.timed(h, "/api/"+big+"/session"))
		b.atRest(h, m)
		m.add("database", " MiB", b.databaseSize(h)/(1<<20))
	}
	b.table.addMatrix(b.shape.name+": cost by the number of messages that wait, of one tenant", m)
}

// settled is how long what was asked for last may still keep the programs busy.
const settled = 3 * time.Second

// acceptAt measures accepts, tenants in turn.
func (b *bench) acceptAt(h *hub, m *matrix, ids, keys []string) {
	b.Helper()
	var turn atomic.Int64
	run := func(d time.Duration) (rate, cost float64) {
		before := spent(b)
		end := time.Now().Add(d)
		accepted, took, err := load(b.Context(), h.addr(), func(int64) []byte {
			if !time.Now().Before(end) {
				return nil
			}
			n := turn.Add(1)
			i := int(n) % len(ids)
			return postRequest("/api/"+ids[i]+"/message", keys[i], messageBody(fmt.Sprintf("49160%07d", n%10_000_000)))
		})
		if err != nil {
			b.Fatal(err)
		}
		var all time.Duration
		for program, cpu := range spent(b) {
			all += cpu - before[program]
		}
		return float64(accepted) / took.Seconds(), milliseconds(all) / float64(accepted)
	}
	run(b.accept / 3)
	rate, cost := run(b.accept)
	m.add(fmt.Sprintf("accepts, %d connections", connections), "/s", rate)
	m.add("CPU time of an accept, all programs and the client", " ms", cost)
}

// timed is the median time of a request.
func (b *bench) timed(h *hub, path string) float64 {
	b.Helper()
	var took []float64
	for range max(b.samples/4, 5) {
		begun := time.Now()
		h.admin.JSON(b, http.MethodGet, path, nil, http.StatusOK, nil)
		took = append(took, milliseconds(time.Since(begun)))
	}
	return percentile(took, 50)
}

// lastOf is the id of a message of a bulk that waits behind most others.
func (h *hub) lastOf(tenant, bulk string) string {
	h.b.Helper()
	var list struct {
		Data []testkit.Message `json:"data"`
	}
	h.admin.JSON(h.b, http.MethodGet, "/api/"+tenant+"/messages?limit=1&bulkId="+bulk, nil, http.StatusOK, &list)
	if len(list.Data) == 0 {
		h.b.Fatal("a bulk has no messages")
	}
	return list.Data[0].ID
}

// atRest adds what the programs cost while nothing is asked of them.
func (b *bench) atRest(h *hub, m *matrix) {
	b.Helper()
	pause(b, min(b.window, settled))
	before, watched := spent(b), min(b.window, 2*settled)
	pause(b, watched)
	after := spent(b)
	cpu := func(program string) float64 {
		return 100 * (after[program] - before[program]).Seconds() / watched.Seconds()
	}
	for _, program := range programs {
		if program == client || !b.shape.postgres && program != "api" {
			continue
		}
		m.add("at rest: "+program+", of a core", " %", cpu(program))
	}
	m.add("at rest: memory of the API", " MiB", float64(h.apiUsage().resident)/(1<<20))
	if b.shape.postgres {
		m.add("at rest: memory of the worker", " MiB", float64(h.usage().resident)/(1<<20))
	}
}

// databaseSize is in bytes.
func (b *bench) databaseSize(h *hub) float64 {
	b.Helper()
	if !b.shape.postgres {
		info, err := os.Stat(strings.TrimPrefix(h.database, "sqlite://"))
		if err != nil {
			b.Fatal(err)
		}
		return float64(info.Size())
	}
	db, err := sql.Open("pgx", h.database)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // its work is done
	var size float64
	if err := db.QueryRowContext(b.Context(), `SELECT pg_database_size(current_database())`).Scan(&size); err != nil {
		b.Fatal(err)
	}
	return size
}

// matrix is a table of figures for growing numbers of something.
type matrix struct {
	title   string
	columns []int
	names   []string
	cells   map[string][]string
}

func (m *matrix) add(name, unit string, value float64) {
	if m.cells == nil {
		m.cells = map[string][]string{}
	}
	if _, known := m.cells[name]; !known {
		m.names = append(m.names, name)
	}
	m.cells[name] = append(m.cells[name], figure(value, unit))
}

func (m *matrix) String() string {
	var b strings.Builder
	b.WriteString("| " + m.title + " |")
	for _, n := range m.columns {
		b.WriteString(" " + thousands(n) + " |")
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(m.columns)) + "|\n")
	for _, name := range m.names {
		b.WriteString("| " + name + " | " + strings.Join(m.cells[name], " | ") + " |\n")
	}
	return b.String()
}

// thousands writes 1000000 as 1,000,000.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
