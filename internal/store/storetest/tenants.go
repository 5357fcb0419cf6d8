package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testTenants(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()

	_, err := w.CreateTenant(ctx, "algo", "again")
	wantCode(t, err, gateway.CodeTenantExists)
	_, err = w.CreateTenant(ctx, "Not Valid", "")
	wantCode(t, err, gateway.CodeInvalidTenant)
	_, err = w.Tenant(ctx, "nobody")
	wantCode(t, err, gateway.CodeNotFound)

	got, err := w.Tenant(ctx, "algo")
	must(t, err)
	if got != w.tenant || got.Name != "Tenant algo" || !got.CreatedAt.Equal(w.clock.Now()) {
		t.Fatalf("got tenant %+v, made %+v", got, w.tenant)
	}
	w.newTenant("aaa")
	list, err := w.Tenants(ctx)
	must(t, err)
	if len(list) != 2 || list[0].ID != "aaa" || list[1].ID != "algo" {
		t.Fatalf("got tenants %+v", list)
	}
	session, err := w.Session(ctx, w.tenant.Key)
	must(t, err)
	if session.State != gateway.SessionUnpaired || session.Reason != gateway.ReasonNeverPaired || session.TenantID != "algo" {
		t.Fatalf("a new tenant's session is %+v", session)
	}

	secret := gateway.NewKeySecret()
	key := gateway.APIKey{
		ID: "key-1", TenantKey: w.tenant.Key, Name: "shop", Scopes: []string{"read", "manage"},
		Hash: gateway.HashKey(secret), CreatedAt: w.clock.Now(),
	}
	must(t, w.CreateKey(ctx, key))
	wantCode(t, w.CreateKey(ctx, key), gateway.CodeConflict)
	must(t, w.CreateKey(ctx, gateway.APIKey{ID: "admin", Hash: gateway.HashKey("x")}))
	wantCode(t, w.CreateKey(ctx, gateway.APIKey{ID: "lost", TenantKey: 999, Hash: gateway.HashKey("y")}), gateway.CodeNotFound)

	keys, err := w.KeysByPrefix(ctx, [8]byte(key.Hash[:8]))
	must(t, err)
	if len(keys) != 1 || keys[0].Hash != key.Hash || keys[0].TenantKey != w.tenant.Key || !slices.Equal(keys[0].Scopes, key.Scopes) {
		t.Fatalf("found keys %+v", keys)
	}
	admins, err := w.Keys(ctx, 0)
	must(t, err)
	if len(admins) != 1 || admins[0].ID != "admin" || admins[0].TenantKey != 0 || admins[0].CreatedAt.IsZero() {
		t.Fatalf("admin keys %+v", admins)
	}
	// Two keys live while one replaces the other, then one.
	fresh := gateway.APIKey{ID: "key-2", Hash: gateway.HashKey("second"), CreatedAt: w.clock.Now()}
	end := w.clock.Now().Add(time.Hour)
	_, _, err = w.RotateKey(ctx, w.newTenant("stranger").Key, "key-1", fresh, end)
	wantCode(t, err, gateway.CodeNotFound)
	successor, old, err := w.RotateKey(ctx, w.tenant.Key, "key-1", fresh, end)
	must(t, err)
	if successor.Name != "shop" || !slices.Equal(successor.Scopes, key.Scopes) || !successor.ExpiresAt.IsZero() || !old.ExpiresAt.Equal(end) || old.ID != "key-1" {
		t.Fatalf("rotated to %+v from %+v", successor, old)
	}
	_, _, err = w.RotateKey(ctx, w.tenant.Key, "key-1", gateway.APIKey{ID: "key-3", Hash: gateway.HashKey("third")}, end)
	wantCode(t, err, gateway.CodeConflict)
	live, err := w.Keys(ctx, w.tenant.Key)
	must(t, err)
	if len(live) != 2 || !live[0].ExpiresAt.Equal(end) || live[1].ID != "key-2" || live[1].Hash != fresh.Hash {
		t.Fatalf("while both live: %+v", live)
	}
	session1 := gateway.WebSession{TokenHash: gateway.HashSession("s"), KeyID: "key-1", OpenedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(2 * time.Hour)}
	must(t, w.OpenWebSession(ctx, session1))
	w.clock.Advance(time.Hour)
	if live, err = w.Keys(ctx, w.tenant.Key); err != nil || len(live) != 1 || live[0].ID != "key-2" {
		t.Fatalf("after the end of the old one: %+v, %v", live, err)
	}
	if found, err := w.KeysByPrefix(ctx, [8]byte(key.Hash[:8])); err != nil || len(found) != 0 {
		t.Fatalf("a key that has ended still opens: %+v, %v", found, err)
	}
	_, _, _, err = w.WebSession(ctx, session1.TokenHash)
	wantCode(t, err, gateway.CodeNotFound)
	wantCode(t, w.OpenWebSession(ctx, session1), gateway.CodeNotFound)
	_, _, err = w.RotateKey(ctx, w.tenant.Key, "key-1", gateway.APIKey{ID: "key-3", Hash: gateway.HashKey("third")}, end)
	wantCode(t, err, gateway.CodeNotFound)

	_, err = w.UpdateLimits(ctx, "algo", func(l *gateway.Limits) { l.RequestsPerSecond = 7 })
	must(t, err)
	limited, err := w.UpdateLimits(ctx, "algo", func(l *gateway.Limits) { l.QueuedMessages = 9 })
	if err != nil || limited.Limits != (gateway.Limits{RequestsPerSecond: 7, QueuedMessages: 9}) {
		t.Fatalf("limits %+v, %v", limited.Limits, err)
	}
	if again, err := w.Tenant(ctx, "algo"); err != nil || again.Limits != limited.Limits {
		t.Fatalf("stored limits %+v, %v", again.Limits, err)
	}
	_, err = w.UpdateLimits(ctx, "nobody", func(*gateway.Limits) {})
	wantCode(t, err, gateway.CodeNotFound)

	wantCode(t, w.RevokeKey(ctx, 0, "key-1"), gateway.CodeNotFound) // another's key is not there
	must(t, w.RevokeKey(ctx, w.tenant.Key, "key-1"))
	wantCode(t, w.RevokeKey(ctx, w.tenant.Key, "key-1"), gateway.CodeNotFound)
	keys, err = w.KeysByPrefix(ctx, [8]byte(key.Hash[:8]))
	must(t, err)
	if len(keys) != 0 {
		t.Fatal("a revoked key still opens")
	}
	must(t, w.RevokeKey(ctx, w.tenant.Key, "key-2"))
	if keys, err = w.Keys(ctx, w.tenant.Key); err != nil || len(keys) != 0 {
		t.Fatalf("keys after revoking: %v, %v", keys, err)
	}
}

