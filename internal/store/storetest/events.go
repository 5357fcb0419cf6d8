package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// settle gives all events of a tenant their place and returns them.
func (w *world) settle(key int64) []gateway.Notice {
	w.t.Helper()
	for more := true; more; {
		var err error
		more, err = w.SettleEvents(w.t.Context(), key)
		must(w.t, err)
	}
	list, err := w.Notices(w.t.Context(), key, 0, nil, 500)
	must(w.t, err)
	return list
}

func (w *world) listen(key int64) {
	w.t.Helper()
	_, err := w.Listen(w.t.Context(), key)
	must(w.t, err)
}

// fail takes one message through an attempt that fails for good.
func (w *world) fail(f gateway.Fence, m *gateway.Message, code gateway.Code) {
	w.t.Helper()
	if w.claim(f, m) == nil {
		w.t.Fatalf("%s was not to be had", m.ID)
	}
	_, err := w.Update(w.t.Context(), m.TenantKey, m.ID, nil, apply(w.clock.Now(), f.Owner,
		gateway.Outcome{Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: code, Message: "It failed."}}))
	must(w.t, err)
}

func kinds(list []gateway.Notice) (out []string) {
	for _, n := range list {
		out = append(out, string(n.Kind))
	}
	return out
}

func testEvents(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	other := w.newTenant("beta")
	f := w.lease("w1", time.Hour)
	before := w.accept(gateway.PriorityNormal, 1)[0]
	w.fail(f, before, gateway.CodeNotOnWhatsApp)
	if list := w.settle(key); len(list) != 0 {
		t.Fatalf("nobody listens, and is told %v", kinds(list))
	}

	w.listen(key)
	w.listen(key) // once more changes nothing
	m := w.message(w.tenant, gateway.PriorityNormal)
	m.Reference = "order-7"
	must(t, w.Accept(ctx, []*gateway.Message{m}, nil))
	if list, err := w.UnsettledTenants(ctx); err != nil || len(list) != 0 {
		t.Errorf("to accept is no event: %v, %v", list, err)
	}
	w.fail(f, m, gateway.CodeNotOnWhatsApp)
	_, err := w.UpdateSession(ctx, f, func(s *gateway.Session) {
		s.State, s.Reason, s.JID = gateway.SessionOnline, gateway.ReasonConnected, "15550001111:3@s.whatsapp.net"
	})
	must(t, err)
	_, err = w.UpdateSession(ctx, f, func(s *gateway.Session) { s.LID = "7@lid" }) // the state stays
	must(t, err)
	if list, err := w.UnsettledTenants(ctx); err != nil || !slices.Equal(list, []int64{key}) {
		t.Errorf("events wait of %v, %v", list, err)
	}
	list := w.settle(key)
	if got := kinds(list); !slices.Equal(got, []string{"message.sending", "message.failed", "session.online"}) {
		t.Fatalf("told of %v", got)
	}
	var data map[string]any
	must(t, json.Unmarshal(list[1].Data, &data))
	if data["messageId"] != m.ID || data["reference"] != "order-7" || data["status"] != "failed" || fmt.Sprint(data["error"]) != "map[code:not_on_whatsapp]" {
		t.Errorf("the failure is told as %s", list[1].Data)
	}
	data = nil
	must(t, json.Unmarshal(list[2].Data, &data))
	if data["state"] != "online" || data["number"] != "15550001111" {
		t.Errorf("the session is told as %s", list[2].Data)
	}
	again := w.settle(key)
	for i, n := range again {
		if pos, err := gateway.NoticePos(n.ID); err != nil || i > 0 && pos <= list[i-1].Pos || n.Pos != pos || n.TenantID != "algo" || n.ID != list[i].ID {
			t.Errorf("event %d is %+v, %v", i, n, err)
		}
	}
	if list, err := w.UnsettledTenants(ctx); err != nil || len(list) != 0 {
		t.Errorf("still waiting: %v, %v", list, err)
	}
	if list := w.settle(other.Key); len(list) != 0 {
		t.Errorf("another tenant is told %v", kinds(list))
	}

	must(t, w.DeleteTenant(ctx, "algo"))
	if list, err := w.Notices(ctx, key, 0, nil, 10); err != nil || len(list) != 0 {
		t.Errorf("after the tenant is gone: %v, %v", kinds(list), err)
	}
	_, err = w.Listen(ctx, key)
	wantCode(t, err, gateway.CodeNotFound)
}

