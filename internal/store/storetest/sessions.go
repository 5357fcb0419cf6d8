package storetest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testLeases(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	for _, id := range []string{"b", "c", "d"} {
		w.newTenant(id)
	}
	// Four workers grab at once: each session goes to one of them.
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		owner = map[int64][]string{}
	)
	for _, name := range []string{"w1", "w2", "w3", "w4"} {
		wg.Go(func() {
			taken, err := w.AcquireSessions(ctx, name, time.Minute, 2)
			if err != nil || len(taken) > 2 {
				t.Errorf("took %d, %v", len(taken), err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, s := range taken {
				owner[s.TenantKey] = append(owner[s.TenantKey], name)
				if s.Owner != name || s.Epoch != 1 || s.TenantID == "" || !s.LeaseUntil.After(time.Now()) {
					t.Errorf("took %+v", s)
				}
			}
		})
	}
	wg.Wait()
	if len(owner) != 4 {
		t.Fatalf("taken: %v", owner)
	}
	for key, names := range owner {
		if len(names) != 1 {
			t.Errorf("session %d was taken by %v", key, names)
		}
		f := gateway.Fence{TenantKey: key, Owner: names[0], Epoch: 1}
		must(t, w.CheckFence(ctx, f))
		for _, wrong := range []gateway.Fence{
			{TenantKey: key, Owner: "nobody", Epoch: 1}, {TenantKey: key, Owner: names[0], Epoch: 2}, {TenantKey: 99, Owner: names[0], Epoch: 1},
		} {
			if err := w.CheckFence(ctx, wrong); !errors.Is(err, gateway.ErrFenced) {
				t.Errorf("%+v holds: %v", wrong, err)
			}
		}
	}

	mine := owner[w.tenant.Key][0]
	held, err := w.RenewSessions(ctx, mine, time.Minute)
	must(t, err)
	if !slices.Contains(held, gateway.Fence{TenantKey: w.tenant.Key, Owner: mine, Epoch: 1}) {
		t.Fatalf("held after renewal: %v", held)
	}
	// A lease of no length has run out: it is lost to whoever comes first, and cannot be renewed.
	_, err = w.RenewSessions(ctx, mine, 0)
	must(t, err)
	old := gateway.Fence{TenantKey: w.tenant.Key, Owner: mine, Epoch: 1}
	if err := w.CheckFence(ctx, old); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("a lease that has run out holds: %v", err)
	}
	if held, err := w.RenewSessions(ctx, mine, time.Minute); err != nil || len(held) != 0 {
		t.Fatalf("renewed what had run out: %v, %v", held, err)
	}
	f := w.lease("heir", time.Minute)
	if f.Epoch != 2 {
		t.Fatalf("the heir's epoch is %d", f.Epoch)
	}
	must(t, w.CheckFence(ctx, f))
	inTransaction := func(f gateway.Fence) error {
		tx, err := w.Writer().BeginTx(ctx, nil)
		must(t, err)
		defer tx.Rollback()
		return w.CheckFenceIn(ctx, tx, f)
	}
	must(t, inTransaction(f))
	if err := inTransaction(old); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("the old lease holds inside a transaction: %v", err)
	}

	must(t, w.ReleaseSessions(ctx, "heir"))
	if err := w.CheckFence(ctx, f); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("a released lease holds: %v", err)
	}
	if f = w.lease("heir", time.Minute); f.Epoch != 3 {
		t.Fatalf("taken again under epoch %d", f.Epoch)
	}
	// A process that is alone takes everything at once, from whomever.
	must(t, w.ReleaseAllSessions(ctx))
	if err := w.CheckFence(ctx, f); !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("a released lease holds: %v", err)
	}
	if taken, err := w.AcquireSessions(ctx, "alone", time.Minute, 10); err != nil || len(taken) != 4 {
		t.Fatalf("took %d sessions of 4, %v", len(taken), err)
	}
}

func testUpdateSession(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	f := w.lease("worker", time.Minute)
	until := w.clock.Now().Add(time.Hour)
	got, err := w.UpdateSession(ctx, f, func(s *gateway.Session) {
		s.State, s.Reason, s.Since = gateway.SessionPairing, gateway.ReasonScanQR, w.clock.Now()
		s.JID, s.LID = "4915550000001:7@s.whatsapp.net", "123:7@lid"
		s.PairingCode, s.PairingExpiresAt, s.PairingPhone = "2@abc", until, "4915550000001"
		s.Restriction = gateway.Restriction{Kind: gateway.RestrictionFirstContacts, Until: until, Count: 2}
		s.Owner, s.Epoch, s.LeaseUntil = "thief", 77, until // not apply's to change
	})
	must(t, err)
	read, err := w.Session(ctx, w.tenant.Key)
	must(t, err)
	if read != got {
		t.Fatalf("stored %+v, returned %+v", read, got)
	}
	if read.Owner != f.Owner || read.Epoch != f.Epoch || read.State != gateway.SessionPairing || read.PairingCode != "2@abc" || read.PairingPhone != "4915550000001" ||
		!read.PairingExpiresAt.Equal(until) || read.Restriction.Count != 2 || !read.Restriction.Until.Equal(until) ||
		read.Number() != "4915550000001" || read.LID != "123:7@lid" || !read.Since.Equal(w.clock.Now()) {
		t.Fatalf("stored %+v", read)
	}
	f.Epoch++
	_, err = w.UpdateSession(ctx, f, func(*gateway.Session) { t.Error("applied without the lease") })
	if !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("got %v", err)
	}
}

func testCommands(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	must(t, w.AddCommand(ctx, gateway.Command{TenantKey: w.tenant.Key, Kind: gateway.CommandConnect, Phone: "4915550000001"}))
	must(t, w.AddCommand(ctx, gateway.Command{TenantKey: w.tenant.Key, Kind: gateway.CommandLogout}))
	wantCode(t, w.AddCommand(ctx, gateway.Command{TenantKey: 999, Kind: gateway.CommandLogout}), gateway.CodeNotFound)
	if taken, err := w.TakeCommands(ctx, "worker"); err != nil || len(taken) != 0 {
		t.Fatalf("taken without the lease: %v, %v", taken, err)
	}
	w.lease("worker", time.Minute)
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		all []gateway.Command
	)
	for range 8 {
		wg.Go(func() {
			taken, err := w.TakeCommands(ctx, "worker")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, taken...)
		})
	}
	wg.Wait()
	if len(all) != 2 || all[0].Kind != gateway.CommandConnect || all[1].Kind != gateway.CommandLogout ||
		all[0].TenantKey != w.tenant.Key || all[0].Phone != "4915550000001" || all[1].Phone != "" || !all[0].CreatedAt.Equal(w.clock.Now()) {
		t.Fatalf("taken %+v", all)
	}
}