// testOwnKeys: a key that makes its own successor gets no more by it than it had, and what ends the one ends the other.
func testOwnKeys(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	made := 0
	own := func(by string, scopes ...string) (id string, err error) {
		made++
		id = fmt.Sprintf("%s+%d", by, made)
		_, _, err = w.RotateKey(ctx, w.tenant.Key, by,
			gateway.APIKey{ID: id, Hash: gateway.HashKey(id), CreatedAt: w.clock.Now(), MadeBy: by, Scopes: scopes}, w.clock.Now().Add(time.Hour))
		return id, err
	}
	live := func() (ids []string) {
		list, err := w.Keys(ctx, w.tenant.Key)
		must(t, err)
		for _, k := range list {
			ids = append(ids, k.ID)
		}
		slices.Sort(ids)
		return ids
	}
	must(t, w.CreateKey(ctx, gateway.APIKey{ID: "a", TenantKey: w.tenant.Key, Scopes: []string{"send", "manage"}, Hash: gateway.HashKey("a"), RequestsPerSecond: 5}))
	_, err := own("a", "read")
	wantCode(t, err, gateway.CodeScopeMissing)
	second, err := own("a")
	must(t, err)
	_, err = own(second)
	wantCode(t, err, gateway.CodeConflict) // two at a time
	w.clock.Advance(time.Hour)
	third, err := own(second, "manage")
	must(t, err)
	found, err := w.Keys(ctx, w.tenant.Key)
	must(t, err)
	if last := found[len(found)-1]; last.ID != third || !slices.Equal(last.Scopes, []string{"manage"}) || last.RequestsPerSecond != 5 || last.MadeBy != second {
		t.Fatalf("the third is %+v", last)
	}
	must(t, w.RevokeKey(ctx, w.tenant.Key, "a")) // it has ended by itself; what came of it has not
	if left := live(); len(left) > 0 {
		t.Fatalf("of a revoked key are left %v", left)
	}
	wantCode(t, w.RevokeKey(ctx, w.tenant.Key, "a"), gateway.CodeNotFound)

	// A successor that the operator makes is not the key's own.
	must(t, w.CreateKey(ctx, gateway.APIKey{ID: "b", TenantKey: w.tenant.Key, Hash: gateway.HashKey("b")}))
	_, _, err = w.RotateKey(ctx, w.tenant.Key, "b", gateway.APIKey{ID: "c", Hash: gateway.HashKey("c"), CreatedAt: w.clock.Now()}, w.clock.Now().Add(time.Hour))
	must(t, err)
	narrow, err := own("c", "read") // of a key that may do everything
	must(t, err)
	must(t, w.RevokeKey(ctx, w.tenant.Key, "b"))
	if left := live(); !slices.Equal(left, []string{"c", narrow}) {
		t.Fatalf("left are %v", left)
	}
	must(t, w.RevokeKey(ctx, w.tenant.Key, "c"))

	// Whichever of the two comes first.
	for i := range 10 {
		first := fmt.Sprint("race", i)
		must(t, w.CreateKey(ctx, gateway.APIKey{ID: first, TenantKey: w.tenant.Key, Hash: gateway.HashKey(first)}))
		next := gateway.APIKey{ID: first + "+", Hash: gateway.HashKey(first + "+"), CreatedAt: w.clock.Now(), MadeBy: first}
		rotated := make(chan error, 1)
		go func() {
			_, _, err := w.RotateKey(ctx, w.tenant.Key, first, next, next.CreatedAt.Add(time.Hour))
			rotated <- err
		}()
		must(t, w.RevokeKey(ctx, w.tenant.Key, first))
		if err := <-rotated; err != nil {
			wantCode(t, err, gateway.CodeNotFound)
		}
		if left := live(); len(left) > 0 {
			t.Fatalf("of a key that was revoked while it made another are left %v", left)
		}
	}
}

