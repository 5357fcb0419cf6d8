package app_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
)

// BenchmarkAccept is POST /message with everything on: authentication, validation, one commit shared by concurrent
// callers, the enqueue. Nothing is sent: the tenant is not paired.
func BenchmarkAccept(b *testing.B) {
	w := testkit.Start(b, testkit.Embedded())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	api := w.API.WithKey(w.API.Key)
	api.HTTP = client
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			api.Send(b, "algo", recipient, "How fast can this be taken?")
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepts/s")
}

// BenchmarkSend is the whole way of a message to a known contact, from acceptance to the delivery receipt in SQL, with
// client and simulator in one process.
func BenchmarkSend(b *testing.B) {
	w := testkit.Paired(b, testkit.Embedded())
	w.API.AwaitStatus(b, "algo", w.API.Send(b, "algo", recipient, "first contact").ID, "read")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	api := w.API.WithKey(w.API.Key)
	api.HTTP = client
	var last atomic.Int64
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			api.Send(b, "algo", recipient, fmt.Sprintf("message %d", last.Add(1)))
		}
	})
	testkit.Eventually(b, 5*time.Minute, func() (bool, string) {
		n := w.API.Waiting(b, "algo")
		return n == 0, fmt.Sprintf("%d messages wait", n)
	})
	b.StopTimer()
	if n := len(w.WaitShown(recipient, b.N+1)); n != b.N+1 {
		b.Fatalf("%d of %d messages are shown", n-1, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