func testEventOrder(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	w.listen(key)
	f := w.lease("w1", time.Hour)
	const messages = 300 // two events each: more than one batch
	for _, m := range w.accept(gateway.PriorityNormal, messages) {
		w.fail(f, m, gateway.CodeTimeout)
	}
	more, err := w.SettleEvents(ctx, key)
	must(t, err)
	if !more {
		t.Error("all were settled at once")
	}
	w.settle(key)
	state := map[string]string{}
	count, after := 0, int64(0)
	for {
		page, err := w.Notices(ctx, key, after, []string{"message.*"}, 64)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, n := range page {
			if n.Pos <= after {
				t.Fatalf("event %d follows %d", n.Pos, after)
			}
			after = n.Pos
			count++
			if was := state[n.Subject]; n.Kind == "message.failed" && was != "message.sending" {
				t.Errorf("%s failed after %q", n.Subject, was)
			}
			state[n.Subject] = string(n.Kind)
		}
	}
	if count != 2*messages {
		t.Errorf("%d events", count)
	}
	for filter, want := range map[string]int{"message.failed": messages, "session.*": 0, "message.failed session.*": messages, "*": 500, "message.sent": 0} {
		if page, err := w.Notices(ctx, key, 0, strings.Fields(filter), 1000); err != nil || len(page) != want {
			t.Errorf("%s finds %d, %v", filter, len(page), err)
		}
	}
}

// testPlaces: a place is the time at which it is given, so that no database that is restored gives one again; what was removed is told from what never was
// there.
func testPlaces(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	from := func() int64 {
		t.Helper()
		pos, err := w.NoticesFrom(ctx, key)
		must(t, err)
		return pos
	}
	if got := from(); got != 0 {
		t.Errorf("without a stream all is kept behind %d", got)
	}
	begun, err := w.Listen(ctx, key)
	must(t, err)
	if got := from(); got != begun {
		t.Errorf("all is kept behind %d, it begins at %d", got, begun)
	}
	f := w.lease("w1", time.Hour)
	var rounds [3][]gateway.Notice
	last := begun
	for i := range rounds {
		w.fail(f, w.accept(gateway.PriorityNormal, 1)[0], gateway.CodeTimeout)
		before := time.Now().Add(-time.Millisecond).UnixMicro() // SQLite's clock ticks in milliseconds
		w.settle(key)
		rounds[i], err = w.Notices(ctx, key, last, nil, 10)
		must(t, err)
		if list := rounds[i]; len(list) != 2 || list[0].Pos <= before || list[1].Pos != list[0].Pos+1 || list[1].Pos > before+time.Hour.Microseconds() {
			t.Fatalf("at %d the places are given to %+v", before, list)
		}
		last = rounds[i][1].Pos
		w.clock.Advance(time.Second)
	}
	if next, err := w.Listen(ctx, key); err != nil || next != last {
		t.Errorf("the last place is %d, want %d, %v", next, last, err)
	}
	for _, c := range []struct {
		before time.Time
		want   int64
	}{{rounds[1][0].At, rounds[0][1].Pos}, {w.clock.Now(), last}} {
		for removed := 1; removed > 0; {
			removed, err = w.ForgetEventsOf(ctx, key, c.before, 1)
			must(t, err)
		}
		if got := from(); got != c.want {
			t.Errorf("all is kept behind %d, want %d", got, c.want)
		}
	}
}

