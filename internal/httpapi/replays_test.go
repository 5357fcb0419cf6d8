package httpapi_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestTenThousandReplaysOfAThousandKeys: 64 connections send 10,000 requests with 1,000 Idempotency-Keys, in any order. There are 1,000
// messages, and all answers to one key are the same to the letter. A key that is busy is asked for again, as a client does. Under the
// race detector Postgres alone, where requests really run beside each other, sees all of them; SQLite sees a tenth.
func TestTenThousandReplaysOfAThousandKeys(t *testing.T) {
	t.Parallel()
	services.EachDatabase(t, func(t *testing.T, url string) {
		h := newHub(t, func(s *settings) { s.database = url })
		keys := 1000
		if raced && h.store.Dialect() == "sqlite" {
			keys = 100
		}
		replayed(t, h, keys)
	})
}

// replayed sends ten requests with each of so many keys.
func replayed(t *testing.T, h *hub, keys int) {
	t.Helper()
	const (
		connections = 64
		patience    = 5 * time.Minute // far above what it takes: 10 s on an idle machine
	)
	requests := 10 * keys
	transport := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}

	order := make(chan int, requests)
	for _, n := range rand.Perm(requests) {
		order <- n % keys
	}
	close(order)
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		answers = map[int]string{}
		given   int
		busy    int
	)
	start := time.Now()
	for range connections {
		wg.Go(func() {
			for n := range order {
				for {
					status, answer, err := postKeyed(client, h, n)
					if err != nil {
						t.Errorf("key %d: %v", n, err)
						return
					}
					mu.Lock()
					if status == http.StatusConflict && strings.Contains(answer, string(gateway.CodeIdempotencyBusy)) {
						busy++
						mu.Unlock()
						<-time.After(20 * time.Millisecond)
						continue
					}
					given++
					first, known := answers[n]
					if status != http.StatusAccepted || known && answer != first {
						t.Errorf("key %d: %d %s, the first answer was %s", n, status, answer, first)
					}
					answers[n] = answer
					mu.Unlock()
					break
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d answers in %s, %d times the key was busy", given, time.Since(start), busy)
	distinct := map[string]bool{}
	for _, answer := range answers {
		distinct[answer] = true
	}
	if given != requests || len(distinct) != keys {
		t.Errorf("%d requests got %d answers, %d different ones", requests, given, len(distinct))
	}
	var stored int
	if err := h.store.Writer().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM messages`).Scan(&stored); err != nil || stored != keys {
		t.Errorf("%d messages are stored, %v; want %d", stored, err, keys)
	}
}

// postKeyed sends the request of key n.
func postKeyed(client *http.Client, h *hub, n int) (status int, answer string, err error) {
	body := strings.NewReader(fmt.Sprintf(`{"to":"919876543210","message":"message %d"}`, n))
	r, err := http.NewRequest(http.MethodPost, h.base+"/api/algo/message", body)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("x-api-key", h.key)
	r.Header.Set("Idempotency-Key", fmt.Sprintf("key-%04d", n))
	got, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer got.Body.Close()
	raw, err := io.ReadAll(got.Body)
	return got.StatusCode, string(raw) + got.Header.Get("Location"), err
}
