package storetest

import (
	"reflect"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// testWebSessions: a session lives as long as its time and its key, and no longer.
func testWebSessions(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	shops := gateway.APIKey{
		ID: "of-algo", TenantKey: w.tenant.Key, Name: "shop", Scopes: []string{"read", "send"}, Hash: [32]byte{1}, RequestsPerSecond: 3,
		CreatedAt: w.clock.Now().UTC().Truncate(time.Microsecond), ExpiresAt: w.clock.Now().UTC().Truncate(time.Microsecond).Add(1000 * time.Hour),
	}
	must(t, w.CreateKey(ctx, shops))
	must(t, w.CreateKey(ctx, gateway.APIKey{ID: "of-admin", Name: "admin", Hash: [32]byte{2}}))
	signIn := func(key string, n byte) gateway.WebSession {
		t.Helper()
		s := gateway.WebSession{TokenHash: [32]byte{31: n}, KeyID: key, OpenedAt: w.clock.Now()}
		s.Renew(w.clock.Now())
		must(t, w.OpenWebSession(ctx, s))
		return s
	}
	there := func(s gateway.WebSession, want bool) {
		t.Helper()
		_, _, _, err := w.WebSession(ctx, s.TokenHash)
		if want != (err == nil) || err != nil && gateway.CodeOf(err) != gateway.CodeNotFound {
			t.Errorf("session %d of %s: %v, want it there: %t", s.TokenHash[31], s.KeyID, err, want)
		}
	}

	shop, admin := signIn("of-algo", 1), signIn("of-admin", 2)
	got, key, tenant, err := w.WebSession(ctx, shop.TokenHash)
	must(t, err)
	if got != shop || !reflect.DeepEqual(key, shops) || tenant != "algo" {
		t.Errorf("got %+v of key %+v and tenant %q, want %+v of %+v", got, key, tenant, shop, shops)
	}
	if _, key, tenant, err = w.WebSession(ctx, admin.TokenHash); err != nil || key.TenantKey != 0 || tenant != "" {
		t.Errorf("the admin's: key %+v, tenant %q, %v", key, tenant, err)
	}
	if err := w.OpenWebSession(ctx, gateway.WebSession{TokenHash: [32]byte{9}, KeyID: "nobody's"}); gateway.CodeOf(err) != gateway.CodeNotFound {
		t.Errorf("a session of no key: %v", err)
	}

	w.clock.Advance(gateway.WebSessionIdle - time.Second)
	there(shop, true)
	if shop.Renew(w.clock.Now()) {
		must(t, w.RenewWebSession(ctx, shop))
	}
	w.clock.Advance(2 * time.Second)
	there(shop, true)
	there(admin, false)

	other := signIn("of-algo", 3)
	must(t, w.CloseWebSession(ctx, other.TokenHash))
	must(t, w.CloseWebSession(ctx, other.TokenHash))
	there(other, false)
	must(t, w.RenewWebSession(ctx, other)) // a renewal that comes late brings nothing back
	there(other, false)
	there(shop, true)

	must(t, w.RevokeKey(ctx, w.tenant.Key, "of-algo"))
	there(shop, false)

	must(t, w.CreateKey(ctx, gateway.APIKey{ID: "second", TenantKey: w.tenant.Key, Hash: [32]byte{3}}))
	first := signIn("second", 100)
	for n := range gateway.MaxWebSessions {
		w.clock.Advance(time.Second)
		signIn("second", byte(101+n))
	}
	there(first, false)
	last := gateway.WebSession{TokenHash: [32]byte{31: 101}, KeyID: "second"}
	there(last, true)
	must(t, w.DeleteTenant(ctx, "algo"))
	there(last, false)
}