func testRestrictionEvents(t *testing.T, open Opener) {
	w := newWorld(t, open)
	key := w.tenant.Key
	w.listen(key)
	f := w.lease("w1", time.Hour)
	until := w.clock.Now().UTC().Add(time.Hour)
	var after int64
	update := func(want []string, apply func(*gateway.Session)) (last map[string]any) {
		t.Helper()
		_, err := w.UpdateSession(t.Context(), f, apply)
		must(t, err)
		w.settle(key)
		list, err := w.Notices(t.Context(), key, after, nil, 100)
		must(t, err)
		if got := kinds(list); !slices.Equal(got, want) {
			t.Fatalf("told of %v, want %v", got, want)
		}
		if len(list) > 0 {
			n := list[len(list)-1]
			after = n.Pos
			must(t, json.Unmarshal(n.Data, &last))
			if n.Subject != "session" || !n.At.Equal(w.clock.Now()) && strings.HasSuffix(string(n.Kind), "restricted") {
				t.Errorf("the event is %+v", n)
			}
		}
		return last
	}
	wants := func(data map[string]any, state string, restriction map[string]any) {
		t.Helper()
		if data["state"] != state || data["number"] != "15550001111" || data["hint"] == "" {
			t.Errorf("told as %v", data)
		}
		told, _ := data["restriction"].(map[string]any)
		hint, _ := told["hint"].(string)
		if restriction != nil {
			if !strings.Contains(hint, "wait") {
				t.Errorf("the hint is %q", hint)
			}
			restriction["hint"] = hint
		}
		if fmt.Sprint(told) != fmt.Sprint(restriction) {
			t.Errorf("the restriction is told as %v, want %v", told, restriction)
		}
	}
	update([]string{"session.online"}, func(s *gateway.Session) {
		s.State, s.Reason, s.JID = gateway.SessionOnline, gateway.ReasonConnected, "15550001111:3@s.whatsapp.net"
	})
	first := gateway.Restriction{Kind: gateway.RestrictionFirstContacts, Until: until, Count: 1, Code: gateway.CodeReachOutLimited, Suspect: "7@lid"}
	data := update([]string{"session.restricted"}, func(s *gateway.Session) { s.Restriction = first })
	wants(data, "online", map[string]any{"kind": "first_contacts", "code": "reachout_restricted", "until": until.Format(time.RFC3339Nano)})
	update(nil, func(s *gateway.Session) { s.Restriction.Count, s.Restriction.Suspect = 2, "" }) // what nobody is shown
	data = update([]string{"session.restricted"}, func(s *gateway.Session) { s.Restriction.Until = until.Add(time.Hour) })
	wants(data, "online", map[string]any{"kind": "first_contacts", "code": "reachout_restricted", "until": until.Add(time.Hour).Format(time.RFC3339Nano)})
	data = update([]string{"session.unrestricted"}, func(s *gateway.Session) { s.Restriction = gateway.Restriction{} })
	wants(data, "online", nil)
	update(nil, func(s *gateway.Session) { s.Restriction.Count = 1 })

	// A ban is a state too; its event comes first, and the end of the ban behind that of the connection.
	data = update([]string{"session.banned", "session.restricted"}, func(s *gateway.Session) {
		s.State, s.Reason = gateway.SessionBanned, gateway.ReasonTemporaryBan
		s.Restriction = gateway.Restriction{Kind: gateway.RestrictionBan, Until: until}
	})
	wants(data, "banned", map[string]any{"kind": "banned", "code": nil, "until": until.Format(time.RFC3339Nano)})
	data = update([]string{"session.online", "session.unrestricted"}, func(s *gateway.Session) {
		s.State, s.Reason, s.Restriction = gateway.SessionOnline, gateway.ReasonConnected, gateway.Restriction{}
	})
	wants(data, "online", nil)
}

func testBulkEvents(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	w.listen(key)
	f := w.lease("worker", time.Hour)
	cancel := func(m *gateway.Message) ([]gateway.Event, error) { return m.Cancel(w.clock.Now()) }

	// One bulk finishes, the next is canceled, both among events of messages, before anybody is told.
	done, over := w.bulk(3), w.bulk(5)
	for i, outcome := range []gateway.Outcome{
		{Kind: gateway.OutcomeSent}, {Kind: gateway.OutcomePermanent, Failure: gateway.Failure{Code: gateway.CodeNotOnWhatsApp}}, {Kind: gateway.OutcomeSent},
	} {
		tickets, _ := w.releaseBulk(done, 1, 10)
		m := w.claimTicket(f, tickets[0])
		if m == nil {
			t.Fatalf("message %d was not to be had", i)
		}
		w.record(m, outcome)
	}
	if settled, err := w.SettleBulk(ctx, key, done.ID); err != nil || !settled {
		t.Fatalf("settled %t, %v", settled, err)
	}
	w.change(over, (*gateway.Bulk).Cancel)
	_, err := w.CancelQueued(ctx, key, over.ID, 500, cancel)
	must(t, err)

	var bulks []gateway.Notice
	list := w.settle(key)
	for i, n := range list {
		if i > 0 && n.Pos <= list[i-1].Pos {
			t.Errorf("event %d follows %d", n.Pos, list[i-1].Pos)
		}
		if strings.HasPrefix(string(n.Kind), "bulk.") && n.Kind != "bulk.running" {
			bulks = append(bulks, n)
		}
	}
	if got := kinds(bulks); !slices.Equal(got, []string{"bulk.finished", "bulk.canceled"}) || len(list) < 2*3+5+2 {
		t.Fatalf("told of %v among %d", got, len(list))
	}
	for i, b := range []gateway.Bulk{done, over} {
		var data struct {
			BulkID string
			Total  int
			Counts map[gateway.Status]int
		}
		must(t, json.Unmarshal(bulks[i].Data, &data))
		if data.BulkID != b.ID || data.Total != b.Total || len(data.Counts) != len(gateway.Statuses()) {
			t.Errorf("told as %s", bulks[i].Data)
		}
		stored := w.counts(b)
		for _, s := range gateway.Statuses() {
			if data.Counts[s] != stored[s] {
				t.Errorf("%s has %d %s, the database %d", bulks[i].Kind, data.Counts[s], s, stored[s])
			}
		}
	}
}
