package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/labstack/echo/v4"
	"github.com/redis/go-redis/v9"
)

// echoSettings are what the echo baseline is told first. It answers with echoReady.
type echoSettings struct {
	Redis string `json:"redis"` // URL; empty: the handler enqueues nothing
}

type echoReady struct {
	Addr string `json:"addr"`
}

// serveEcho is the baseline of accepts: an echo handler that decodes the same body and answers 202, and that, with a Redis,
// enqueues what it decoded as an asynq task. Nothing is authenticated, validated or stored.
func serveEcho(ctx context.Context, c *conversation) error {
	var settings echoSettings
	if err := c.hear(&settings); err != nil {
		return err
	}
	var queue *asynq.Client
	if settings.Redis != "" {
		opts, err := redis.ParseURL(settings.Redis)
		if err != nil {
			return fmt.Errorf("read the Redis URL: %w", err)
		}
		client := redis.NewClient(opts)
		defer client.Close() //nolint:errcheck // the process ends
		queue = asynq.NewClientFromRedisClient(client)
	}
	e := echo.New()
	e.POST("/api/:tenantId/message", func(c echo.Context) error { //nolint:contextcheck // each request brings its own
		var message struct {
			ID string `json:"id"`
			To string `json:"to"`
			// The text is called as in the hub's body.
			Message string `json:"message"`
		}
		if err := json.NewDecoder(c.Request().Body).Decode(&message); err != nil {
			return echo.NewHTTPError(http.StatusBadRequest, err.Error())
		}
		message.ID = uuid.NewString()
		if queue != nil {
			payload, err := json.Marshal(message)
			if err != nil {
				return err
			}
			if _, err := queue.EnqueueContext(c.Request().Context(), asynq.NewTask("message", payload)); err != nil {
				return err
			}
		}
		return c.JSON(http.StatusAccepted, message)
	})
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if err := c.say(echoReady{Addr: listener.Addr().String()}); err != nil {
		return err
	}
	var order struct{}
	if err := c.hear(&order); !errors.Is(err, io.EOF) {
		return err
	}
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
