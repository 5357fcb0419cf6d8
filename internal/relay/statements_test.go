package relay_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/bulk"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/ledger"
	"github.com/wapro/hub/internal/relay"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// meter is a line to a Postgres that counts the statements which go through it.
type meter struct {
	server     string
	statements atomic.Int64
}

// newMeter returns the URL that leads through the meter to the server of address.
func newMeter(t *testing.T, address string) (*meter, string) {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	m := &meter{server: u.Host}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			carrying.Go(func() { m.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close() //nolint:errcheck // the end of Accept
		carrying.Wait()
	})
	u.Host = listener.Addr().String()
	return m, u.String()
}

// carry passes everything on. What a client says is a packet without a type to begin with, and then packets of a type, a length that
// counts itself, and a body: https://www.postgresql.org/docs/current/protocol-message-formats.html
func (m *meter) carry(client net.Conn) {
	defer client.Close() //nolint:errcheck // it hung up
	server, err := net.Dial("tcp", m.server)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()           //nolint:errcheck // the server hung up
		_, _ = io.Copy(client, server) // until one of them hangs up
	})
	defer back.Wait()
	defer server.Close() //nolint:errcheck // likewise
	packets := bufio.NewReader(client)
	for first := true; ; first = false {
		header := make([]byte, 5)
		if first {
			header = header[1:]
		}
		if _, err := io.ReadFull(packets, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[len(header)-4:])-4)
		if _, err := io.ReadFull(packets, body); err != nil {
			return
		}
		if !first && (header[0] == 'E' || header[0] == 'Q') { // Execute, Query
			m.statements.Add(1)
		}
		if _, err := server.Write(append(header, body...)); err != nil {
			return
		}
	}
}

// TestASweepAsksFewQuestions: what a sweep costs the database does not grow with the backlogs, and by little with each tenant that has
// one: whether the lease holds, what lies with dead processes, the bulks, and for each of the three lanes what is due and what is postponed.
func TestASweepAsksFewQuestions(t *testing.T) {
	t.Parallel()
	const (
		few, more = 2, 12
		each      = 9
	)
	m, address := newMeter(t, services.Postgres(t))
	db, err := store.Open(t.Context(), address, store.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	l, q := ledger.New(db, time.Now), newQueue()
	r, err := relay.New(db, l, q, relay.Options{Instance: "worker", Bulks: bulk.New(bulk.Deps{Store: db, Ledger: l})})
	must(t, err)

	made := 0
	tenants := func(n int) {
		for ; made < n; made++ {
			tenant, err := db.CreateTenant(t.Context(), fmt.Sprint("tenant-", made), "")
			must(t, err)
			var waiting []*gateway.Message
			for _, lane := range gateway.Priorities() {
				for i := range 20 {
					id := fmt.Sprintf("%s-%s-%d", tenant.ID, lane, i)
					waiting = append(waiting, &gateway.Message{
						ID: id, TenantKey: tenant.Key, To: "4915550000001", Type: gateway.TypeText, Text: "hello", Priority: lane, WhatsAppID: id,
						Status: gateway.StatusQueued, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
					})
				}
			}
			must(t, db.Accept(t.Context(), waiting, nil))
		}
		taken, err := db.AcquireSessions(t.Context(), "worker", time.Hour, n)
		must(t, err)
		if len(taken) == 0 {
			t.Fatal("no lease was taken")
		}
	}
	sweep := func() int64 {
		t.Helper()
		must(t, r.Sweep(t.Context(), 1)) // fills the lanes, so that those that follow find them full
		before := m.statements.Load()
		must(t, r.Sweep(t.Context(), 2))
		return m.statements.Load() - before
	}
	tenants(few)
	first := sweep()
	tenants(more)
	second := sweep()
	t.Logf("a sweep asks %d questions for %d tenants, %d for %d", first, few, second, more)
	if grows := float64(second-first) / (more - few); grows > each {
		t.Errorf("a sweep asks %.1f questions for each tenant, want %d at most", grows, each)
	}
	if first > few*each+each {
		t.Errorf("a sweep asks %d questions for %d tenants", first, few)
	}
}
