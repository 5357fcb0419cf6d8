package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testRoundTrip(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	now := w.clock.Now().Add(789 * time.Nanosecond).In(time.FixedZone("elsewhere", 3600)) // finer and elsewhere than what is kept
	full := &gateway.Message{
		ID: "full", TenantKey: w.tenant.Key, TenantID: "algo", To: "123@lid", RecipientJID: "49155@s.whatsapp.net",
		RecipientLID: "123@lid", Type: gateway.TypeAudio, Text: "caption with 'quotes', 日本 and \x00 a zero",
		Media: &gateway.Media{
			MimeType: "audio/ogg", Filename: "a \"b\".ogg", Size: 1 << 40, SHA256: strings.Repeat("ab", 32), Voice: true, Seconds: 7,
		},
		Content: &gateway.Content{
			Location: &gateway.Location{Latitude: -0.1, Longitude: 180, Name: "\x00 <b>"},
			Contacts: []gateway.Contact{{Name: "日本", Phones: []string{"4915112345678"}}}, Mentions: []string{"1"}, Emoji: "\U0001F44D",
			Target: &gateway.Target{MessageID: "m", StanzaID: "3A", FromMe: true, Type: gateway.TypeText, Text: "said", Until: now.UTC().Truncate(time.Microsecond)},
		},
		Priority: gateway.PriorityHigh, Reference: "order 7", BulkID: "bulk-1", RetryOf: "older", WhatsAppID: "3EB0FULL",
		Status: gateway.StatusQueued, CreatedAt: now, SendAt: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour), // of a bulk: queued all the same
	}
	bare, later := w.message(w.tenant, gateway.PriorityNormal), w.message(w.tenant, gateway.PriorityNormal)
	later.Status, later.SendAt = gateway.StatusScheduled, now.Add(time.Hour)
	must(t, w.KeepBlob(ctx, full.Media.SHA256, full.Media.Size))
	must(t, w.Accept(ctx, []*gateway.Message{full, bare, later}, nil))
	for _, m := range []*gateway.Message{full, bare, later} {
		got, err := w.Message(ctx, w.tenant.Key, m.ID)
		must(t, err)
		if !reflect.DeepEqual(got, *m) {
			t.Errorf("stored %+v\n  read %+v", *m, got)
		}
	}
	if later.Phase != gateway.PhaseSchedule || bare.Phase != gateway.PhaseWaiting || full.Seq != 1 || bare.Seq != 2 || later.Seq != 3 {
		t.Fatalf("accepted as %s %d, %s %d and %s %d", full.Phase, full.Seq, bare.Phase, bare.Seq, later.Phase, later.Seq)
	}
	if want := now.Truncate(time.Microsecond); !full.CreatedAt.Equal(want) || full.CreatedAt.Location() != time.UTC {
		t.Fatalf("created at %v, want %v in UTC", full.CreatedAt, want)
	}
	got, err := w.MessageByStanza(ctx, w.tenant.Key, "3EB0FULL")
	must(t, err)
	if got.ID != "full" {
		t.Fatalf("found %s by its stanza id", got.ID)
	}
	for _, m := range []*gateway.Message{full, bare, later} {
		events, err := w.Events(ctx, w.tenant.Key, m.ID)
		must(t, err)
		if len(events) != 1 || events[0].Status != m.Status || !events[0].At.Equal(m.CreatedAt) || events[0].TenantKey != w.tenant.Key || events[0].MessageID != m.ID {
			t.Fatalf("history %+v", events)
		}
	}

	// Every field that an attempt may change, changed, and read again.
	changed, err := w.Update(ctx, w.tenant.Key, "full", nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.RecipientJID, m.RecipientLID = "1@s.whatsapp.net", "2@lid"
		m.Status, m.Phase, m.Attempts, m.NextAttemptAt = gateway.StatusSending, gateway.PhaseBackoff, 3, now
		m.Uncertain, m.Deaths, m.InFlight = true, 2, "p1"
		m.Error = &gateway.Failure{Code: gateway.CodeTimeout, Message: "no answer", Retryable: true}
		m.SentAt, m.DeliveredAt, m.ReadAt, m.FailedAt, m.UpdatedAt = now, now.Add(1e9), now.Add(2e9), now.Add(3e9), now.Add(4e9)
		m.DeliveredCount, m.ReadCount = 5, 4
		return nil, nil
	})
	must(t, err)
	if got, err = w.Message(ctx, w.tenant.Key, "full"); err != nil || !reflect.DeepEqual(got, changed) {
		t.Fatalf("stored %+v\n  read %+v, %v", changed, got, err)
	}
	if !got.Uncertain || got.Deaths != 2 || got.ReadCount != 4 || got.DeliveredCount != 5 || got.Error.Code != gateway.CodeTimeout ||
		!got.FailedAt.Equal(now.Add(3e9).Truncate(time.Microsecond)) || got.Text != full.Text {
		t.Fatalf("read %+v", got)
	}
}

