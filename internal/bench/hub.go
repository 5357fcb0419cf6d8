package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// shape is a way to run the hub.
type shape struct {
	name     string
	postgres bool // and Redis, with api and worker in processes of their own; else one process, SQLite and a broker in memory
}

//nolint:gochecknoglobals // constants that Go cannot spell
var (
	onPostgres = shape{name: "postgres", postgres: true}
	onSQLite   = shape{name: "embedded"}
)

// hub is the hub's programs with default settings, in processes of their own, pointed at a simulator in another one.
type hub struct {
	b      *bench
	env    []string
	api    *testkit.Process
	worker *testkit.Process // the same as api when embedded
	admin  *testkit.Client
	redis  string // URL; empty when embedded

	database string // URL
}

// tenant is what the bootstrap makes; others are added.
const tenant = "algo"

// startHub starts a hub on an empty database.
func startHub(b *bench, sim *testkit.Simulator) *hub {
	b.Helper()
	return startHubAt(b, sim, sim.Process.Printed("WHATSAPP_SERVER="))
}

// startHubAt is startHub with another way, host:port, to the simulator.
func startHubAt(b *bench, sim *testkit.Simulator, server string) *hub {
	b.Helper()
	dir := b.TempDir()
	h := &hub{b: b}
	database := "sqlite://" + filepath.Join(dir, "hub.db")
	if b.shape.postgres {
		database, h.redis = services.Postgres(b), services.Redis(b)
		h.env = append(h.env, "REDIS_URL="+h.redis)
	}
	h.database = database
	h.env = append(h.env, "WHATSAPP_SERVER="+server, "WHATSAPP_ROOT_KEY="+sim.Process.Printed("WHATSAPP_ROOT_KEY="),
		"DATABASE_URL="+database, "BLOB_URL=file://"+filepath.Join(dir, "media"), "ADMIN_API_KEY="+testkit.AdminKey, "BOOTSTRAP_TENANT="+tenant, "BOOTSTRAP_API_KEY="+testkit.TenantKey,
		"MASTER_KEY="+testkit.MasterKey, "EGRESS_ALLOW_PRIVATE=true")
	h.start()
	return h
}

func (h *hub) start() {
	h.b.Helper()
	h.api = testkit.RunProgram(h.b, "api", nil, h.env...)
	h.worker = h.api
	if h.b.shape.postgres {
		h.api.Listening("requests") // it makes the tables
		h.worker = testkit.RunProgram(h.b, "worker", nil, h.env...)
		h.worker.Listening("operations")
	}
	h.admin = testkit.NewClient(testkit.AdminKey, "http://"+h.addr())
}

// addr is the host:port of the API.
func (h *hub) addr() string { return h.api.Listening("requests") }

// pair makes tenants and pairs each with a number of its own. It returns their ids.
func (h *hub) pair(sim *testkit.Simulator, sessions int) []string {
	h.b.Helper()
	ids := make([]string, sessions)
	for i := range ids {
		ids[i] = fmt.Sprintf("tenant-%d", i)
		h.admin.JSON(h.b, http.MethodPost, "/admin/tenants", map[string]string{"id": ids[i]}, http.StatusCreated, nil)
	}
	each(h.b, 8, sessions, func(i int) {
		sim.Scan(h.admin.PairingCode(h.b, ids[i]), hubNumber(i))
		h.admin.AwaitSession(h.b, ids[i], "online")
	})
	return ids
}

// each calls do with 0 to n-1, limit at a time, and ends the section when one of them failed it.
func each(b *bench, limit, n int, do func(i int)) {
	b.Helper()
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if !b.Failed() {
				do(i)
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// Numbers of senders: one set for the hub's sessions, one for the bare ones.
func hubNumber(i int) string  { return fmt.Sprintf("1555100%04d", i) }
func bareNumber(i int) string { return fmt.Sprintf("1555200%04d", i) }

func bareNumbers(n int) []string {
	var all []string
	for i := range n {
		all = append(all, bareNumber(i))
	}
	return all
}

// text is a message of usual length.
var text = strings.Repeat("How fast can this be taken? ", 5) //nolint:gochecknoglobals // a constant that Go cannot spell
