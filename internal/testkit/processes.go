package testkit

import (
	"net/http"
	"path/filepath"
	"testing"
)

// Keys of hubs that tests start.
const (
	AdminKey  = "admin-key-of-this-test-hub"
	TenantKey = "tenant-key-of-this-test-hub"
)

// Simulator is `api simulator` in a process of its own.
type Simulator struct {
	*Process
	Dir     string // for the data of what is tested against it
	sandbox *Client
}

// StartSimulator starts `api simulator`.
func StartSimulator(t testing.TB) *Simulator {
	t.Helper()
	s := &Simulator{Dir: t.TempDir()}
	s.Process = Run(t, []string{"simulator"}, "ADMIN_API_KEY="+AdminKey, "DATABASE_URL=sqlite://"+filepath.Join(s.Dir, "sim", "hub.db"))
	s.sandbox = &Client{Base: "http://" + s.Listening("sandbox"), Key: AdminKey}
	return s
}

// HubEnviron is the environment of a hub that is pointed at the simulator, with more settings.
func (s *Simulator) HubEnviron(more ...string) []string {
	return append([]string{
		"WHATSAPP_SERVER=" + s.Printed("WHATSAPP_SERVER="), "WHATSAPP_ROOT_KEY=" + s.Printed("WHATSAPP_ROOT_KEY="),
		"DATABASE_URL=sqlite://" + filepath.Join(s.Dir, "hub", "hub.db"), "BLOB_URL=file://" + filepath.Join(s.Dir, "hub", "media"),
	}, more...)
}

// Scan acts as the phone of number that scans a QR code.
func (s *Simulator) Scan(t testing.TB, qr, number string) {
	t.Helper()
	s.sandbox.JSON(t, http.MethodPost, "/sandbox/pair", map[string]string{"qr": qr, "number": number}, http.StatusOK, nil)
}

// Script adds a fault to the simulator.
func (s *Simulator) Script(t testing.TB, fault map[string]any) {
	t.Helper()
	s.sandbox.JSON(t, http.MethodPost, "/sandbox/faults", fault, http.StatusCreated, nil)
}

// Phone reads what a simulated phone shows.
func (s *Simulator) Phone(t testing.TB, number string) []Shown {
	t.Helper()
	return s.sandbox.Phone(t, number)
}

// Processes is a hub and a simulator, each in a process of its own, so that either can be killed.
type Processes struct {
	*Simulator
	Hub   *Process
	Admin *Client // of the hub, with the admin key
}

// StartProcesses starts `api simulator` and the embedded hub with tenant algo, pointed at it.
func StartProcesses(t testing.TB) *Processes {
	t.Helper()
	w := &Processes{Simulator: StartSimulator(t)}
	w.startHub(t)
	return w
}

func (w *Processes) startHub(t testing.TB) {
	t.Helper()
	w.Hub = Run(t, nil, w.HubEnviron("ADMIN_API_KEY="+AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY="+TenantKey)...)
	w.Admin = &Client{Base: "http://" + w.Hub.Listening("requests"), Key: AdminKey}
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
	w.Scan(t, w.Admin.PairingCode(t, tenant), number)
	w.Admin.AwaitSession(t, tenant, "online")
}
