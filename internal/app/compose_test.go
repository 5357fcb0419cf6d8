package app_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
	"github.com/wapro/hub/internal/wasim"
)

// composeService is what of docker-compose.yml says how a program of the hub is run.
type composeService struct {
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	HealthCheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

// cluster is the hub of docker-compose.yml as processes, for machines without a container engine.
type cluster struct {
	*testkit.Simulator
	Admin     *testkit.Client
	database  string // its URL
	redis     *services.Server
	processes map[string]*testkit.Process                  // by the service's name
	programs  map[string]func(*testing.T) *testkit.Process // start them once more
	health    map[string][]string
}

// startCluster reads docker-compose.yml and starts what it starts: the same programs with the same settings, but for
// the addresses of servers, the folder of media, a simulator in WhatsApp's place, and more settings (NAME=value).
func startCluster(t *testing.T, more ...string) *cluster {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]composeService `yaml:"services"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	redis := services.RedisServer(t)
	servers := map[string]string{"postgres:5432": services.Postgres(t), "redis:6379": redis.URL}
	data := t.TempDir()
	setting := func(name, value string) string {
		if u, err := url.Parse(value); err == nil && servers[u.Host] != "" {
			value = servers[u.Host]
		}
		value = strings.Replace(value, "file:///data", "file://"+data, 1)
		return name + "=" + strings.NewReplacer("${ADMIN_API_KEY:-}", testkit.AdminKey, "${MASTER_KEY:-}", testkit.MasterKey).Replace(value)
	}
	c := &cluster{
		Simulator: testkit.StartSimulator(t), database: servers["postgres:5432"], redis: redis,
		processes: map[string]*testkit.Process{}, programs: map[string]func(*testing.T) *testkit.Process{}, health: map[string][]string{},
	}
	var apis []string
	for name, service := range file.Services {
		if name == "postgres" || name == "redis" {
			continue
		}
		program := "api" // the image's entry point
		if len(service.Entrypoint) > 0 {
			program = path.Base(service.Entrypoint[0])
		}
		environ := c.WhatsApp()
		for key, value := range service.Environment {
			environ = append(environ, setting(key, value))
		}
		environ = append(environ, more...)
		c.programs[name] = func(t *testing.T) *testkit.Process {
			t.Helper()
			return testkit.RunProgram(t, program, service.Command, environ...)
		}
		p := c.programs[name](t)
		c.processes[name], c.health[name] = p, service.HealthCheck.Test
		if program == "api" {
			apis = append(apis, "http://"+p.Listening("requests"))
		}
	}
	if len(apis) != 2 || len(c.processes) != 4 {
		t.Fatalf("the file starts %d processes, %d of them APIs; want 4 and 2", len(c.processes), len(apis))
	}
	c.Admin = testkit.NewClient(testkit.AdminKey, apis...)
	return c
}

func (c *cluster) pid(name string) int { return c.processes[name].PID() }

// tenant creates and pairs a tenant.
func (c *cluster) tenant(t *testing.T, id, number string) {
	t.Helper()
	c.Admin.JSON(t, "POST", "/admin/tenants", map[string]string{"id": id}, 201, nil)
	c.Scan(c.Admin.PairingCode(t, id), number)
	c.Admin.AwaitSession(t, id, "online")
}

// TestComposeFileSends starts the hub of docker-compose.yml as processes and sends through it.
func TestComposeFileSends(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	for name, p := range c.processes {
		check := c.health[name]
		if len(check) != 3 || check[0] != "CMD" {
			t.Errorf("%s has no health check: %v", name, check)
			continue
		}
		health := exec.CommandContext(t.Context(), testkit.Binary(t, path.Base(check[1])), check[2:]...)
		health.Env = append(os.Environ(), "OPS_ADDR="+p.Listening("operations"), "REDIS_URL=redis://127.0.0.1:1")
		if out, err := health.CombinedOutput(); err != nil {
			t.Errorf("%s is not healthy: %v %s", name, err, out)
		}
	}
	c.tenant(t, "algo", testkit.OwnNumber)
	m := c.Admin.Send(t, "algo", recipient, "from a cluster")
	c.Admin.AwaitStatus(t, "algo", m.ID, "read")
	if shown := c.Shown(recipient); len(shown) != 1 || shown[0].Text != "from a cluster" {
		t.Errorf("the phone shows %+v", shown)
	}
}

// TestWorkerKilledAmongTwentyTenants kills one of two workers with SIGKILL while 20 tenants send: the other takes its
// sessions over, nothing is lost, nothing goes out under two ids, and no status goes backwards.
func TestWorkerKilledAmongTwentyTenants(t *testing.T) {
	t.Parallel()
	const tenants, each = 20, 15
	c := startCluster(t)
	id := func(i int) string { return fmt.Sprintf("tenant-%02d", i) }
	for i := range tenants {
		c.tenant(t, id(i), fmt.Sprintf("155500010%02d", i))
	}
	c.Script(wasim.Fault{Kind: wasim.DelayAck, Delay: 50 * time.Millisecond, Times: -1}) // so that the kill finds a backlog
	accepted := map[string][]testkit.Message{}
	for n := range each {
		for i := range tenants {
			accepted[id(i)] = append(accepted[id(i)], c.Admin.Send(t, id(i), fmt.Sprintf("9198765%05d", i), fmt.Sprintf("message %02d", n)))
		}
	}
	killed := time.Now()
	c.processes["worker-1"].Kill()
	rank := map[string]int{"queued": 1, "sending": 2, "sent": 3, "delivered": 4, "read": 5}
	for i := range tenants {
		for _, m := range accepted[id(i)] {
			last := 0
			after := c.Admin.Await(t, id(i), m.ID, 3*time.Minute, "read", func(m testkit.Message) bool {
				if rank[m.Status] < last {
					t.Errorf("message %s went back to %s", m.ID, m.Status)
				}
				last = rank[m.Status]
				return m.Status == "read"
			})
			if after.WhatsAppID != m.WhatsAppID {
				t.Errorf("message %s went out under two ids", m.ID)
			}
		}
		shown := map[string]int{}
		for _, s := range c.Shown(fmt.Sprintf("9198765%05d", i)) {
			shown[s.Text]++
		}
		for n := range each {
			if text := fmt.Sprintf("message %02d", n); shown[text] != 1 {
				t.Errorf("%s: %q is shown %d times", id(i), text, shown[text])
			}
		}
	}
	// LEASE_TTL is 15 s here, orphans are looked for every 2 s; the rest is the backlog itself.
	if took := time.Since(killed); took > 4*time.Minute {
		t.Errorf("everything was read %s after the kill", took)
	}
}
