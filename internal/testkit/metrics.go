package testkit

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Metrics is what processes tell on /metrics, by series as Prometheus writes it: name{label="value"}.
type Metrics []map[string]float64

// Scrape reads the metrics of all processes of the hub.
func (w *World) Scrape() Metrics {
	w.t.Helper()
	var all Metrics
	for _, hub := range w.hubs {
		all = append(all, ScrapeOps(w.t, hub.OpsAddr().String()))
	}
	return all
}

// ScrapeOps reads the metrics that a process tells on its private listener.
func ScrapeOps(t testing.TB, addr string) map[string]float64 {
	t.Helper()
	series := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(GetOps(t, addr, "/metrics")))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "#") {
			continue
		}
		if at := strings.LastIndexByte(lines.Text(), ' '); strings.Contains(name, "{") { // a label may hold a space
			name, value, ok = lines.Text()[:at], lines.Text()[at+1:], true
		}
		n, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			t.Fatalf("%q is no metric: %v", lines.Text(), err)
		}
		series[name] = n
	}
	return series
}

// GetOps gets a path of a process' private listener, which must answer with 200.
func GetOps(t testing.TB, addr, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + path) //nolint:noctx // our own process
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v %s", path, resp.Status, err, body)
	}
	return string(body)
}

// Sum adds a series up over the processes: what each counts of its own.
func (m Metrics) Sum(series string) (sum float64) {
	for _, process := range m {
		sum += process[series]
	}
	return sum
}

// Same is a series that each process reads from SQL, and an error where they disagree or one does not tell it.
func (m Metrics) Same(series string) (float64, error) {
	for i, process := range m {
		value, ok := process[series]
		if !ok {
			return 0, fmt.Errorf("process %d does not tell %s", i, series)
		}
		if value != m[0][series] {
			return 0, fmt.Errorf("%s is %v in process 0 and %v in process %d", series, m[0][series], value, i)
		}
	}
	return m[0][series], nil
}
