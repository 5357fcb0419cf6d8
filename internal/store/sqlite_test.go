package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
)

func openFile(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite://"+path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a second Close is nothing; the tests that close check the first
	return s
}

func message(tenant gateway.Tenant, n int) *gateway.Message {
	now := time.Now()
	return &gateway.Message{
		ID: fmt.Sprintf("m%06d", n), TenantKey: tenant.Key, TenantID: tenant.ID, To: "4915550000001", Type: gateway.TypeText,
		Text: "hello", Priority: gateway.PriorityNormal, WhatsAppID: fmt.Sprintf("3EB0%06d", n), Status: gateway.StatusQueued,
		CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

func TestAcceptedMessagesSurviveReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a folder?", "hub #1.db")
	s := openFile(t, path)
	tenant, err := s.CreateTenant(t.Context(), "algo", "")
	if err != nil {
		t.Fatal(err)
	}
	m := message(tenant, 1)
	if err := s.Accept(t.Context(), []*gateway.Message{m}, nil); err != nil {
		t.Fatal(err)
	}
	// Opened again while the first one lives: as after a kill -9, nothing has been flushed by Close.
	again := openFile(t, path)
	if _, err := again.Message(t.Context(), tenant.Key, m.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("closing twice: %v", err)
	}
	if err := s.Accept(t.Context(), []*gateway.Message{message(tenant, 2)}, nil); gateway.CodeOf(err) != gateway.CodeUnavailable {
		t.Fatalf("a closed store answers %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v, %v", info.Mode(), err)
	}
}

func TestProcessesThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hub.db")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), "sqlite://"+path, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOtherDatabasesAreRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"mysql://user:secret@host/db", "postgres://user:secret@127.0.0.1:1:2/db", "postgres://user:secret@127.0.0.1:1/db", "sqlite://", "hub.db", ""} {
		_, err := store.Open(t.Context(), url, store.Options{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestWriterIsDurableAndReadersOnlyRead(t *testing.T) {
	t.Parallel()
	s := openFile(t, filepath.Join(t.TempDir(), "hub.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		var got string
		if err := s.Writer().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
		}
	}
	if s.Dialect() != "sqlite" || s.Writer().Stats().MaxOpenConnections != 1 {
		t.Errorf("dialect %s, %d writers", s.Dialect(), s.Writer().Stats().MaxOpenConnections)
	}
}

// Whoever holds the writer for long holds up the others, but not beyond their own patience, and loses nothing.
func TestWriteWaitsForTheWriterOnlyAsLongAsItsCaller(t *testing.T) {
	t.Parallel()
	s := openFile(t, filepath.Join(t.TempDir(), "hub.db"))
	tenant, err := s.CreateTenant(t.Context(), "algo", "")
	if err != nil {
		t.Fatal(err)
	}
	hog, err := s.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// The first takes the turn and waits for the connection; the second waits behind it and gives up.
	firstDone := make(chan error, 1)
	go func() { firstDone <- s.Accept(t.Context(), []*gateway.Message{message(tenant, 1)}, nil) }()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var impatient error
	for impatient == nil && ctx.Err() == nil {
		impatient = s.SetSetting(ctx, "x", "y")
	}
	if _, ok, err := s.Setting(t.Context(), "x"); impatient == nil || ok || err != nil {
		t.Fatalf("the impatient one was told %v, stored %t, %v", impatient, ok, err)
	}
	if err := s.CheckFence(t.Context(), gateway.Fence{TenantKey: tenant.Key}); err == nil {
		t.Fatal("nobody holds this lease")
	} // and reading goes on while somebody writes
	if err := hog.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-firstDone; err != nil {
		t.Fatal(err)
	}
}

func TestInterruptedDeletionIsFinishedAtTheNextOpening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hub.db")
	s := openFile(t, path)
	tenant, err := s.CreateTenant(t.Context(), "algo", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Accept(t.Context(), []*gateway.Message{message(tenant, 1)}, nil); err != nil {
		t.Fatal(err)
	}
	// What a deletion leaves that dies after its first transaction.
	for _, query := range []string{
		`DELETE FROM sessions`, `UPDATE tenants SET deleted_at = 1`,
		`INSERT INTO opt_outs (tenant_key, recipient, source, created_at) SELECT tenant_key, '4915550000001', 'api', 1 FROM tenants`, // of a request beside it
	} {
		if _, err := s.Writer().ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openFile(t, path)
	var rows int
	err = s.Writer().QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM tenants) + (SELECT COUNT(*) FROM messages)
		+ (SELECT COUNT(*) FROM message_events)`).Scan(&rows)
	if err != nil || rows != 0 {
		t.Fatalf("%d rows are left, %v", rows, err)
	}
}

// A process of an older version that works beside one of this stores what comes after the acceptance as number 1: the history begins with
// the acceptance all the same.
func TestHistoriesOfAMixedHubAreWhole(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "hub.db"), store.Options{})
	tenant, err := s.CreateTenant(t.Context(), "algo", "")
	if err != nil {
		t.Fatal(err)
	}
	m := message(tenant, 1)
	accept(t, s, m)
	_, err = s.Writer().ExecContext(t.Context(), `INSERT INTO message_events (message_id, n, status, at, detail) VALUES ($1, 1, 'sending', 7, '')`, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	history, err := s.Events(t.Context(), tenant.Key, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(history) != 2 || history[0].Status != gateway.StatusQueued || history[1].Status != gateway.StatusSending {
		t.Errorf("the history is %+v", history)
	}
}
