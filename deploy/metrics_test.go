// Package deploy_test checks what is shipped to run the hub with the tools that will read it, and against the hub itself.
package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// TestAlertsFireWhenTheyShould runs Prometheus' own tests of the rules.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	services.Tool(t, []string{"promtool", "--version"}, "prometheus")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestEachMetricOfDashboardAndAlertsIsExported, and each alert has a test.
func TestEachMetricOfDashboardAndAlertsIsExported(t *testing.T) {
	t.Parallel()
	w := testkit.Paired(t, testkit.Embedded())
	w.API.AwaitStatus(t, "algo", w.API.Send(t, "algo", "4915550000700", "shown").ID, "read")
	exported := map[string]bool{}
	for _, process := range w.Scrape() {
		for series := range process {
			name, _, _ := strings.Cut(series, "{")
			exported[name] = true
		}
	}

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	read(t, "grafana/dashboard.json", json.Unmarshal, &dashboard)
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	read(t, "prometheus/alerts.yml", yaml.Unmarshal, &rules)
	tests, err := os.ReadFile("prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}

	metric := regexp.MustCompile(`\b(?:wapro|go|process)_[a-z_]+`)
	asked := 0
	check := func(where, expr string) {
		names := metric.FindAllString(expr, -1)
		if len(names) == 0 {
			t.Errorf("%s asks for no metric: %s", where, expr)
		}
		for _, name := range names {
			if asked++; !exported[name] {
				t.Errorf("%s asks for %s, which the hub does not tell", where, name)
			}
		}
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			check(panel.Title, target.Expr)
		}
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			check(rule.Alert, rule.Expr)
			if !strings.Contains(string(tests), rule.Alert) {
				t.Errorf("%s has no test", rule.Alert)
			}
		}
	}
	if asked < 40 {
		t.Errorf("only %d metrics were found", asked)
	}
}

// read decodes a file of this folder.
func read(t *testing.T, path string, decode func([]byte, any) error, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
