package services

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
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
	Tool(t, []string{"redis-server", "--version"}, "redis-server")
	dir, err := folder(nil)
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
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

func pingRedis(ctx context.Context, url string) error {
	options, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	options.MaxRetries, options.DialerRetries = -1, 1
	client := redis.NewClient(options)
	defer client.Close()
	return client.Ping(ctx).Err()
}
