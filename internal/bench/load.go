package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// connections is how many clients send requests at the same time, each on a connection of its own that is kept.
const connections = 64

// ioTimeout bounds one request of the load.
const ioTimeout = time.Minute

// postRequest is a POST with a JSON body, as it goes over the wire.
func postRequest(path, key, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nx-api-key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, key, len(body), body)
}

// load sends requests to addr until next, which is called from many goroutines with 0, 1, 2, ..., returns nil, and tells how many
// were answered 202 and how long that took. Any other answer is an error. It writes and reads bare connections, because a
// client that costs more than what it measures hides the difference.
func load(ctx context.Context, addr string, next func(i int64) []byte) (accepted int64, took time.Duration, err error) {
	clients := make([]net.Conn, connections)
	for i := range clients {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return 0, 0, fmt.Errorf("connect for the load: %w", err)
		}
		defer conn.Close() //nolint:errcheck // its work is done
		clients[i] = conn
	}
	var (
		begun = time.Now()
		turn  atomic.Int64
		done  atomic.Int64
		wg    sync.WaitGroup
		errs  = make([]error, connections)
	)
	for i, conn := range clients {
		wg.Go(func() {
			answers := bufio.NewReader(conn)
			for ctx.Err() == nil {
				request := next(turn.Add(1) - 1)
				if request == nil {
					return
				}
				if errs[i] = exchange(conn, answers, request); errs[i] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return done.Load(), time.Since(begun), errors.Join(append(errs, ctx.Err())...)
}

func exchange(conn net.Conn, answers *bufio.Reader, request []byte) error {
	if err := conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("answered %s: %s", resp.Status, body)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