func testAcceptMany(t *testing.T, open Opener) {
	const callers, each = 40, 25
	w := newWorld(t, open)
	ctx := t.Context()
	other := w.newTenant("other")
	var wg sync.WaitGroup
	accepted := make([][]*gateway.Message, callers)
	for caller := range callers {
		tenant := w.tenant
		if caller%2 == 1 {
			tenant = other
		}
		wg.Go(func() {
			for i := range each {
				m := newMessage(tenant, gateway.PriorityNormal, (caller+1)*1000+i, w.clock.Now())
				if err := w.Accept(ctx, []*gateway.Message{m}, nil); err != nil {
					t.Error(err)
					return
				}
				accepted[caller] = append(accepted[caller], m)
			}
		})
	}
	wg.Wait()
	for _, tenant := range []gateway.Tenant{w.tenant, other} {
		var seqs []int64
		for _, list := range accepted {
			last := int64(0)
			for _, m := range list {
				if m.TenantKey != tenant.Key {
					continue
				}
				if m.Seq <= last {
					t.Fatalf("a caller's later message has seq %d after %d", m.Seq, last)
				}
				last = m.Seq
				seqs = append(seqs, m.Seq)
			}
		}
		slices.Sort(seqs)
		if len(seqs) != callers/2*each || seqs[0] != 1 || seqs[len(seqs)-1] != int64(len(seqs)) || len(slices.Compact(seqs)) != callers/2*each {
			t.Fatalf("tenant %s has %d seqs from %d to %d", tenant.ID, len(seqs), seqs[0], seqs[len(seqs)-1])
		}
	}
	// A call with several messages stays together and in order.
	batch := []*gateway.Message{w.message(w.tenant, "bulk"), w.message(w.tenant, "bulk"), w.message(w.tenant, "bulk")}
	must(t, w.Accept(ctx, batch, nil))
	if batch[1].Seq != batch[0].Seq+1 || batch[2].Seq != batch[0].Seq+2 {
		t.Fatalf("got seqs %d %d %d", batch[0].Seq, batch[1].Seq, batch[2].Seq)
	}
}

func testBadAcceptFailsAlone(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	taken := w.accept(gateway.PriorityNormal, 1)[0]
	const callers = 60
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		m := newMessage(w.tenant, gateway.PriorityNormal, 1000+i, w.clock.Now())
		var idem *gateway.IdempotencyCompletion
		switch i % 6 {
		case 1:
			m.ID = taken.ID
		case 2:
			m.TenantKey = 4711
		case 3:
			idem = &gateway.IdempotencyCompletion{Answer: func([]*gateway.Message) (gateway.IdempotencyAnswer, error) {
				panic("an answer that panics")
			}}
		}
		wg.Go(func() {
			// A good message before the bad one: it has to go as well.
			companion := newMessage(w.tenant, gateway.PriorityBulk, 5000+i, w.clock.Now())
			if i%6 == 4 { // nothing of it can be stored, all of what others have
				m.TenantKey = w.tenant.Key + 1000 // shares its commits with them
				companion.TenantKey = m.TenantKey
			}
			errs[i] = w.Accept(ctx, []*gateway.Message{companion, m}, idem)
		})
	}
	wg.Wait()
	stored := 0
	for i, err := range errs {
		switch i % 6 {
		case 1:
			wantCode(t, err, gateway.CodeConflict)
		case 2, 4:
			wantCode(t, err, gateway.CodeNotFound)
		case 3:
			if err == nil || !strings.Contains(err.Error(), "panic") {
				t.Errorf("a panic became %v", err)
			}
		default:
			must(t, err)
			stored += 2
		}
	}
	depth, err := w.Depth(ctx, w.tenant.Key)
	must(t, err)
	if depth.Normal != 1+stored/2 || depth.Bulk != stored/2 {
		t.Fatalf("stored %+v, want %d of each", depth, stored/2)
	}
	for _, bad := range []func(*gateway.Message){
		func(m *gateway.Message) { m.ID = "" },
		func(m *gateway.Message) { m.WhatsAppID = "" },
		func(m *gateway.Message) { m.Priority = "urgent" },
		func(m *gateway.Message) { m.Status = gateway.StatusSent },
	} {
		m := w.message(w.tenant, gateway.PriorityNormal)
		bad(m)
		if err := w.Accept(ctx, []*gateway.Message{m}, nil); err == nil {
			t.Errorf("accepted %+v", m)
		}
	}
}

