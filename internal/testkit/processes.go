package testkit

import (
	"path/filepath"
	"testing"
)

// Keys of hubs that tests start.
const (
	AdminKey  = "admin-key-of-this-test-hub"
	TenantKey = "tenant-key-of-this-test-hub"
	MasterKey = "bWFzdGVyIGtleSBvZiB0aGUgaHVicyBvZiB0ZXN0cyA=" // of those on Postgres; on SQLite they make their own
)

// Simulator is `api simulator` in a process of its own.
type Simulator struct {
	*Sandbox
	Process *Process
	dir     string
}

// StartSimulator starts `api simulator` on a fresh folder.
func StartSimulator(t testing.TB) *Simulator {
	t.Helper()
	return runSimulator(t, t.TempDir())
}

// runSimulator starts `api simulator` on the state in dir/simulator.
func runSimulator(t testing.TB, dir string) *Simulator {
	t.Helper()
	p := Run(t, []string{"simulator"}, "ADMIN_API_KEY="+AdminKey, "DATABASE_URL=sqlite://"+filepath.Join(dir, "hub.db"))
	sandbox := &Sandbox{t: t, client: NewClient(AdminKey, "http://"+p.Listening("sandbox"))}
	return &Simulator{Sandbox: sandbox, Process: p, dir: dir}
}

// WhatsApp is the settings that point a hub at the simulator.
func (s *Simulator) WhatsApp() []string {
	return []string{
		"WHATSAPP_SERVER=" + s.Process.Printed("WHATSAPP_SERVER="), "WHATSAPP_ROOT_KEY=" + s.Process.Printed("WHATSAPP_ROOT_KEY="),
	}
}

// HubEnviron is the environment of an embedded hub that is pointed at the simulator, with more settings.
func (s *Simulator) HubEnviron(more ...string) []string {
	data := filepath.Join(s.dir, "hub")
	return append(append(s.WhatsApp(), "DATABASE_URL="+sqliteIn(data), "BLOB_URL=file://"+filepath.Join(data, "media")), more...)
}

// Processes is an embedded hub and a simulator, each in a process of its own, so that either can be killed.
type Processes struct {
	*Simulator
	Hub   *Process
	Admin *Client // of the hub, with the admin key

	settings []string // of the hub
}

// StartProcesses starts `api simulator` and the embedded hub with tenant algo, pointed at it, with more settings.
func StartProcesses(t testing.TB, settings ...string) *Processes {
	t.Helper()
	w := &Processes{Simulator: StartSimulator(t), settings: settings}
	w.startHub(t)
	return w
}

func (w *Processes) startHub(t testing.TB) {
	t.Helper()
	w.Hub = Run(t, nil, w.HubEnviron(append(w.settings, "ADMIN_API_KEY="+AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+TenantKey)...)...)
	w.Admin = NewClient(AdminKey, "http://"+w.Hub.Listening("requests"))
}

// RestartHub ends the hub's process by end and starts it anew on the same data.
func (w *Processes) RestartHub(t testing.TB, end func(*Process)) {
	t.Helper()
	end(w.Hub)
	w.startHub(t)
}

// Pair scans the tenant's QR code with the simulated phone of number and waits until the session is online.
func (w *Processes) Pair(t testing.TB, tenant, number string) {
	t.Helper()
	w.Scan(w.Admin.PairingCode(t, tenant), number)
	w.Admin.AwaitSession(t, tenant, "online")
}
