package embedded_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/queue/embedded"
	"github.com/wapro/hub/internal/testkit/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func TestKeysRunOutWithTime(t *testing.T) {
	t.Parallel()
	client, stop, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := client.Set(t.Context(), "short", "x", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "long", "x", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for {
		err := client.Get(t.Context(), "short").Err()
		if errors.Is(err, redis.Nil) {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("still there: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := client.Get(t.Context(), "long").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheReturnedClientGetsIn(t *testing.T) {
	t.Parallel()
	client, stop, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	own, ok := client.(*redis.Client)
	if !ok {
		t.Fatalf("a %T", client)
	}
	stranger := redis.NewClient(&redis.Options{Addr: own.Options().Addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer stranger.Close() //nolint:errcheck // the test is over
	if err := stranger.Ping(t.Context()).Err(); err == nil {
		t.Fatal("a stranger got in")
	}
	stop()
	stop() // may be repeated
}