// A caller that gives up gets what became of its messages: an error when none is stored, nil when they are.
func testAcceptCanceled(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	m := w.message(w.tenant, gateway.PriorityNormal)
	if err := w.Accept(gone, []*gateway.Message{m}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if _, err := w.Message(t.Context(), w.tenant.Key, m.ID); gateway.CodeOf(err) != gateway.CodeNotFound {
		t.Fatalf("stored although its caller was told otherwise: %v", err)
	}

	var wg sync.WaitGroup
	for i := range 200 {
		m := newMessage(w.tenant, gateway.PriorityNormal, 1000+i, w.clock.Now())
		giveUp, cancel := context.WithCancel(ctx)
		wg.Go(cancel)
		wg.Go(func() {
			err := w.Accept(giveUp, []*gateway.Message{m}, nil)
			_, found := w.Message(ctx, w.tenant.Key, m.ID)
			if (err == nil) != (found == nil) {
				t.Errorf("the caller was told %v, the database says %v", err, found)
			}
		})
	}
	wg.Wait()

	// Given up in the middle of its own transaction: committed, and told so.
	inTheMiddle, cancelInside := context.WithCancel(ctx)
	request := gateway.Idempotency{TenantKey: w.tenant.Key, Scope: "s", Key: "k", LockUntil: w.clock.Now().Add(time.Minute)}
	if prior, err := w.ReserveIdempotency(t.Context(), request); prior != nil || err != nil {
		t.Fatalf("got %v, %v", prior, err)
	}
	inside := w.message(w.tenant, gateway.PriorityNormal)
	must(t, w.Accept(inTheMiddle, []*gateway.Message{inside}, &gateway.IdempotencyCompletion{
		TenantKey: request.TenantKey, Scope: request.Scope, Key: request.Key,
		Answer: func([]*gateway.Message) (gateway.IdempotencyAnswer, error) {
			cancelInside()
			return gateway.IdempotencyAnswer{Status: 202}, nil
		},
	}))
	if _, err := w.Message(t.Context(), w.tenant.Key, inside.ID); err != nil {
		t.Fatal(err)
	}
}

func testStanzaUnique(t *testing.T, open Opener) {
	w := newWorld(t, open)
	one := w.accept(gateway.PriorityNormal, 1)[0]
	two := w.message(w.tenant, gateway.PriorityNormal)
	two.WhatsAppID = one.WhatsAppID
	wantCode(t, w.Accept(t.Context(), []*gateway.Message{two}, nil), gateway.CodeConflict)
}

func testList(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	var want []string
	var batch []*gateway.Message
	for i := range 450 {
		m := w.message(w.tenant, gateway.PriorityNormal)
		m.To = fmt.Sprint(4915550000000 + i%3)
		if i%10 == 0 {
			m.Reference, m.BulkID = "tenth", "bulk"
			m.Type = gateway.TypeImage
		}
		w.clock.Advance(time.Second)
		batch = append(batch, m)
		want = append(want, m.ID)
	}
	must(t, w.Accept(ctx, batch, nil))
	slices.Reverse(want)
	var got []string
	filter := gateway.MessageFilter{Limit: 100}
	for {
		page, err := w.Messages(ctx, w.tenant.Key, filter)
		must(t, err)
		if len(page) == 0 {
			break
		}
		got = append(got, ids(page)...)
		filter.Before = page[len(page)-1].Seq
		w.accept(gateway.PriorityBulk, 1) // what comes meanwhile does not disturb the walk
	}
	if !slices.Equal(got, want) {
		t.Fatalf("walked %d messages of %d", len(got), len(want))
	}
	_, err := w.Update(ctx, w.tenant.Key, want[1], nil,
		func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.clock.Now()) })
	must(t, err)
	count := func(f gateway.MessageFilter) int {
		t.Helper()
		page, err := w.Messages(ctx, w.tenant.Key, f)
		must(t, err)
		return len(page)
	}
	from, err := w.Message(ctx, w.tenant.Key, want[9])
	must(t, err)
	to, err := w.Message(ctx, w.tenant.Key, want[4])
	must(t, err)
	for _, test := range []struct {
		filter gateway.MessageFilter
		want   int
	}{
		{gateway.MessageFilter{Limit: 7}, 7},
		{gateway.MessageFilter{}, 201},
		{gateway.MessageFilter{Limit: 1000}, 201},
		{gateway.MessageFilter{To: "4915550000002"}, 150},
		{gateway.MessageFilter{Reference: "tenth"}, 45},
		{gateway.MessageFilter{BulkID: "bulk", To: "4915550000000"}, 15},
		{gateway.MessageFilter{Type: gateway.TypeImage, Reference: "none"}, 0},
		{gateway.MessageFilter{Status: gateway.StatusSent}, 0},
		{gateway.MessageFilter{Status: gateway.StatusCanceled}, 1},
		{gateway.MessageFilter{Status: gateway.StatusFailed}, 0},
		{gateway.MessageFilter{Status: gateway.StatusQueued, Type: gateway.TypeImage}, 45},
		{gateway.MessageFilter{From: from.CreatedAt, Until: to.CreatedAt}, 5},
	} {
		if n := count(test.filter); n != test.want {
			t.Errorf("%+v found %d, want %d", test.filter, n, test.want)
		}
	}
	asked := []string{want[3], "unknown", want[0], want[3]}
	list, err := w.MessagesByID(ctx, w.tenant.Key, asked)
	must(t, err)
	if !slices.Equal(ids(list), []string{want[3], want[0]}) {
		t.Fatalf("asked for %v, got %v", asked, ids(list))
	}
	many := append(slices.Repeat([]string{"unknown"}, 1000), want[5])
	statuses, err := w.Statuses(ctx, many)
	must(t, err)
	if len(statuses) != 1 || statuses[want[5]] != gateway.StatusQueued {
		t.Fatalf("statuses %v", statuses)
	}
}

