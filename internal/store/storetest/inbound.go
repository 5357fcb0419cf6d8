package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func (w *world) inbound(n int, text string) *gateway.Inbound {
	now := w.clock.Now().UTC().Truncate(time.Microsecond)
	return &gateway.Inbound{
		ID: fmt.Sprintf("in-%03d", n), TenantKey: w.tenant.Key, TenantID: w.tenant.ID, StanzaID: fmt.Sprintf("3A%03d", n), Chat: "77@lid", Sender: "77@lid",
		SenderAlt: "4915550000007@s.whatsapp.net", PushName: "Bob \x00", Type: gateway.TypeText, Text: text, At: now, ReceivedAt: now,
	}
}

func testInbound(t *testing.T, open Opener) {
	w := newWorld(t, open)
	other := w.newTenant("beta")
	ctx, key := t.Context(), w.tenant.Key
	_, err := w.Listen(ctx, key)
	must(t, err)
	sent := w.message(w.tenant, gateway.PriorityNormal)
	must(t, w.Accept(ctx, []*gateway.Message{sent}, nil))

	full := w.inbound(1, "with 'quotes', 日本 and \x00 a zero")
	full.Media = &gateway.InboundMedia{
		MimeType: "image/png", Filename: "a", Size: 1 << 40, SHA256: strings.Repeat("ab", 32), Voice: true, Seconds: 7,
		DirectPath: "/v", EncSHA256: []byte{1}, Key: []byte{0, 255},
	}
	full.Type, full.Location, full.Mentions = gateway.TypeImage, &gateway.Location{Latitude: 1}, []string{"1@lid"}
	full.Contacts = []gateway.InboundContact{{Name: "A", VCard: "BEGIN:VCARD"}}
	full.RefersTo = sent.WhatsAppID
	must(t, w.ReceiveInbound(ctx, full))
	got, err := w.Inbound(ctx, key, full.ID)
	must(t, err)
	if !reflect.DeepEqual(got, *full) || got.RefersToID != sent.ID {
		t.Errorf("stored %+v\n  read %+v", *full, got)
	}
	_, err = w.Inbound(ctx, other.Key, full.ID)
	wantCode(t, err, gateway.CodeNotFound)

	// The same again is the same; of another chat or sender it is another.
	again := w.inbound(2, "again")
	again.StanzaID = full.StanzaID
	must(t, w.ReceiveInbound(ctx, again))
	answer := w.inbound(3, "an answer")
	answer.RefersTo = full.StanzaID
	must(t, w.ReceiveInbound(ctx, answer))
	inGroup := w.inbound(4, "in a group")
	inGroup.StanzaID, inGroup.Chat = full.StanzaID, "9@g.us"
	must(t, w.ReceiveInbound(ctx, inGroup))
	ids := func(f gateway.InboundFilter) (list []string) {
		t.Helper()
		found, err := w.Inbounds(ctx, key, f)
		must(t, err)
		for _, m := range found {
			list = append(list, m.ID)
		}
		return list
	}
	for i, c := range []struct {
		filter gateway.InboundFilter
		want   []string
	}{
		{gateway.InboundFilter{}, []string{"in-004", "in-003", "in-001"}},
		{gateway.InboundFilter{Limit: 1, Before: "in-004"}, []string{"in-003"}},
		{gateway.InboundFilter{From: "4915550000007", Type: gateway.TypeImage}, []string{"in-001"}},
		{gateway.InboundFilter{From: "77@lid", Chat: "9@g.us"}, []string{"in-004"}},
		{gateway.InboundFilter{From: "4915550000008"}, nil},
		{gateway.InboundFilter{Since: full.ReceivedAt, Till: full.ReceivedAt}, nil},
		{gateway.InboundFilter{Since: full.ReceivedAt, Till: full.ReceivedAt.Add(time.Hour)}, []string{"in-004", "in-003", "in-001"}},
	} {
		if list := ids(c.filter); !slices.Equal(list, c.want) {
			t.Errorf("filter %d: %v, want %v", i, list, c.want)
		}
	}
	if answer.RefersToID != full.ID {
		t.Errorf("the answer refers to %q", answer.RefersToID)
	}
	if known, err := w.KnownContact(ctx, key, "4915550000007", "4915550000007@s.whatsapp.net"); err != nil || !known {
		t.Errorf("who wrote is known: %t, %v", known, err)
	}

	// One event for each, with what the API shows and no secret of the file.
	for more := true; more; {
		more, err = w.SettleEvents(ctx, key)
		must(t, err)
	}
	events, err := w.Notices(ctx, key, 0, []string{"message.received"}, 10)
	must(t, err)
	if len(events) != 3 || !strings.Contains(string(events[0].Data), `"id":"in-001"`) || strings.Contains(string(events[0].Data), "path") {
		t.Errorf("events %+v", events)
	}

	// That its file was fetched is known of the message alone, and by its tenant alone.
	must(t, w.KeepInboundFetched(ctx, other.Key, full.ID))
	if got, err := w.Inbound(ctx, key, full.ID); err != nil || !got.FetchedAt.IsZero() {
		t.Errorf("another tenant noted that the file was fetched: %v, %v", got.FetchedAt, err)
	}
	w.clock.Advance(time.Minute)
	must(t, w.KeepInboundFetched(ctx, key, full.ID))
	if got, err := w.Inbound(ctx, key, full.ID); err != nil || !got.FetchedAt.Equal(full.ReceivedAt.Add(time.Minute)) {
		t.Errorf("the file was fetched at %v, %v", got.FetchedAt, err)
	}
	if got, err := w.Inbound(ctx, key, inGroup.ID); err != nil || !got.FetchedAt.IsZero() {
		t.Errorf("another message's file was fetched: %v, %v", got.FetchedAt, err)
	}

	must(t, w.DeleteTenant(ctx, "algo"))
	if list := ids(gateway.InboundFilter{}); len(list) > 0 {
		t.Errorf("after the tenant is gone: %v", list)
	}
	must(t, w.ReceiveInbound(ctx, w.inbound(5, "too late")))
	if list := ids(gateway.InboundFilter{}); len(list) > 0 {
		t.Errorf("a tenant that is gone got %v", list)
	}
}

