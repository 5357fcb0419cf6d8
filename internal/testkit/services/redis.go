package services

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

// Redis starts a Redis of the test's own and returns its URL. It ends with the test.
func Redis(t testing.TB) string {
	t.Helper()
	return RedisServer(t).URL
}

// RedisServer starts a Redis of the test's own, which may be stopped, killed and started again. It keeps its data in an
// append-only file, and ends with the test.
func RedisServer(t testing.TB) *Server {
	t.Helper()
	RedisTool(t)
	dir, err := folder(nil)
	if err != nil {
		t.Fatal(err)
	}
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		URL: "redis://127.0.0.1:" + port,
		dir: dir,
		command: []string{
			"redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "yes",
		},
		ready: pingRedis,
	}
	t.Cleanup(func() {
		s.Kill()
		s.remove(t)
	})
	s.Start(t)
	return s
}

// RedisTool makes sure that there is a redis-server, as Tool does.
func RedisTool(t testing.TB) {
	t.Helper()
	Tool(t, []string{"redis-server", "--version"}, "redis-server")
}

// pingRedis speaks to the server without a client, which would log that it is not there yet.
func pingRedis(ctx context.Context, url string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(url, "redis://"))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the answer is what counts
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "+PONG") {
		err = errors.New(strings.TrimSpace(answer)) // it may still be loading its data
	}
	return err
}