func testDepth(t *testing.T, open Opener) {
	w := newWorld(t, open)
	began := w.clock.Now()
	oldest := w.accept(gateway.PriorityBulk, 3)[0]
	w.clock.Advance(time.Minute)
	second := w.clock.Now()
	w.accept(gateway.PriorityHigh, 1)
	w.accept(gateway.PriorityNormal, 2)
	depth, err := w.Depth(t.Context(), w.tenant.Key)
	must(t, err)
	if depth != (gateway.QueueDepth{High: 1, Normal: 2, Bulk: 3, OldestSince: began}) {
		t.Fatalf("depth %+v", depth)
	}
	for i := range 3 {
		_, err := w.Update(t.Context(), w.tenant.Key, fmt.Sprintf("algo-%d-%06d", w.tenant.Key, i+1), nil,
			func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.clock.Now()) })
		must(t, err)
	}
	depth, err = w.Depth(t.Context(), w.tenant.Key)
	must(t, err)
	if depth != (gateway.QueueDepth{High: 1, Normal: 2, OldestSince: second}) {
		t.Fatalf("depth without %s: %+v", oldest.ID, depth)
	}
}

func testBacklogs(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	backlogs := func() [3]gateway.LaneBacklog {
		t.Helper()
		list, err := w.Backlogs(ctx, 3)
		must(t, err)
		return [3]gateway.LaneBacklog(list)
	}
	empty := [3]gateway.LaneBacklog{{Lane: gateway.PriorityHigh}, {Lane: gateway.PriorityNormal}, {Lane: gateway.PriorityBulk}}
	if got := backlogs(); got != empty {
		t.Fatalf("with nothing: %+v", got)
	}
	began := w.clock.Now()
	held := w.accept(gateway.PriorityNormal, 1)[0]
	w.clock.Advance(time.Minute)
	oldest := w.clock.Now()
	w.accept(gateway.PriorityNormal, 1)
	w.accept(gateway.PriorityBulk, 5) // more than are counted
	other := w.newTenant("other")
	w.clock.Advance(time.Minute)
	late := w.message(other, gateway.PriorityHigh)
	late.Status, late.SendAt, late.ExpiresAt = gateway.StatusScheduled, w.clock.Now().Add(time.Second), w.clock.Now().Add(time.Hour)
	must(t, w.Accept(ctx, []*gateway.Message{late}, nil))
	w.clock.Advance(time.Minute)
	_, err := w.Release(ctx, w.clock.Now(), 10, func(m *gateway.Message) []gateway.Event { return m.Release(w.clock.Now()) })
	must(t, err)
	must(t, w.Accept(ctx, []*gateway.Message{w.message(other, gateway.PriorityNormal)}, nil))
	want := [3]gateway.LaneBacklog{
		{Lane: gateway.PriorityHigh, Waiting: 1, Oldest: late.SendAt},
		{Lane: gateway.PriorityNormal, Waiting: 3, Oldest: began},
		{Lane: gateway.PriorityBulk, Waiting: 3, Oldest: oldest},
	}
	if got := backlogs(); got != want {
		t.Errorf("of two tenants: %+v, want %+v", got, want)
	}
	f := w.lease("worker", time.Minute)
	w.claim(f, held)
	if got := backlogs(); got != want {
		t.Errorf("with one in hand: %+v, want %+v", got, want)
	}
	_, err = w.Update(ctx, w.tenant.Key, held.ID, nil, apply(w.clock.Now(), f.Owner, gateway.Outcome{
		Kind: gateway.OutcomeHold, RetryAt: w.clock.Now().Add(time.Hour), Failure: gateway.Failure{Code: gateway.CodeReachOutLimited},
	}))
	must(t, err)
	want[1].Oldest = oldest // what is held waits for something else
	if got := backlogs(); got != want {
		t.Errorf("with one held: %+v, want %+v", got, want)
	}
}