func testWords(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx, key := t.Context(), w.tenant.Key
	n := 0
	write := func(text, chat string) (gateway.OptOutChange, bool) {
		t.Helper()
		n++
		m := w.inbound(n, text)
		if chat != "" {
			m.Chat = chat
		}
		must(t, w.ReceiveInbound(ctx, m))
		out, err := w.OptedOut(ctx, key, []string{"4915550000007"})
		must(t, err)
		return m.OptOut, out["4915550000007"]
	}
	for _, c := range []struct {
		text, chat string
		change     gateway.OptOutChange
		out        bool
	}{
		{"please stop", "", gateway.OptOutNone, false},
		{"STOP", "9@g.us", gateway.OptOutNone, false},
		{"  Stop! ", "", gateway.OptOutAdded, true},
		{"stop", "", gateway.OptOutAdded, true},
		{"start again", "", gateway.OptOutNone, true},
		{"Start", "", gateway.OptOutEnded, false},
		{"opt  OUT", "", gateway.OptOutAdded, true},
		{"unstop", "", gateway.OptOutEnded, false},
	} {
		if change, out := write(c.text, c.chat); change != c.change || out != c.out {
			t.Errorf("%q in %q: %q, %t", c.text, c.chat, change, out)
		}
	}
	_, err := w.UpdateSettings(ctx, key, func(s *gateway.Settings) { s.Words = &gateway.Words{Stop: []string{"Genug"}, Start: []string{}} })
	must(t, err)
	tenant, err := w.Tenant(ctx, "algo")
	must(t, err)
	if !slices.Equal(tenant.Settings.Words.StopWords(), []string{"Genug"}) || len(tenant.Settings.Words.StartWords()) > 0 {
		t.Errorf("the words are %+v", tenant.Settings.Words)
	}
	for text, want := range map[string]gateway.OptOutChange{"STOP": gateway.OptOutNone, "genug": gateway.OptOutAdded, "START": gateway.OptOutNone} {
		if change, _ := write(text, ""); change != want {
			t.Errorf("%q with own words: %q", text, change)
		}
	}
	o, err := w.OptOut(ctx, key, "4915550000007")
	if err != nil || o.Source != gateway.OptOutByWord {
		t.Errorf("%+v, %v", o, err)
	}
}
