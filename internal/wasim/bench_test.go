package wasim_test

import (
	"fmt"
	"strconv"
	"testing"

	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/wasim"
)

// BenchmarkPhones measures how many texts a second phones decrypt and show when phones send them: the simulator's own
// work, twice the cryptography and no client.
func BenchmarkPhones(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%t", durable), func(b *testing.B) {
			cfg := wasim.Config{RootKey: rootKey(), ReadDelay: -1}
			if durable {
				cfg.Dir = b.TempDir()
			}
			s, err := wasim.Start(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			next := make(chan int, 1)
			next <- 0
			b.RunParallel(func(p *testing.PB) {
				worker := <-next
				next <- worker + 1
				from, to := strconv.Itoa(4930000000+2*worker), strconv.Itoa(4930000001+2*worker)
				for p.Next() {
					if _, err := s.SendFrom(b.Context(), from, to, "hello"); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkClient measures warm sends of one whatsmeow client, its own work and store included.
func BenchmarkClient(b *testing.B) {
	s, err := wasim.Start(b.Context(), wasim.Config{RootKey: rootKey(), ReadDelay: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	c := newClient(b, s)
	c.connect()
	if err := s.Pair(b.Context(), await[*events.QR](c, nil).Codes[0], alice); err != nil {
		b.Fatal(err)
	}
	await[*events.Connected](c, nil)
	for b.Loop() {
		c.sendText(pn(bob), "hello")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
