package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// accepted is a message of tenant 0, offered and accepted in the first second.
func accepted() *message {
	return &message{to: "919876543210", text: "one", id: "m", stanza: "S1", offered: at(0), accepted: at(1), requests: 1}
}

// history has an event each second, the first with the acceptance.
func history(statuses ...gateway.Status) []event {
	var h []event
	for i, s := range statuses {
		h = append(h, event{Status: s, At: at(1 + i)})
	}
	return h
}

func show(id string) entry {
	return entry{phone: "919876543210", ID: id, From: tenantNumber(0), Text: "one", At: at(2), Decrypted: []time.Time{at(2)}}
}

// TestJudgeFindsEveryOffence makes sure that a run can fail: each way in which a hub can break a promise is seen, and nothing else.
func TestJudgeFindsEveryOffence(t *testing.T) {
	t.Parallel()
	sent := history("queued", "sending", "sent")
	again := show("S1")
	again.Decrypted = append(again.Decrypted, at(9))
	stranger, forged, late, withFile := show("S1"), show("S1"), show("S1"), show("S1")
	withFile.SHA256 = "f00d"
	stranger.phone, forged.From, late.At = "919876543211", tenantNumber(1), at(8)
	for name, test := range map[string]struct {
		status  gateway.Status
		history []event
		shows   []entry
		want    string // offences in order
		untrue  string // part of what is said
	}{
		"as it should be":          {"sent", sent, []entry{show("S1")}, "", ""},
		"read":                     {"read", append(slices.Clone(sent), history("", "", "", "delivered", "read")[3:]...), []entry{show("S1")}, "", ""},
		"decrypted again":          {"sent", sent, []entry{again}, "", ""},
		"never sent":               {"queued", history("queued"), nil, "waiting", ""},
		"being sent at the end":    {"sending", history("queued", "sending", "sent"), nil, "waiting", ""},
		"sent, yet not known":      {"sending", history("queued", "sending"), []entry{show("S1")}, "waiting", ""},
		"not known any more":       {"", nil, nil, "lost untrue", "has no history"},
		"sent to nobody":           {"sent", sent, nil, "lost untrue", "no phone shows it"},
		"delivered to nobody":      {"delivered", history("queued", "sending", "delivered"), nil, "lost untrue", "no phone shows it"},
		"failed for no reason":     {"failed", history("queued", "sending", "failed"), nil, "failed", ""},
		"failed yet shown":         {"failed", history("queued", "sending", "failed"), []entry{show("S1")}, "failed untrue", "a phone shows it"},
		"expired yet shown":        {"expired", history("queued", "expired"), []entry{show("S1")}, "untrue", "a phone shows it"},
		"unknown, and not shown":   {"unknown", history("queued", "sending", "unknown"), nil, "", ""},
		"unknown, and shown":       {"unknown", history("queued", "sending", "unknown"), []entry{show("S1")}, "", ""},
		"two ids":                  {"sent", sent, []entry{show("S1"), show("S2")}, "two ids", ""},
		"another id than accepted": {"sent", sent, []entry{show("S2")}, "two ids", ""},
		"shown twice":              {"sent", sent, []entry{show("S1"), show("S1")}, "twice", ""},
		"to somebody else":         {"sent", sent, []entry{stranger}, "untrue", "to 919876543211"},
		"from another tenant":      {"sent", sent, []entry{forged}, "untrue", "from " + tenantNumber(1)},
		"another file":             {"sent", sent, []entry{withFile}, "untrue", `with the file "f00d"`},
		"sent before it was":       {"sent", sent, []entry{late}, "untrue", "before a phone had it"},
		"another history":          {"read", sent, []entry{show("S1")}, "untrue", "history ends with sent"},
		"sent again":               {"sent", history("queued", "sending", "sent", "sending", "sent"), []entry{show("S1")}, "backwards", ""},
		"failed, then sent":        {"sent", history("queued", "sending", "failed", "sent"), []entry{show("S1")}, "backwards", ""},
		"failed, then delivered":   {"delivered", history("queued", "sending", "failed", "delivered"), []entry{show("S1")}, "", ""},
	} {
		v := judge(accepted(), test.status, test.history, test.shows)
		var got []string
		for _, o := range []struct {
			name string
			is   bool
		}{
			{"waiting", v.waiting},
			{"failed", v.failed},
			{"lost", v.lost},
			{"twice", v.twice},
			{"two ids", v.twoIDs},
			{"untrue", v.untrue != ""},
			{"backwards", v.backwards != ""},
		} {
			if o.is {
				got = append(got, o.name)
			}
		}
		if s := strings.Join(got, " "); s != test.want || !strings.Contains(v.untrue, test.untrue) || v.offends() != (test.want != "") {
			t.Errorf("%s: judged as %q, %q, %q; want %q with %q", name, s, v.untrue, v.backwards, test.want, test.untrue)
		}
		if nobody := accepted(); name == "failed for no reason" {
			nobody.to = numberThat(wasim.NotOnWhatsApp)
			if judge(nobody, test.status, test.history, nil).offends() {
				t.Error("what cannot but fail is held against the hub")
			}
		}
		if v.again != (name == "decrypted again") {
			t.Errorf("%s: decrypted again is %t", name, v.again)
		}
	}
}

func settings(seed uint64) options {
	return options{seed: seed, shape: "both", messages: 100, faults: 200, tenants: 5, workers: 3, lease: time.Second, pace: time.Second}
}

func TestPlanFollowsFromTheSeedAlone(t *testing.T) {
	t.Parallel()
	describe := func(faults []*fault) string {
		var b strings.Builder
		for _, f := range faults {
			b.WriteString(f.at.String() + f.String() + f.lasts.String() + " " + string(rune('0'+f.node)) + "\n")
		}
		return b.String()
	}
	for _, s := range []shape{onPostgres, embedded} {
		first := describe(plan(settings(1), s))
		if first != describe(plan(settings(1), s)) {
			t.Errorf("%s: the same seed gives another plan", s)
		}
		if first == describe(plan(settings(2), s)) {
			t.Errorf("%s: another seed gives the same plan", s)
		}
	}
}

func TestPlanHasAsManyFaultsOfEachKindAsAskedFor(t *testing.T) {
	t.Parallel()
	o := settings(3)
	o.each = 100
	for _, s := range []shape{onPostgres, embedded} {
		times := map[string]int{}
		faults := plan(o, s)
		for i, f := range faults {
			times[f.kind.name]++
			if i > 0 && f.at < faults[i-1].at {
				t.Fatalf("%s: fault %d comes before the one ahead of it", s, i)
			}
		}
		for _, k := range kinds() {
			want := 0
			if slices.Contains(k.shapes, s) {
				want = 100
			}
			if times[k.name] != want {
				t.Errorf("%s: %s %d times, want %d", s, k.name, times[k.name], want)
			}
		}
	}
	o.each, o.faults = 0, 7
	if n := len(plan(o, embedded)); n != 7 {
		t.Errorf("%d faults, want 7", n)
	}
}
