package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/testkit/services"
)

// TestUnitsAreWhatSystemdReads, and leave the services next to nothing that they could do to the machine.
func TestUnitsAreWhatSystemdReads(t *testing.T) {
	t.Parallel()
	services.Tool(t, []string{"systemd-analyze", "--version"}, "systemd")
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("units: %v, %v", units, err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program") // systemd looks whether it is there
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(unit), ".service")
		placed := strings.Replace(string(text), "ExecStart=/usr/local/bin/"+name, "ExecStart="+program, 1)
		if placed == string(text) {
			t.Errorf("%s does not start %s", unit, name)
		}
		path := filepath.Join(dir, filepath.Base(unit))
		if err := os.WriteFile(path, []byte(placed), 0o600); err != nil {
			t.Fatal(err)
		}
		// 20 is an exposure of 2.0 of 10, of which systemd says OK.
		for _, args := range [][]string{{"verify", "--man=no", "--recursive-errors=no", path}, {"security", "--offline=yes", "--no-pager", "--threshold=20", path}} {
			cmd := exec.CommandContext(t.Context(), "systemd-analyze", args...)
			out, err := cmd.CombinedOutput()
			if err != nil || args[0] == "verify" && strings.TrimSpace(string(out)) != "" {
				t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
}
