package testkit

import (
	"os"
	"strings"
	"testing"
)

func TestMainEndsAtFatalAndCleansUp(t *testing.T) {
	t.Parallel()
	var (
		out   strings.Builder
		dir   string
		order []string
	)
	ok := Main(t.Context(), "program", &out, func(t testing.TB) {
		dir = t.TempDir()
		t.Cleanup(func() { order = append(order, "first") })
		t.Cleanup(func() { order = append(order, "second") })
		t.Fatalf("it ends %s", "here")
		order = append(order, "never")
	})
	if ok || strings.TrimSpace(out.String()) != "it ends here" || strings.Join(order, " ") != "second first" {
		t.Errorf("ok %t, wrote %q, order %v", ok, out.String(), order)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if !Main(t.Context(), "program", &out, func(t testing.TB) { t.Log(t.Name()) }) {
		t.Error("a program that fails nothing failed")
	}
}
