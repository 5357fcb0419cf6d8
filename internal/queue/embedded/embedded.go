// Package embedded is a Redis inside this process, for a hub that runs without one. It is the only importer of
// miniredis. It keeps nothing on disk: SQL is the truth, and the relay room fills the queue again after a restart.
package embedded

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Start starts the broker and connects to it. It listens on a free port of the loopback interface, behind a random
// password that only the returned client knows. stop closes both and may be called more than once.
func Start() (client redis.UniversalClient, stop func(), err error) {
	// A socket and not a pipe in memory: a pipe has no buffer, and a long pipeline would block both ends.
	server := miniredis.NewMiniRedis()
	password := rand.Text()
	server.RequireAuth(password)
	if err := server.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	stopClock := tick(server)
	c := redis.NewClient(&redis.Options{
		Addr:                     server.Addr(),
		Password:                 password,
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return c, sync.OnceFunc(func() {
		c.Close() //nolint:errcheck // the broker goes too
		stopClock()
		server.Close()
	}), nil
}

// clockTick is how far the times of life of keys may lag behind; asynq's shortest is 10 s.
const clockTick = 2 * time.Second

// tick tells the server that time passes: it does not notice by itself. (Its own ClockTTL would, but looks at every key
// for each command.)
func tick(server *miniredis.Miniredis) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(clockTick)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-quit:
				return
			case now := <-ticker.C:
				server.FastForward(now.Sub(last))
				last = now
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}
