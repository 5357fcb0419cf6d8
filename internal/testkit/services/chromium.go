package services

import (
	"os/exec"
	"testing"
)

// Chromium returns the path of a Chromium, as Tool.
func Chromium(t testing.TB) string {
	t.Helper()
	Tool(t, []string{"chromium", "--version"}, "chromium", "fonts-dejavu-core")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
