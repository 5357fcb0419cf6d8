package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func (w *world) ask(id string, kind gateway.QueryKind, question string) error {
	return w.Ask(w.t.Context(), gateway.Query{ID: id, TenantKey: w.tenant.Key, Kind: kind, Question: question})
}

func (w *world) query(id string) gateway.Query {
	w.t.Helper()
	q, err := w.Query(w.t.Context(), w.tenant.Key, id)
	must(w.t, err)
	return q
}

func testQueries(t *testing.T, open Opener) {
	w := newWorld(t, open)
	other := w.newTenant("beta")
	ctx, key := t.Context(), w.tenant.Key
	now := w.clock.Now().UTC()
	w.lease("w1", 24*time.Hour)

	// Each kind reaches the owner of the session once, in the order in which they were asked, and is told apart by its id.
	asked := map[string]gateway.Query{
		"q1": {Kind: gateway.QueryNumbers, Question: `["4915550000001"]`},
		"q2": {Kind: gateway.QueryGroups},
		"q3": {Kind: gateway.QueryMedia, Question: "in-001"},
	}
	for _, id := range []string{"q1", "q2", "q3"} {
		must(t, w.ask(id, asked[id].Kind, asked[id].Question))
	}
	commands, err := w.TakeCommands(ctx, "w1")
	must(t, err)
	var told []string
	for _, c := range commands {
		if c.Kind != gateway.CommandQuery || c.TenantKey != key {
			t.Errorf("command %+v", c)
		}
		told = append(told, c.Query)
	}
	if !slices.Equal(told, []string{"q1", "q2", "q3"}) {
		t.Errorf("the owner is told of %v", told)
	}
	for id, want := range asked {
		want.ID, want.TenantKey, want.CreatedAt = id, key, now
		if got := w.query(id); got != want {
			t.Errorf("stored %+v, want %+v", got, want)
		}
	}
	_, err = w.Query(ctx, other.Key, "q1")
	wantCode(t, err, gateway.CodeNotFound)

	// An answer is the tenant's own, and the first one counts. A refusal is no answer to ask for later.
	answer := func(tenantKey int64, q gateway.Query) {
		t.Helper()
		q.TenantKey = tenantKey
		must(t, w.AnswerQuery(ctx, q))
	}
	last := func(kind gateway.QueryKind, since time.Time) string {
		t.Helper()
		q, err := w.LastQuery(ctx, key, kind, since)
		must(t, err)
		if q == nil {
			return ""
		}
		return q.ID
	}
	answer(other.Key, gateway.Query{ID: "q2", Answer: "stolen"})
	if got := w.query("q2"); !got.Answered.IsZero() || last(gateway.QueryGroups, now.Add(-time.Minute)) != "" {
		t.Errorf("another tenant answered: %+v", got)
	}
	answer(key, gateway.Query{ID: "q2", Answer: `[{"jid":"9@g.us"}]`})
	answer(key, gateway.Query{ID: "q2", Answer: "late"})
	if got := w.query("q2"); got.Answer != `[{"jid":"9@g.us"}]` || !got.Answered.Equal(now) || got.Code != "" {
		t.Errorf("the answer is %+v", got)
	}
	answer(key, gateway.Query{ID: "q3", Code: gateway.CodeMediaExpired, Detail: "It is gone."})
	if got := w.query("q3"); got.Code != gateway.CodeMediaExpired || got.Detail != "It is gone." || got.Answered.IsZero() {
		t.Errorf("the refusal is %+v", got)
	}
	for kind, want := range map[gateway.QueryKind]string{gateway.QueryNumbers: "", gateway.QueryGroups: "q2", gateway.QueryMedia: ""} {
		if got := last(kind, now.Add(-time.Minute)); got != want {
			t.Errorf("the last answer about %s is %q, want %q", kind, got, want)
		}
	}
	w.clock.Advance(gateway.GroupsAge)
	must(t, w.ask("q4", gateway.QueryGroups, ""))
	answer(key, gateway.Query{ID: "q4", Answer: "[]"})
	if got := last(gateway.QueryGroups, now); got != "q4" {
		t.Errorf("the last answer is %q", got)
	}
	if got := last(gateway.QueryGroups, w.clock.Now()); got != "" {
		t.Errorf("%q was answered after now", got)
	}
}