func testDeletion(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	other := w.newTenant("other")
	kept := newMessage(other, gateway.PriorityNormal, 1, w.clock.Now())
	must(t, w.Accept(ctx, []*gateway.Message{kept}, nil))
	var batch []*gateway.Message
	for range 1100 { // more than the store removes in one go
		batch = append(batch, w.message(w.tenant, gateway.PriorityBulk))
	}
	must(t, w.Accept(ctx, batch, nil))
	must(t, w.AddCommand(ctx, gateway.Command{TenantKey: w.tenant.Key, Kind: gateway.CommandConnect}))
	must(t, w.CreateKey(ctx, gateway.APIKey{ID: "k", TenantKey: w.tenant.Key, Hash: gateway.HashKey("k")}))
	f := w.lease("worker", time.Minute)

	must(t, w.DeleteTenant(ctx, "algo"))
	wantCode(t, w.DeleteTenant(ctx, "algo"), gateway.CodeNotFound)
	_, err := w.Tenant(ctx, "algo")
	wantCode(t, err, gateway.CodeNotFound)
	_, err = w.Message(ctx, w.tenant.Key, batch[0].ID)
	wantCode(t, err, gateway.CodeNotFound)
	statuses, err := w.Statuses(ctx, []string{batch[0].ID, batch[1099].ID, kept.ID})
	must(t, err)
	if len(statuses) != 1 || statuses[kept.ID] != gateway.StatusQueued {
		t.Fatalf("after the deletion there are %v", statuses)
	}
	_, err = w.Session(ctx, w.tenant.Key)
	wantCode(t, err, gateway.CodeNotFound)
	if err := w.CheckFence(ctx, f); err == nil {
		t.Fatal("the lease outlived its tenant")
	}
	wantCode(t, w.Accept(ctx, []*gateway.Message{w.message(w.tenant, gateway.PriorityHigh)}, nil), gateway.CodeNotFound)
	wantCode(t, w.AddCommand(ctx, gateway.Command{TenantKey: w.tenant.Key, Kind: gateway.CommandConnect}), gateway.CodeNotFound)
	if keys, err := w.KeysByPrefix(ctx, [8]byte(first(gateway.HashKey("k")))); err != nil || len(keys) != 0 {
		t.Fatalf("a deleted tenant's key still opens: %v, %v", keys, err)
	}

	again := w.newTenant("algo")
	if again.Key == w.tenant.Key || again.Key <= other.Key {
		t.Fatalf("key %d was used before", again.Key)
	}
	if list, err := w.Messages(ctx, again.Key, gateway.MessageFilter{}); err != nil || len(list) != 0 {
		t.Fatalf("the new tenant begins with %d messages, %v", len(list), err)
	}
}

func first(h [32]byte) []byte { return h[:8] }

