package services

import (
	"context"
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// shared is the Postgres of this test process.
var shared struct { //nolint:gochecknoglobals // one server serves every test of the process
	once   sync.Once
	server *Server
	err    error
	made   atomic.Int64 // databases
}

// Postgres returns the URL of an empty database in the Postgres of this test process, which ends with the process. The
// database is dropped when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	postgresTool(t)
	shared.once.Do(func() { shared.server, shared.err = newPostgres() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	name := fmt.Sprintf("test%d", shared.made.Add(1))
	administer(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { administer(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return strings.Replace(shared.server.URL, "/postgres?", "/"+name+"?", 1)
}

// PostgresServer starts a Postgres of the test's own, which may be stopped, killed and started again. It ends with the
// test; URL names its only database.
func PostgresServer(t testing.TB) *Server {
	t.Helper()
	postgresTool(t)
	s, err := newPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		s.remove(t)
	})
	return s
}

func administer(t testing.TB, statement string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // a test's clean-up comes after the end of its context
	conn, err := pgx.Connect(ctx, shared.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // it has done its work
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatal(err)
	}
}

// programs is the newest folder of Postgres' programs, which Debian does not put on the PATH.
const programs = `ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 | grep . || dirname "$(command -v initdb)"`

// PostgresProgram is the path of one of the programs that come with Postgres, say pg_dump.
func PostgresProgram(t testing.TB, name string) string {
	t.Helper()
	postgresTool(t)
	dir, err := programsDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

func programsDir() (string, error) {
	dir, err := exec.CommandContext(context.Background(), "sh", "-c", programs).Output()
	if err != nil {
		return "", fmt.Errorf("find Postgres' programs: %w", err)
	}
	return strings.TrimSpace(string(dir)), nil
}

func postgresTool(t testing.TB) {
	t.Helper()
	Tool(t, []string{"sh", "-c", `"$(` + programs + `)/postgres" --version`}, "postgresql")
}

// newPostgres makes a cluster and starts it. Everything is flushed to disk as in production.
func newPostgres() (*Server, error) {
	bin, err := programsDir()
	if err != nil {
		return nil, err
	}
	program := func(name string) string { return filepath.Join(bin, name) }
	credential, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := folder(credential)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(context.Background(), program("initdb"), "-D", data, "-U", "hub", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8") //nolint:gosec // the tests' own
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a Postgres cluster: %w\n%s", err, out)
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:  "postgres://hub@127.0.0.1:" + port + "/postgres?sslmode=disable",
		dir:  dir,
		user: credential,
		command: []string{
			program("postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", "",
			"-c", "max_connections=400", "-c", "shared_buffers=64MB",
		},
		ready: pingPostgres,
	}
	return s, s.start()
}

func pingPostgres(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// unprivileged is the user that runs Postgres, which refuses root: nil when we are somebody else already.
func unprivileged() (*syscall.Credential, error) {
	if syscall.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("run Postgres: there is neither a user postgres nor nobody")
}
