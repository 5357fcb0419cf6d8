package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/testkit/services"
)

// Axe is the script of axe-core, which knows most rules of WCAG that a machine can check.
func Axe(t testing.TB) string {
	t.Helper()
	dir := services.NodeModules(t, "axe-core@4")
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")) //nolint:gosec // what npm has just installed
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// Violations lists what on the present page breaks a rule of WCAG 2.2 A or AA, or a best practice.
func (t *Tab) Violations(axe string) []string {
	t.t.Helper()
	var found []struct {
		ID    string `json:"id"`
		Help  string `json:"help"`
		Nodes []struct {
			Target  []any  `json:"target"`
			Summary string `json:"failureSummary"`
		} `json:"nodes"`
	}
	t.Eval(`typeof window.axe === 'undefined' ? (() => {`+axe+`; return true; })() : true`, nil)
	t.Eval(`axe.run(document, {runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}, resultTypes: ['violations']}).then((r) => r.violations)`, &found)
	var all []string
	for _, v := range found {
		for _, n := range v.Nodes {
			all = append(all, fmt.Sprintf("%s (%s): %v: %s", v.ID, v.Help, n.Target, strings.ReplaceAll(n.Summary, "\n", " ")))
		}
	}
	return all
}

// Overflow is by how many pixels the page is wider than the window.
func (t *Tab) Overflow() int {
	t.t.Helper()
	var n int
	t.Eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`, &n)
	return n
}
