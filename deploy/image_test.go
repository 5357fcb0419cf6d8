package deploy_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestProgramsNeedNoC: the image holds nothing but them. Only the standard library uses C, for what it can do without.
func TestProgramsNeedNoC(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}", "../api", "../worker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("these packages are written in C: %s %v", out, err)
	}
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"RUN CGO_ENABLED=0 go build", "\nFROM scratch\n", "\nUSER 65532:65532\n"} {
		if !strings.Contains(string(dockerfile), line) {
			t.Errorf("the Dockerfile lacks %q", line)
		}
	}
}

// TestContainersMayDoNothingBesideTheirWork, and behind TLS no port of the hub is open.
func TestContainersMayDoNothingBesideTheirWork(t *testing.T) {
	t.Parallel()
	type service struct {
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		Ports       yaml.Node
	}
	var compose, tls struct{ Services map[string]service }
	read(t, "../docker-compose.yml", yaml.Unmarshal, &compose)
	read(t, "compose.tls.yml", yaml.Unmarshal, &tls)
	hubs := 0
	for name, s := range compose.Services {
		if name == "postgres" || name == "redis" {
			continue
		}
		hubs++
		if !s.ReadOnly || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" || len(s.SecurityOpt) != 1 || s.SecurityOpt[0] != "no-new-privileges:true" {
			t.Errorf("%s may do more than it needs: %+v", name, s)
		}
		for i := range s.Ports.Content {
			if !strings.HasPrefix(s.Ports.Content[i].Value, "127.0.0.1:") {
				t.Errorf("%s listens for everybody without TLS: %s", name, s.Ports.Content[i].Value)
			}
		}
		if behind := tls.Services[name].Ports; s.Ports.Kind != 0 && (behind.Tag != "!reset" || len(behind.Content) > 0) {
			t.Errorf("%s listens beside the proxy", name)
		}
	}
	if hubs != 4 || tls.Services["caddy"].Ports.Kind == 0 {
		t.Errorf("%d services of the hub, the proxy has %+v", hubs, tls.Services["caddy"])
	}
}
