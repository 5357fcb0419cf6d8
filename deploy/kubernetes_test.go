package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/wapro/hub/internal/config"
)

// manifest is what the tests look at of an object.
type manifest struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Template struct{ Spec podSpec }
	}
	StringData map[string]string `yaml:"stringData"`
}

type podSpec struct {
	AutomountServiceAccountToken  *bool `yaml:"automountServiceAccountToken"`
	TerminationGracePeriodSeconds int   `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
		RunAsUser    int  `yaml:"runAsUser"`
	} `yaml:"securityContext"`
	Containers []struct {
		Command         []string
		Env             []struct{ Name, Value string }
		SecurityContext struct {
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			Capabilities             struct{ Drop []string }
		} `yaml:"securityContext"`
	}
}

// TestManifestsAreWhatKubernetesReads: each document is of a kind that it has, with no field that it has not.
func TestManifestsAreWhatKubernetesReads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/kubernetes.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var schemas struct{ Kinds map[string]string }
	if err := json.Unmarshal(text, &schemas); err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("kubernetes.json", document); err != nil {
		t.Fatal(err)
	}
	check := func(object map[string]any) error {
		kind, version := object["kind"], object["apiVersion"]
		name, ok := schemas.Kinds[strings.Join([]string{asText(version), asText(kind)}, " ")]
		if !ok {
			return errors.New("no such kind")
		}
		schema, err := compiler.Compile("kubernetes.json#/$defs/" + name)
		if err != nil {
			return err
		}
		encoded, err := json.Marshal(object)
		if err != nil {
			return err
		}
		plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
		if err != nil {
			return err
		}
		return schema.Validate(plain)
	}
	seen := 0
	for file, objects := range documents[map[string]any](t) {
		for _, object := range objects {
			seen++
			if err := check(object); err != nil {
				t.Errorf("%s: %v %v: %v", file, object["kind"], object["metadata"], err)
			}
		}
	}
	if seen < 12 {
		t.Errorf("only %d objects were found", seen)
	}
	// What the check is worth.
	for _, wrong := range []map[string]any{
		{"apiVersion": "v1", "kind": "Secret", "stringdata": map[string]any{}},
		{"apiVersion": "extensions/v1beta1", "kind": "Ingress"},
		{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": "two"}},
	} {
		if check(wrong) == nil {
			t.Errorf("%v passes", wrong)
		}
	}
}

func asText(v any) string { s, _ := v.(string); return s }

// TestPodsMayDoNothingBesideTheirWork, and what is asked of them fits the programs.
func TestPodsMayDoNothingBesideTheirWork(t *testing.T) {
	t.Parallel()
	deployments := 0
	var settings []string
	for _, objects := range documents[manifest](t) {
		for _, m := range objects {
			for name, value := range m.StringData {
				settings = append(settings, name+"="+value)
			}
		}
	}
	for file, objects := range documents[manifest](t) {
		for _, m := range objects {
			if m.Kind != "Namespace" && m.Metadata.Namespace != "wapro" {
				t.Errorf("%s: %s %s is in namespace %q", file, m.Kind, m.Metadata.Name, m.Metadata.Namespace)
			}
			if m.Kind != "Deployment" {
				continue
			}
			deployments++
			pod := m.Spec.Template.Spec
			if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken || pod.TerminationGracePeriodSeconds < 90 ||
				!pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.RunAsUser != 65532 || len(pod.Containers) != 1 {
				t.Errorf("the pods of %s are %+v", m.Metadata.Name, pod)
				continue
			}
			c := pod.Containers[0]
			s := c.SecurityContext
			if !s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
				t.Errorf("the container of %s may do more than it needs: %+v", m.Metadata.Name, s)
			}
			environ := append([]string{}, settings...)
			for _, e := range c.Env {
				environ = append(environ, e.Name+"="+e.Value)
			}
			process := config.Process(filepath.Base(c.Command[0]))
			if cfg, err := config.Load(process, withKeys(environ)); err != nil || process != config.Process(m.Metadata.Name) {
				t.Errorf("%s does not start with these settings: %v", m.Metadata.Name, err)
			} else if cfg.Embedded() || cfg.SQLite() {
				t.Errorf("%s does not share its database and its Redis", m.Metadata.Name)
			}
		}
	}
	if deployments != 2 {
		t.Errorf("%d deployments", deployments)
	}
}

// withKeys puts real keys in the place of the example's, which are refused.
func withKeys(environ []string) (out []string) {
	for _, e := range environ {
		if !strings.HasPrefix(e, "MASTER_KEY=") && !strings.HasPrefix(e, "ADMIN_API_KEY=") {
			out = append(out, e)
		}
	}
	return append(out, "MASTER_KEY="+strings.Repeat("0f", 32), "ADMIN_API_KEY=0123456789abcdef0123456789abcdef")
}

// documents are the manifests by file.
func documents[T any](t *testing.T) map[string][]T {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	all := map[string][]T{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var object T
			if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all[file] = append(all[file], object)
		}
	}
	return all
}