func testSettings(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	if _, ok, err := w.Setting(ctx, "none"); ok || err != nil {
		t.Fatalf("an unknown setting: %t, %v", ok, err)
	}
	must(t, w.SetSetting(ctx, "name", "one"))
	must(t, w.SetSetting(ctx, "name", "two"))
	if v, ok, err := w.Setting(ctx, "name"); v != "two" || !ok || err != nil {
		t.Fatalf("got %q, %t, %v", v, ok, err)
	}
	must(t, w.StampMode(ctx, "sandbox"))
	must(t, w.StampMode(ctx, "sandbox"))
	wantCode(t, w.StampMode(ctx, "real"), gateway.CodeConflict)
	must(t, w.Ping(ctx))
}

func testIsolation(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	mine := w.accept(gateway.PriorityNormal, 1)[0]
	other := w.newTenant("other")

	_, err := w.Message(ctx, other.Key, mine.ID)
	wantCode(t, err, gateway.CodeNotFound)
	_, err = w.MessageByStanza(ctx, other.Key, mine.WhatsAppID)
	wantCode(t, err, gateway.CodeNotFound)
	_, err = w.Events(ctx, other.Key, mine.ID)
	wantCode(t, err, gateway.CodeNotFound)
	_, err = w.Update(ctx, other.Key, mine.ID, nil, func(*gateway.Message) ([]gateway.Event, error) {
		t.Error("another tenant's message was handed out")
		return nil, nil
	})
	wantCode(t, err, gateway.CodeNotFound)
	if list, err := w.MessagesByID(ctx, other.Key, []string{mine.ID}); err != nil || len(list) != 0 {
		t.Fatalf("got %v, %v", list, err)
	}
	if list, err := w.Messages(ctx, other.Key, gateway.MessageFilter{}); err != nil || len(list) != 0 {
		t.Fatalf("got %v, %v", list, err)
	}
	if depth, err := w.Depth(ctx, other.Key); err != nil || depth != (gateway.QueueDepth{}) {
		t.Fatalf("got %v, %v", depth, err)
	}
	must(t, w.Receive(ctx, other.Key, gateway.Receipt{StanzaIDs: []string{mine.WhatsAppID}, Kind: gateway.ReceiptRead},
		func(*gateway.Message, gateway.Confirmed) (gateway.Confirmed, []gateway.Event, error) {
			t.Error("a receipt reached another tenant's message")
			return gateway.Confirmed{}, nil, nil
		}))
	// The same stanza id and Idempotency-Key of two tenants have nothing to do with one another.
	twin := newMessage(other, gateway.PriorityNormal, 1, w.clock.Now())
	twin.WhatsAppID = mine.WhatsAppID
	must(t, w.Accept(ctx, []*gateway.Message{twin}, nil))
	if twin.Seq != 1 {
		t.Fatalf("the other tenant's first message has seq %d", twin.Seq)
	}
	for _, key := range []int64{w.tenant.Key, other.Key} {
		prior, err := w.ReserveIdempotency(ctx, gateway.Idempotency{
			TenantKey: key, Scope: "POST x", Key: "same", LockUntil: w.clock.Now().Add(time.Minute),
		})
		if prior != nil || err != nil {
			t.Fatalf("got %v, %v", prior, err)
		}
	}
	// A lease on one tenant's session opens nothing of another's.
	f := w.lease("worker", time.Minute)
	_, err = w.Claim(ctx, f, gateway.Ticket{TenantKey: other.Key, MessageID: twin.ID, Lane: twin.Priority}, begin(w.clock.Now(), f.Owner))
	if !errors.Is(err, gateway.ErrFenced) {
		t.Fatalf("got %v, want ErrFenced", err)
	}
	if claimed := w.claimTicket(f, gateway.Ticket{TenantKey: w.tenant.Key, MessageID: twin.ID, Lane: twin.Priority}); claimed != nil {
		t.Fatalf("claimed %s of another tenant", claimed.ID)
	}
}

func testIdempotencyRace(t *testing.T, open Opener) {
	const requests, keys = 200, 20
	w := newWorld(t, open)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		wins = map[string]int{}
		busy int
	)
	for i := range requests {
		wg.Go(func() {
			key := string(rune('a' + i%keys))
			prior, err := w.ReserveIdempotency(t.Context(), gateway.Idempotency{
				TenantKey: w.tenant.Key, Scope: "POST message", Key: key, LockUntil: w.clock.Now().Add(time.Minute),
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && prior == nil:
				wins[key]++
			case gateway.CodeOf(err) == gateway.CodeIdempotencyBusy:
				busy++
			default:
				t.Errorf("got %v, %v", prior, err)
			}
		})
	}
	wg.Wait()
	for key, n := range wins {
		if n != 1 {
			t.Errorf("%d requests went on with key %s", n, key)
		}
	}
	if len(wins) != keys || busy != requests-keys {
		t.Fatalf("%d keys won, %d requests were told to wait", len(wins), busy)
	}
}

