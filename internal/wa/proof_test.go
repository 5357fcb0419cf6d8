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

func (f *fencer) check(context.Context) error { return f.err }

// signalStore fails the writes it is told to.
type signalStore struct {
	store.NoopStore
	known   map[string][]byte
	failing func(call int) error // of PutIdentity, counted from 1
	calls   int
	written map[string][]byte
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
	if s.failing == nil {
		return nil
	}
	return s.failing(s.calls)
}

func (s *signalStore) IsTrustedIdentity(context.Context, string, [32]byte) (bool, error) {
	return true, nil
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
		"warm":                                 {reached: true},
		"first contact":                        {fresh: true, reached: true},
		"warm, identity not saved":             {failing: failAt(1)},
		"first contact, bundle not saved":      {fresh: true, failing: failAt(1)},
		"first contact, identity not saved":    {fresh: true, failing: failAt(2)},
		"warm, own phone's identity not saved": {failing: failAt(2), reached: true},
	} {
		inner := &signalStore{failing: c.failing, known: map[string][]byte{}}
		if !c.fresh {
			inner.known = map[string][]byte{phone: {1}, own: {1}}
		}
		d := guarded(inner, &fencer{})
		if c.fresh {
			// Each save must reach the store here, which a first contact's second does not when it is remembered.
			d.Identities.(*guardedIdentities).guard.known = nil
		}
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
