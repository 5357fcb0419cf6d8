package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"

	"github.com/wapro/hub/internal/gateway"
)

const (
	defaultTenant = "algo"
	pairingWait   = 30 * time.Second       // for a worker to show a code, or for a paired session to come online
	sessionPoll   = 100 * time.Millisecond // how often a waiting start-up reads the session row
)

// awaitSession reads the tenant's session until accept likes it or ctx ends.
func (h *Hub) awaitSession(ctx context.Context, tenant gateway.Tenant, accept func(gateway.Session) bool) (gateway.Session, error) {
	tick := time.NewTicker(sessionPoll)
	defer tick.Stop()
	for {
		s, err := h.store.Session(ctx, tenant.Key)
		if err != nil {
			return s, err
		}
		if accept(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("session of %s is %s (%s): %w", tenant.ID, s.State, s.Reason, ctx.Err())
		case <-tick.C:
		}
	}
}

// pairingCode asks the owner of the tenant's session to pair and returns the QR text it shows.
func (h *Hub) pairingCode(ctx context.Context, tenantID string) (string, error) {
	tenant, err := h.store.Tenant(ctx, tenantID)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, pairingWait)
	defer cancel()
	showsCode := func(s gateway.Session) bool {
		return s.PairingCode != "" && s.PairingPhone == "" && time.Until(s.PairingExpiresAt) > time.Second
	}
	session, err := h.store.Session(ctx, tenant.Key)
	if err != nil {
		return "", err
	}
	if session.JID != "" {
		return "", gateway.Errorf(gateway.CodeAlreadyPaired, "the tenant is paired already: log its session out first")
	}
	if !showsCode(session) {
		if err := h.store.AddCommand(ctx, gateway.Command{TenantKey: tenant.Key, Kind: gateway.CommandConnect}); err != nil {
			return "", err
		}
	}
	session, err = h.awaitSession(ctx, tenant, showsCode)
	return session.PairingCode, err
}

// pairInTerminal shows QR codes until the bootstrap tenant is paired and online, then the line to send with.
func pairInTerminal(ctx context.Context, h *Hub) error {
	tenant, err := h.store.Tenant(ctx, h.cfg.BootstrapTenant)
	if err != nil {
		return err
	}
	key, err := h.firstKey(ctx, tenant)
	if err != nil {
		return err
	}
	session, err := h.store.Session(ctx, tenant.Key)
	if err != nil {
		return err
	}
	if session.JID == "" {
		if err := h.store.AddCommand(ctx, gateway.Command{TenantKey: tenant.Key, Kind: gateway.CommandConnect}); err != nil {
			return err
		}
	}
	shown, failed := "", time.Time{}
	_, err = h.awaitSession(ctx, tenant, func(s gateway.Session) bool {
		switch {
		case s.State == gateway.SessionOnline:
			return true
		case s.PairingCode != "" && s.PairingPhone == "" && s.PairingCode != shown:
			shown = s.PairingCode
			fmt.Fprintf(h.opts.Stdout, "\nOn the phone: WhatsApp > Linked devices > Link a device, and scan:\n\n")
			qrterminal.GenerateHalfBlock(shown, qrterminal.L, h.opts.Stdout)
		case s.State == gateway.SessionUnpaired && shown != "" && !s.Since.Equal(failed):
			failed = s.Since
			fmt.Fprintf(h.opts.Stdout, "\n%s\nTo try again: press Ctrl-C and start once more.\n", s.Reason.Hint())
		}
		return false
	})
	if err != nil {
		return err
	}
	h.printCurl(tenant.ID, key)
	return nil
}

// firstKey returns a key that opens the tenant: the one of the settings, or one made now when the tenant has none.
// Of a key made at an earlier start only the hash is left, so a place-holder is returned for it.
func (h *Hub) firstKey(ctx context.Context, tenant gateway.Tenant) (string, error) {
	if h.cfg.BootstrapAPIKey != "" {
		return h.cfg.BootstrapAPIKey, nil
	}
	keys, err := h.store.Keys(ctx, tenant.Key)
	if err != nil {
		return "", err
	}
	for _, k := range keys {
		if k.RevokedAt.IsZero() {
			return "YOUR_TOKEN", nil
		}
	}
	key := gateway.NewKeySecret()
	if err := h.ensureKey(ctx, tenant.Key, "first", key); err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(h.opts.Stdout, "\nAPI key of tenant %s, shown this once: %s\n", tenant.ID, key)
	return key, err
}

// printCurl shows a line that sends a message when pasted, and where the pages are.
func (h *Hub) printCurl(tenantID, key string) {
	fmt.Fprintf(h.opts.Stdout, `
Send a first message:

  curl -i %[1]s/api/%[2]s/message -H 'x-api-key: %[3]s' -H 'Content-Type: application/json' -d '{"to":"919876543210","message":"Hello from WA Pro Hub"}'

Or open %[1]s in a browser and sign in with a key.

`, h.localURL(), tenantID, key)
}

// localURL is the API's address as a person on this machine would type it.
func (h *Hub) localURL() string {
	addr := h.httpAddr.String()
	for _, any := range []string{"[::]", "0.0.0.0"} {
		if port, ok := strings.CutPrefix(addr, any); ok {
			addr = "localhost" + port
		}
	}
	return "http://" + addr
}