func testIdempotencyAnswers(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	request := gateway.Idempotency{
		TenantKey: w.tenant.Key, Scope: "POST keys", Key: "k", BodyHash: gateway.HashKey("body"),
		LockUntil: w.clock.Now().Add(time.Minute),
	}
	reserve := func() (*gateway.IdempotencyAnswer, error) {
		request.LockUntil = w.clock.Now().Add(time.Minute)
		return w.ReserveIdempotency(ctx, request)
	}
	complete := func(a gateway.IdempotencyAnswer) error {
		return w.CompleteIdempotency(ctx, request.TenantKey, request.Scope, request.Key, a)
	}
	wantReserved := func() {
		t.Helper()
		if prior, err := reserve(); prior != nil || err != nil {
			t.Fatalf("not reserved: %v, %v", prior, err)
		}
	}
	wantReserved()
	must(t, w.ReleaseIdempotency(ctx, request.TenantKey, request.Scope, request.Key))
	wantReserved() // after a release the same request may be tried again
	w.clock.Advance(2 * time.Minute)
	wantReserved() // the first one died with the lock

	answer := gateway.IdempotencyAnswer{Status: 201, Header: map[string]string{"Location": "/x"}, Body: []byte(`{"id":"1"}`)}
	must(t, complete(answer))
	wantCode(t, complete(answer), gateway.CodeIdempotencyBusy) // the one that was taken over comes too late
	must(t, w.ReleaseIdempotency(ctx, request.TenantKey, request.Scope, request.Key))
	prior, err := reserve()
	must(t, err)
	if prior == nil || prior.Status != 201 || prior.Header["Location"] != "/x" || string(prior.Body) != `{"id":"1"}` {
		t.Fatalf("replayed %+v", prior)
	}
	otherBody := request
	otherBody.BodyHash = gateway.HashKey("other")
	_, err = w.ReserveIdempotency(ctx, otherBody)
	wantCode(t, err, gateway.CodeIdempotencyReuse)
	otherScope := otherBody
	otherScope.Scope = "POST message"
	if prior, err := w.ReserveIdempotency(ctx, otherScope); prior != nil || err != nil {
		t.Fatalf("another route: %v, %v", prior, err)
	}

	w.clock.Advance(25 * time.Hour)
	wantReserved() // kept 24 h
}

func testIdempotencyWithAccept(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	request := gateway.Idempotency{
		TenantKey: w.tenant.Key, Scope: "POST message", Key: "k", LockUntil: w.clock.Now().Add(time.Minute),
	}
	completion := &gateway.IdempotencyCompletion{
		TenantKey: request.TenantKey, Scope: request.Scope, Key: request.Key,
		Answer: func(list []*gateway.Message) (gateway.IdempotencyAnswer, error) {
			return gateway.IdempotencyAnswer{Status: 202, Body: []byte(list[0].ID)}, nil
		},
	}
	m := w.message(w.tenant, gateway.PriorityNormal)
	wantCode(t, w.Accept(ctx, []*gateway.Message{m}, completion), gateway.CodeIdempotencyBusy)
	_, err := w.Message(ctx, w.tenant.Key, m.ID)
	wantCode(t, err, gateway.CodeNotFound) // no message without its answer

	if prior, err := w.ReserveIdempotency(ctx, request); prior != nil || err != nil {
		t.Fatalf("got %v, %v", prior, err)
	}
	must(t, w.Accept(ctx, []*gateway.Message{m}, completion))
	prior, err := w.ReserveIdempotency(ctx, request)
	must(t, err)
	if prior == nil || string(prior.Body) != m.ID {
		t.Fatalf("replayed %+v", prior)
	}
	late := w.message(w.tenant, gateway.PriorityNormal)
	wantCode(t, w.Accept(ctx, []*gateway.Message{late}, completion), gateway.CodeIdempotencyBusy)
	_, err = w.Message(ctx, w.tenant.Key, late.ID)
	wantCode(t, err, gateway.CodeNotFound)
}
