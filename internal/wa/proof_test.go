package wa

import (
	"context"
	"errors"
	"testing"

	"go.mau.fi/whatsmeow/store"

	"github.com/wapro/hub/internal/gateway"
)

// fencer is a lease that holds while err is nil.
type fencer struct{ err error }

func (f *fencer) check(context.Context, gateway.Claim) error { return f.err }

// signalStore fails the writes it is told to.
type signalStore struct {
	store.NoopStore
	known    map[string][]byte
	failing  func(call int) error // of IsTrustedIdentity, counted from 1
	checks   int
	readOnly error // of PutIdentity
	calls    int   // of it
	written  map[string][]byte
}

func (s *signalStore) GetManySessions(_ context.Context, addresses []string) (map[string][]byte, error) {
	sessions := map[string][]byte{}
	for _, a := range addresses {
		sessions[a] = s.known[a]
	}
	return sessions, nil
}

func (s *signalStore) PutIdentity(context.Context, string, [32]byte) error {
	s.calls++
	return s.readOnly
}

func (s *signalStore) IsTrustedIdentity(context.Context, string, [32]byte) (bool, error) {
	s.checks++
	if s.failing == nil {
		return true, nil
	}
	return true, s.failing(s.checks)
}

func (s *signalStore) PutManySessions(_ context.Context, sessions map[string][]byte) error {
	s.written = sessions
	return nil
}

const phone, own = "12_1:0", "34_1:0"

func guarded(inner *signalStore, f *fencer) *store.Device {
	device := &store.Device{Initialized: true}
	device.SetAllStores(inner)
	g := &guard{
		check: f.check, known: newIdentityCache(), seen: func(context.Context) {},
		transact: func(ctx context.Context, do func(context.Context) error) error { return do(ctx) },
	}
	g.wrap(device)
	return device
}

// encrypt does to the stores what whatsmeow does for one device, in its order.
func encrypt(ctx context.Context, d *store.Device, address string, fresh bool) (kept bool, err error) {
	turns := 1
	if fresh {
		turns = 2
	}
	for turn := range turns {
		if _, err := d.Identities.IsTrustedIdentity(ctx, address, [32]byte{1}); err != nil {
			return kept, err
		}
		if fresh && turn == 0 {
			kept = true // the bundle's session is kept before its identity is saved
		}
		if err := d.Identities.PutIdentity(ctx, address, [32]byte{1}); err != nil {
			return kept, err
		}
	}
	return true, nil
}

// send is one send to phone and to our own phone.
func send(t *testing.T, d *store.Device, p *proof, fresh bool) error {
	t.Helper()
	ctx := withProof(t.Context(), p)
	if _, err := d.Sessions.GetManySessions(ctx, []string{phone, own}); err != nil {
		t.Fatal(err)
	}
	dirty := map[string][]byte{}
	for _, address := range []string{phone, own} {
		kept, err := encrypt(ctx, d, address, fresh)
		if err != nil {
			t.Logf("swallowed, as whatsmeow does: %v", err)
		}
		if kept {
			dirty[address] = []byte{1}
		}
	}
	if len(dirty) == 0 {
		return nil
	}
	return d.Sessions.PutManySessions(ctx, dirty)
}

