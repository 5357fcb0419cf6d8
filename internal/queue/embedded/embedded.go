// Package embedded is a Redis inside this process, for a hub that runs without one. It is the only importer of
// miniredis. It keeps nothing on disk: SQL is the truth, and the relay room fills the queue again after a restart.
package embedded

import (
	"crypto/rand"
	"fmt"

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
	server.ClockTTL(true) // as miniredis stands, keys live for ever unless told that time has passed
	if err := server.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	c := redis.NewClient(&redis.Options{
		Addr:                     server.Addr(),
		Password:                 password,
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return c, func() {
		c.Close()
		server.Close()
	}, nil
}