func testQueryBounds(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	w.lease("w1", 24*time.Hour)
	for i := range gateway.MaxOpenQueries {
		must(t, w.ask(fmt.Sprintf("q%02d", i), gateway.QueryMedia, "x"))
	}
	wantCode(t, w.ask("more", gateway.QueryMedia, "x"), gateway.CodeRateLimited)
	must(t, w.ask("other", gateway.QueryGroups, "")) // another kind has room of its own
	must(t, w.AnswerQuery(ctx, gateway.Query{ID: "q00", TenantKey: w.tenant.Key, Answer: "done"}))
	must(t, w.ask("next", gateway.QueryMedia, "x"))
	wantCode(t, w.ask("more", gateway.QueryMedia, "x"), gateway.CodeRateLimited)
	w.clock.Advance(gateway.MediaPatience + time.Second) // nobody waits for those any more
	must(t, w.ask("more", gateway.QueryMedia, "x"))

	// What was asked long ago is gone with the next question, answered or not.
	w.clock.Advance(gateway.QueriesKept)
	must(t, w.ask("last", gateway.QueryNumbers, "[]"))
	for _, id := range []string{"q00", "q19"} {
		_, err := w.Query(ctx, w.tenant.Key, id)
		wantCode(t, err, gateway.CodeNotFound)
	}
	w.query("more") // an hour old, and not older
	w.query("last")

	must(t, w.DeleteTenant(ctx, w.tenant.ID))
	_, err := w.Query(ctx, w.tenant.Key, "last")
	wantCode(t, err, gateway.CodeNotFound)
	wantCode(t, w.ask("late", gateway.QueryGroups, ""), gateway.CodeNotFound)
}

func testNumberChecks(t *testing.T, open Opener) {
	w := newWorld(t, open)
	other := w.newTenant("beta")
	ctx, key := t.Context(), w.tenant.Key
	start := w.clock.Now().UTC()
	keep := func(tenantKey int64, checks ...gateway.NumberCheck) {
		t.Helper()
		must(t, w.KeepNumberChecks(ctx, tenantKey, checks))
	}
	known := func(since time.Time, numbers ...string) (found map[string]gateway.NumberCheck, lastHour int) {
		t.Helper()
		found, lastHour, err := w.NumberChecks(ctx, key, numbers, since)
		must(t, err)
		return found, lastHour
	}
	there := gateway.NumberCheck{Number: "4915550000001", OnWhatsApp: true, JID: "4915550000001@s.whatsapp.net", CheckedAt: start}
	absent := gateway.NumberCheck{Number: "12025550101", CheckedAt: start}
	keep(key, there, absent)
	keep(other.Key, gateway.NumberCheck{Number: "12025550101", OnWhatsApp: true, JID: "1@s.whatsapp.net", CheckedAt: start})
	if got, n := known(start.Add(-time.Second), "4915550000001", "12025550101", "12025550199"); len(got) != 2 || got[there.Number] != there || got[absent.Number] != absent || n != 2 {
		t.Errorf("known are %+v, %d of the last hour", got, n)
	}
	if got, n := known(start, "4915550000001"); len(got) != 0 || n != 2 {
		t.Errorf("known since then are %+v, %d of the last hour", got, n)
	}

	// A newer answer replaces the older one, and does not count twice.
	w.clock.Advance(2 * time.Hour)
	absent.CheckedAt = w.clock.Now().UTC()
	absent.OnWhatsApp, absent.JID = true, "12025550101@s.whatsapp.net"
	keep(key, absent)
	if got, n := known(start.Add(-time.Second), "12025550101", "4915550000001"); got[absent.Number] != absent || got[there.Number] != there || n != 1 {
		t.Errorf("known are %+v, %d of the last hour", got, n)
	}
	// What is too old to be believed goes with the next one that is kept.
	w.clock.Advance(gateway.NumberCheckAge - time.Hour)
	keep(key, gateway.NumberCheck{Number: "12025550102", CheckedAt: w.clock.Now().UTC()})
	if got, n := known(time.Time{}, "12025550101", "4915550000001", "12025550102"); len(got) != 2 || got[there.Number] != (gateway.NumberCheck{}) || n != 1 {
		t.Errorf("known are %+v, %d of the last hour", got, n)
	}
	// More than one statement's worth of numbers.
	var many []string
	for i := range 2500 {
		many = append(many, fmt.Sprintf("1202555%04d", i))
	}
	if got, _ := known(start, many...); len(got) != 2 {
		t.Errorf("of many %d are known", len(got))
	}

	must(t, w.DeleteTenant(ctx, w.tenant.ID))
	keep(key, there) // nothing is kept of a tenant that is gone
	if got, n := known(time.Time{}, there.Number, absent.Number); len(got) != 0 || n != 0 {
		t.Errorf("after the tenant is gone: %+v, %d", got, n)
	}
}
