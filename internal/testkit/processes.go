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

// Processes is a hub and a simulator, each in a process of its own, so that either can be killed.
type Processes struct {
	Hub   *Process
	Sim   *Process
	Admin *Client // of the hub, with the admin key
	Dir   string

	environ []string
	sandbox *Client // of the simulator
}

// StartProcesses starts `api simulator` and the embedded hub with tenant algo, pointed at it.
func StartProcesses(t testing.TB) *Processes {
	t.Helper()
	w := &Processes{Dir: t.TempDir()}
	w.Sim = Run(t, []string{"simulator"}, "ADMIN_API_KEY="+AdminKey, "DATABASE_URL=sqlite://"+filepath.Join(w.Dir, "sim", "hub.db"))
	w.sandbox = &Client{Base: "http://" + w.Sim.Listening("sandbox"), Key: AdminKey}
	w.environ = []string{
		"WHATSAPP_SERVER=" + w.Sim.Printed("WHATSAPP_SERVER="), "WHATSAPP_ROOT_KEY=" + w.Sim.Printed("WHATSAPP_ROOT_KEY="),
		"DATABASE_URL=sqlite://" + filepath.Join(w.Dir, "hub", "hub.db"), "BLOB_URL=file://" + filepath.Join(w.Dir, "hub", "media"),
		"ADMIN_API_KEY=" + AdminKey, "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY=" + TenantKey, "LEASE_TTL=2s",
	}
	w.startHub(t)
	return w
}

func (w *Processes) startHub(t testing.TB) {
	t.Helper()
	w.Hub = Run(t, nil, w.environ...)
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
	qr := w.Admin.PairingCode(t, tenant)
	w.sandbox.JSON(t, http.MethodPost, "/sandbox/pair", map[string]string{"qr": qr, "number": number}, http.StatusOK, nil)
	w.Admin.AwaitSession(t, tenant, "online")
}

// Script adds a fault to the simulator.
func (w *Processes) Script(t testing.TB, fault map[string]any) {
	t.Helper()
	w.sandbox.JSON(t, http.MethodPost, "/sandbox/faults", fault, http.StatusCreated, nil)
}

// Phone reads what a simulated phone shows.
func (w *Processes) Phone(t testing.TB, number string) []Shown {
	t.Helper()
	return w.sandbox.Phone(t, number)
}
