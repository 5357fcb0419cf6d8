package store_test

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// line is a network line to a Postgres that can be cut at a commit, or at a statement that is a transaction of its own.
type line struct {
	address string
	cut     atomic.Int32           // how to treat the next one
	mark    atomic.Pointer[string] // what it is known by
	cuts    atomic.Int32
}

// next says how to treat the next commit.
func (l *line) next(how int32) { l.nextWith("commit\x00", how) }

// nextWith says how to treat the next packet that holds mark.
func (l *line) nextWith(mark string, how int32) {
	l.mark.Store(&mark)
	l.cut.Store(how)
}

const (
	whole     = iota
	beforeIt  // the server does not get it
	beforeAck // the server carries it out, its answer is lost
)

// newLine is a line to the server of url; it returns the URL that leads through it.
func newLine(t *testing.T, address string) (*line, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{address: u.Host}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close() //nolint:errcheck // the end of Accept
		wg.Wait()
	})
	u.Host = listener.Addr().String()
	return l, u.String()
}

// carry passes everything on until it cuts, or one end hangs up.
func (l *line) carry(client net.Conn) {
	defer client.Close() //nolint:errcheck // cut, or hung up
	server, err := net.Dial("tcp", l.address)
	if err != nil {
		return
	}
	var deaf atomic.Bool
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close() //nolint:errcheck // likewise
		buffer := make([]byte, 1<<16)
		for {
			n, err := server.Read(buffer)
			if err != nil || deaf.Load() {
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	buffer := make([]byte, 1<<16)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			break
		}
		how := int32(whole)
		if mark := l.mark.Load(); mark != nil && bytes.Contains(buffer[:n], []byte(*mark)) {
			if how = l.cut.Swap(whole); how != whole {
				l.cuts.Add(1)
			}
		}
		if how == beforeIt {
			break
		}
		deaf.Store(how == beforeAck)
		if _, err := server.Write(buffer[:n]); err != nil || how == beforeAck {
			back.Wait() // for the answer that the client does not get
			break
		}
	}
	server.Close() //nolint:errcheck // cut, or hung up
	back.Wait()
}

// Whoever waits for a commit whose answer is lost is told what became of it.
func TestCommitWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	t.Parallel()
	direct := services.Postgres(t)
	l, through := newLine(t, direct)
	s, reference := open(t, through, store.Options{}), open(t, direct, store.Options{})
	tenant := newTenant(t, reference, "algo")
	f := lease(t, reference, "worker", time.Hour)

	for _, how := range []int32{beforeIt, beforeAck} {
		stored := how == beforeAck
		attempt := func(m *gateway.Message, mark string) {
			l.nextWith(mark, how)
			err := s.Accept(t.Context(), []*gateway.Message{m}, nil)
			_, missing := reference.Message(t.Context(), tenant.Key, m.ID)
			if (err == nil) != stored || (missing == nil) != stored {
				t.Errorf("cut %d: the caller was told %v, the database says %v", how, err, missing)
			}
			if !stored {
				if gateway.CodeOf(err) != gateway.CodeUnavailable {
					t.Errorf("got %v", err)
				}
				accept(t, s, m)
			}
		}
		m, other := message(tenant, int(how)), message(tenant, 10+int(how))
		attempt(m, m.ID)                                                // in one statement
		other.FirstContact, other.Priority = true, gateway.PriorityHigh // so that it is not, and not in the way
		attempt(other, "commit\x00")

		l.nextWith(string(gateway.PhaseWorking), how) // in one statement, too
		ticket := gateway.Ticket{TenantKey: tenant.Key, MessageID: m.ID, Lane: m.Priority}
		claimed, err := s.Claim(t.Context(), f, ticket, begin("worker"))
		found, readErr := reference.Message(t.Context(), tenant.Key, m.ID)
		if readErr != nil || (err == nil && claimed != nil) != stored || (found.InFlight == "worker") != stored {
			t.Errorf("cut %d: claimed %v, %v; the database says %q, %v", how, claimed, err, found.InFlight, readErr)
		}
		if !stored {
			if claimed, err = s.Claim(t.Context(), f, ticket, begin("worker")); claimed == nil || err != nil {
				t.Errorf("claimed again: %v, %v", claimed, err)
			}
		}

		// What is not looked up says that it did not succeed, and can be repeated.
		l.next(how)
		if err := s.SetSetting(t.Context(), "x", "y"); gateway.CodeOf(err) != gateway.CodeUnavailable || errors.Is(err, gateway.ErrFenced) {
			t.Errorf("cut %d: %v", how, err)
		}
		if _, ok, err := reference.Setting(t.Context(), "x"); ok != stored || err != nil {
			t.Errorf("cut %d: stored %t, %v", how, ok, err)
		}
	}
	if l.cuts.Load() != 8 {
		t.Errorf("%d cuts", l.cuts.Load())
	}
}
