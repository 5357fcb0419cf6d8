package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// sandboxNumber is the number that tenant algo is paired with in the sandbox.
const sandboxNumber = "15550009999"

// sandboxKeys are kept in the clear beside the sandbox's data, so that its curl line is the same at every start. They
// open nothing but simulated phones.
type sandboxKeys struct {
	Admin string `json:"adminKey"`
	Algo  string `json:"apiKey"`
}

// startSimulator runs the WhatsApp server simulator in this process and makes it the only server that is trusted.
func (h *Hub) startSimulator(ctx context.Context) error {
	sim, err := wasim.Start(context.WithoutCancel(ctx), wasim.Config{
		Dir: filepath.Join(h.cfg.DataDir(), "simulator"), Log: h.log, ResolveQR: h.pairingCode,
	})
	if err != nil {
		return err
	}
	h.simulator = sim
	h.onStop("simulator", briefStop, func(context.Context) error { return sim.Close() })
	return trust(sim.RootKey())
}

// createSandboxKeys makes tenant algo and the sandbox's keys.
func (h *Hub) createSandboxKeys(ctx context.Context) error {
	keys, err := h.loadSandboxKeys()
	if err != nil {
		return err
	}
	h.sandboxKeys = keys
	if err := h.ensureKey(ctx, 0, adminKeyName, keys.Admin); err != nil {
		return err
	}
	tenant, err := h.ensureTenant(ctx, defaultTenant)
	if err != nil {
		return err
	}
	return h.ensureKey(ctx, tenant.Key, "sandbox", keys.Algo)
}

// prepareSandbox pairs tenant algo with a simulated phone and shows how to send.
func (h *Hub) prepareSandbox(ctx context.Context) error {
	tenant, err := h.store.Tenant(ctx, defaultTenant)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pairingWait)
	defer cancel()
	session, err := h.store.Session(ctx, tenant.Key)
	if err != nil {
		return err
	}
	if session.JID == "" {
		code, err := h.pairingCode(ctx, tenant.ID)
		if err != nil {
			return err
		}
		if err := h.simulator.Pair(ctx, code, sandboxNumber); err != nil {
			return fmt.Errorf("pair tenant %s: %w", tenant.ID, err)
		}
	}
	// A scripted fault may keep the session away; the keys and the routes to look into that are then needed all the more.
	if s, err := h.awaitSession(ctx, tenant, func(s gateway.Session) bool { return s.State == gateway.SessionOnline }); err != nil {
		fmt.Fprintf(h.opts.Stdout, "\nThe session of tenant %s is %s (%s): messages wait. %s\n", tenant.ID, s.State, s.Reason, s.Reason.Hint())
	}
	fmt.Fprintf(h.opts.Stdout, "\nSandbox: a simulated WhatsApp, no phone is reached. Tenant %s is paired with +%s.\n\n  API key    %s\n  admin key  %s\n",
		tenant.ID, sandboxNumber, h.sandboxKeys.Algo, h.sandboxKeys.Admin)
	h.printCurl(tenant.ID, h.sandboxKeys.Algo)
	fmt.Fprintf(h.opts.Stdout, "See what the phone shows:\n\n  curl -s %s/sandbox/phones/919876543210/messages -H 'x-api-key: %s'\n\n",
		h.localURL(), h.sandboxKeys.Admin)
	return nil
}

// loadSandboxKeys reads the sandbox's keys, makes them at the first start, and lets the settings override them.
func (h *Hub) loadSandboxKeys() (sandboxKeys, error) {
	path := filepath.Join(h.cfg.DataDir(), "sandbox-keys.json")
	var keys sandboxKeys
	content, err := os.ReadFile(path) //nolint:gosec // beside the operator's database
	switch {
	case errors.Is(err, fs.ErrNotExist):
		keys = sandboxKeys{Admin: gateway.NewKeySecret(), Algo: gateway.NewKeySecret()}
	case err != nil:
		return keys, err
	default:
		if err := json.Unmarshal(content, &keys); err != nil {
			return keys, fmt.Errorf("read %s: %w", path, err)
		}
	}
	if h.cfg.AdminAPIKey != "" {
		keys.Admin = h.cfg.AdminAPIKey
	}
	if h.cfg.BootstrapTenant == defaultTenant && h.cfg.BootstrapAPIKey != "" {
		keys.Algo = h.cfg.BootstrapAPIKey
	}
	content, err = json.MarshalIndent(keys, "", "  ") //nolint:gosec // they are kept on purpose, see sandboxKeys
	if err != nil {
		return keys, err
	}
	return keys, os.WriteFile(path, content, 0o600)
}