func TestASendIsProvenOnlyByCiphertextForThePhone(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk full")
	failAt := func(n int) func(int) error {
		return func(call int) error {
			if call == n {
				return broken
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		fresh   bool
		failing func(int) error
		reached bool
	}{
		"warm":                                   {reached: true},
		"first contact":                          {fresh: true, reached: true},
		"warm, identity not checked":             {failing: failAt(1)},
		"first contact, bundle not checked":      {fresh: true, failing: failAt(1)},
		"warm, own phone's identity not checked": {failing: failAt(2), reached: true},
	} {
		inner := &signalStore{failing: c.failing, known: map[string][]byte{}}
		if !c.fresh {
			inner.known = map[string][]byte{phone: {1}, own: {1}}
		}
		d := guarded(inner, &fencer{})
		p := &proof{require: phone}
		err := send(t, d, p, c.fresh)
		if c.reached != p.reached(phone) {
			t.Errorf("%s: reached = %t, want %t", name, p.reached(phone), c.reached)
		}
		if !c.reached && !errors.Is(err, errUnreached) {
			t.Errorf("%s: the send would have gone out: %v", name, err)
		}
		if !c.reached && inner.written != nil {
			t.Errorf("%s: a ratchet was moved for a message that does not go out", name)
		}
		if c.failing != nil && !errors.Is(p.failure(), broken) {
			t.Errorf("%s: the failure of the store is not told: %v", name, p.failure())
		}
	}
}

// The identities that a send meets are in the store when its sessions are, or nothing of the send goes out, and they are not taken for stored.
func TestIdentitiesOfASendAreWrittenWithItsSessions(t *testing.T) {
	t.Parallel()
	inner := &signalStore{known: map[string][]byte{}, readOnly: errors.New("disk full")}
	d := guarded(inner, &fencer{})
	p := &proof{require: phone}
	if err := send(t, d, p, true); !errors.Is(err, inner.readOnly) || p.reached(phone) || inner.written != nil {
		t.Fatalf("without its identities the send came to %v, reached %t, wrote %v", err, p.reached(phone), inner.written)
	}
	inner.readOnly, inner.calls = nil, 0
	p = &proof{require: phone}
	if err := send(t, d, p, true); err != nil || !p.reached(phone) || inner.calls != 2 || len(inner.written) != 2 {
		t.Fatalf("the send came to %v, reached %t, wrote %d identities and %v", err, p.reached(phone), inner.calls, inner.written)
	}
	inner.known = map[string][]byte{phone: {1}, own: {1}}
	if err := send(t, d, &proof{require: phone}, false); err != nil || inner.calls != 2 {
		t.Fatalf("known identities were written again: %v, %d", err, inner.calls)
	}
}

// Without the claim that a send belongs to, none of its last writes happens.
func TestASendWritesNothingWithoutItsClaim(t *testing.T) {
	t.Parallel()
	inner := &signalStore{known: map[string][]byte{}}
	d := guarded(inner, &fencer{})
	claim := gateway.Claim{MessageID: "m", Attempt: 2}
	d.Sessions.(*guardedSessions).guard.check = func(_ context.Context, c gateway.Claim) error {
		if c == claim {
			return gateway.ErrClaimLost
		}
		return nil
	}
	p := &proof{require: phone, claim: claim}
	err := send(t, d, p, true)
	if !errors.Is(err, gateway.ErrClaimLost) || p.reached(phone) || inner.written != nil || inner.calls != 0 {
		t.Errorf("the send came to %v, reached %t, wrote %v", err, p.reached(phone), inner.written)
	}
	if e := (&attempt{proof: p}).sendError(err); e.Cause != gateway.CauseClaimLost || e.OnWire {
		t.Errorf("it is told as %v", e)
	}
	ctx := withProof(t.Context(), p)
	if err := d.SenderKeys.PutSenderKey(ctx, "g", own, nil); !errors.Is(err, gateway.ErrClaimLost) {
		t.Errorf("a group's key was written: %v", err)
	}
	if err := d.Sessions.PutSession(t.Context(), phone, nil); err != nil {
		t.Errorf("what belongs to no send wants a claim: %v", err)
	}
}

func TestSignalWritesNeedTheLease(t *testing.T) {
	t.Parallel()
	lease := &fencer{err: gateway.ErrFenced}
	d := guarded(&signalStore{}, lease)
	ctx := t.Context()
	for name, write := range map[string]func() error{
		"PutSession":        func() error { return d.Sessions.PutSession(ctx, phone, nil) },
		"PutManySessions":   func() error { return d.Sessions.PutManySessions(ctx, nil) },
		"DeleteSession":     func() error { return d.Sessions.DeleteSession(ctx, phone) },
		"DeleteAllSessions": func() error { return d.Sessions.DeleteAllSessions(ctx, phone) },
		"PutIdentity":       func() error { return d.Identities.PutIdentity(ctx, phone, [32]byte{}) },
		"DeleteIdentity":    func() error { return d.Identities.DeleteIdentity(ctx, phone) },
		"PutSenderKey":      func() error { return d.SenderKeys.PutSenderKey(ctx, "g", phone, nil) },
		"RemovePreKey":      func() error { return d.PreKeys.RemovePreKey(ctx, 1) },
		"GenOnePreKey":      func() error { _, err := d.PreKeys.GenOnePreKey(ctx); return err },
		"Save":              func() error { return d.Save(ctx) },
	} {
		lease.err = gateway.ErrFenced
		if err := write(); !errors.Is(err, gateway.ErrFenced) {
			t.Errorf("%s without a lease: %v", name, err)
		}
		if name == "Save" {
			continue // there is no container here
		}
		lease.err = nil
		if err := write(); err != nil {
			t.Errorf("%s with a lease: %v", name, err)
		}
	}
}

func TestPanicInATransactionIsAnError(t *testing.T) {
	t.Parallel()
	if err := contained(func(context.Context) error { panic("a bug") })(t.Context()); err == nil {
		t.Error("the panic is lost")
	}
}

func TestUnchangedIdentitiesAreNotWrittenAgain(t *testing.T) {
	t.Parallel()
	inner := &signalStore{}
	d := guarded(inner, &fencer{})
	ctx := t.Context()
	put := func(key byte) {
		t.Helper()
		if err := d.Identities.PutIdentity(ctx, phone, [32]byte{key}); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	put(1)
	if inner.calls != 1 {
		t.Errorf("%d writes of one identity", inner.calls)
	}
	put(2)
	if inner.calls != 2 {
		t.Errorf("a changed identity was not written")
	}
	if err := d.Identities.DeleteAllIdentities(ctx, "12_1"); err != nil {
		t.Fatal(err)
	}
	put(2)
	if inner.calls != 3 {
		t.Errorf("an identity was not written again after it was deleted")
	}
}
