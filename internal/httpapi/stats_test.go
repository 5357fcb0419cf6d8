package httpapi_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

type statsBody struct {
	From, Until time.Time
	StepSeconds int64
	Data        []struct {
		At                                               time.Time
		Accepted, Sent, Delivered, Read, Failed, Unknown int
	}
}

func TestStatsAddUpToWhatHappened(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	f := h.own()[h.algo.Key]
	before := time.Now()
	a, b := h.text("919876543210", "one"), h.text("919876543211", "two")
	h.text("919876543212", "three")
	h.sent(f, a.ID)
	h.sent(f, b.ID)
	h.confirmed(h.algo.Key, a.ID, gateway.ReceiptRead)
	h.confirmed(h.algo.Key, b.ID, gateway.ReceiptDelivered)
	beta, _ := h.tenant("beta")
	if beta.Key == h.algo.Key {
		t.Fatal("one key for two tenants")
	}

	sum := func(query string) (s statsBody, total [6]int) {
		t.Helper()
		s = decode[statsBody](h.do(request{path: "/api/algo/stats" + query}).want(http.StatusOK))
		for i, d := range s.Data {
			if want := s.From.Add(time.Duration(int64(i)*s.StepSeconds) * time.Second); !d.At.Equal(want) {
				t.Fatalf("slice %d begins at %s, want %s", i, d.At, want)
			}
			for j, n := range []int{d.Accepted, d.Sent, d.Delivered, d.Read, d.Failed, d.Unknown} {
				total[j] += n
			}
		}
		return s, total
	}
	want := [6]int{3, 2, 2, 1, 0, 0}
	s, total := sum("")
	if total != want || s.StepSeconds != 15*60 || len(s.Data) < 96 || s.Until.Sub(s.From) < 24*time.Hour {
		t.Errorf("totals %v, want %v; %d slices of %d s from %s to %s", total, want, len(s.Data), s.StepSeconds, s.From, s.Until)
	}
	around := url.Values{"from": {before.Add(-time.Minute).Format(time.RFC3339)}, "until": {before.Add(time.Hour).Format(time.RFC3339)}, "step": {"1800"}}
	if s, total := sum("?" + around.Encode()); total != want || s.StepSeconds != 1800 || s.From.Minute()%30 != 0 {
		t.Errorf("totals %v, want %v, from %s", total, want, s.From)
	}
	if _, total := sum("?until=" + url.QueryEscape(before.Add(-time.Hour).Format(time.RFC3339))); total != [6]int{} {
		t.Errorf("totals %v of a time before all of it", total)
	}
	if s := decode[statsBody](h.do(request{path: "/api/beta/stats", key: h.adminKey}).want(http.StatusOK)); len(s.Data) == 0 || s.Data[len(s.Data)-1].Accepted != 0 {
		t.Errorf("another tenant's: %+v", s.Data)
	}
	for _, query := range []string{"?step=0", "?step=1500ms", "?step=1s", "?step=soon", "?step=2562047h", "?step=100000h", "?from=2020-01-01T00:00:00Z", "?from=2030-01-01T00:00:00Z&until=2029-01-01T00:00:00Z", "?form=x", "?from=yesterday"} {
		h.do(request{path: "/api/algo/stats" + query}).refused(http.StatusUnprocessableEntity, gateway.CodeInvalidParameter, "")
	}
}
