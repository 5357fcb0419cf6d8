package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testWorkers(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	w.newTenant("b")
	w.newTenant("c")
	before := time.Now()
	must(t, w.SeeWorker(ctx, gateway.Worker{ID: "one", Host: "machine", PID: 42}, time.Minute))
	must(t, w.SeeWorker(ctx, gateway.Worker{ID: "two"}, time.Minute))
	must(t, w.SeeWorker(ctx, gateway.Worker{ID: "dead"}, 0))

	taken, err := w.AcquireSessions(ctx, "one", time.Minute, 2)
	must(t, err)
	if len(taken) != 2 || taken[0].TenantKey != w.tenant.Key {
		t.Fatalf("took %+v", taken)
	}
	_, err = w.UpdateSession(ctx, taken[0].Fence(), func(s *gateway.Session) { s.State = gateway.SessionOnline })
	must(t, err)
	w.accept(gateway.PriorityNormal, 3)

	list, err := w.Workers(ctx)
	must(t, err)
	if len(list) != 2 {
		t.Fatalf("workers %+v", list)
	}
	one := list[0]
	if one.ID != "one" || one.Host != "machine" || one.PID != 42 || one.Sessions != 2 || one.Online != 1 || one.Waiting != 3 ||
		one.StartedAt.Sub(before).Abs() > time.Minute || !one.SeenAt.Equal(one.StartedAt) {
		t.Errorf("the first worker is %+v", one)
	}
	if two := list[1]; two.ID != "two" || two.Sessions != 0 || two.Online != 0 || two.Waiting != 0 {
		t.Errorf("the second worker is %+v", two)
	}

	shares, err := w.Shares(ctx, time.Minute)
	must(t, err)
	if len(shares.Held) != 2 || shares.Held["one"] != 2 || shares.Total != 3 || shares.Free != 1 || shares.Orphans != 0 {
		t.Errorf("shares %+v", shares)
	}
	if _, listed := shares.Held["two"]; !listed {
		t.Errorf("a worker without sessions has no share: %+v", shares)
	}
	shares, err = w.Shares(ctx, 0)
	must(t, err)
	if shares.Orphans != 1 {
		t.Errorf("what nobody holds is no orphan: %+v", shares)
	}

	// One lease is given up, the other stays; an old proof gives nothing up.
	old := taken[1].Fence()
	old.Epoch--
	must(t, w.ReleaseSession(ctx, old))
	must(t, w.CheckFence(ctx, taken[1].Fence()))
	must(t, w.ReleaseSession(ctx, taken[1].Fence()))
	if err := w.CheckFence(ctx, taken[1].Fence()); !errors.Is(err, gateway.ErrFenced) {
		t.Errorf("a released lease holds: %v", err)
	}
	must(t, w.CheckFence(ctx, taken[0].Fence()))

	must(t, w.RetireWorker(ctx, "two"))
	must(t, w.SeeWorker(ctx, gateway.Worker{ID: "one"}, time.Minute))
	list, err = w.Workers(ctx)
	must(t, err)
	if len(list) != 1 || !list[0].StartedAt.Equal(one.StartedAt) || list[0].SeenAt.Before(one.SeenAt) || list[0].Host != "machine" {
		t.Errorf("after a retirement: %+v", list)
	}
}

func testSpare(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	keys := map[string]int64{"busy": w.tenant.Key}
	for _, id := range []string{"idle", "unpaired", "pairing", "commanded", "replaced"} {
		keys[id] = w.newTenant(id).Key
	}
	w.accept(gateway.PriorityNormal, 1)
	taken, err := w.AcquireSessions(ctx, "one", time.Minute, 10)
	must(t, err)
	for _, row := range taken {
		_, err := w.UpdateSession(ctx, row.Fence(), func(s *gateway.Session) {
			switch s.TenantKey {
			case keys["unpaired"]:
			case keys["pairing"]:
				s.State = gateway.SessionPairing
			case keys["replaced"]:
				s.JID, s.State = "3@s.whatsapp.net", gateway.SessionReplaced
			default:
				s.JID, s.State = "1@s.whatsapp.net", gateway.SessionOnline
			}
		})
		must(t, err)
	}
	must(t, w.AddCommand(ctx, gateway.Command{TenantKey: keys["commanded"], Kind: gateway.CommandConnect}))
	spare, err := w.Spare(ctx, "one", 10)
	must(t, err)
	var got []int64
	for _, f := range spare {
		got = append(got, f.TenantKey)
		must(t, w.CheckFence(ctx, f))
	}
	if want := []int64{keys["unpaired"], keys["idle"], keys["busy"]}; !slices.Equal(got, want) {
		t.Errorf("to be handed over: %v, want %v", got, want)
	}
	if spare, err := w.Spare(ctx, "one", 1); err != nil || len(spare) != 1 || spare[0].TenantKey != keys["unpaired"] {
		t.Errorf("the first is %+v, %v", spare, err)
	}
	if spare, err := w.Spare(ctx, "two", 10); err != nil || len(spare) != 0 {
		t.Errorf("another worker's: %+v, %v", spare, err)
	}
}
