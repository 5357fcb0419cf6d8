package storetest

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/wapro/hub/internal/gateway"
)

func testOptOuts(t *testing.T, open Opener) {
	w := newWorld(t, open)
	other := w.newTenant("beta")
	ctx, key := t.Context(), w.tenant.Key
	optOuts := func(recipients ...string) (list []gateway.OptOut) {
		for _, r := range recipients {
			list = append(list, gateway.OptOut{Recipient: r, Source: gateway.OptOutByAPI, CreatedAt: w.clock.Now()})
		}
		return list
	}
	first := optOuts("4915550000003", "4915550000001", "4915550000002")
	n, err := w.AddOptOuts(ctx, key, first)
	must(t, err)
	if n != 3 {
		t.Errorf("%d were new", n)
	}
	if n, err = w.AddOptOuts(ctx, key, optOuts("4915550000001", "123456789@lid")); err != nil || n != 1 {
		t.Errorf("%d were new, %v", n, err)
	}
	page, err := w.OptOuts(ctx, key, "", 3)
	must(t, err)
	if len(page) != 3 || page[0].Recipient != "123456789@lid" || !reflect.DeepEqual(page[1:], []gateway.OptOut{first[1], first[2]}) {
		t.Errorf("first page %+v", page)
	}
	if page, err = w.OptOuts(ctx, key, page[2].Recipient, 3); err != nil || len(page) != 1 || page[0] != first[0] {
		t.Errorf("second page %+v, %v", page, err)
	}
	out, err := w.OptedOut(ctx, key, []string{"4915550000001", "4915550000009", "123456789@lid"})
	if err != nil || !reflect.DeepEqual(out, map[string]bool{"4915550000001": true, "123456789@lid": true}) {
		t.Errorf("opted out: %v, %v", out, err)
	}
	if out, err = w.OptedOut(ctx, other.Key, []string{"4915550000001"}); err != nil || len(out) != 0 {
		t.Errorf("of another tenant: %v, %v", out, err)
	}
	wantCode(t, w.RemoveOptOut(ctx, other.Key, "4915550000001"), gateway.CodeNotFound)
	must(t, w.RemoveOptOut(ctx, key, "4915550000001"))
	wantCode(t, w.RemoveOptOut(ctx, key, "4915550000001"), gateway.CodeNotFound)
	_, err = w.OptOut(ctx, key, "4915550000001")
	wantCode(t, err, gateway.CodeNotFound)
	if o, err := w.OptOut(ctx, key, "4915550000003"); err != nil || o != first[0] {
		t.Errorf("%+v, %v", o, err)
	}

	// A stop word enters both names of a person, also where one was there; who is taken off under either is off.
	stops := func(n int, text, alt string) {
		t.Helper()
		m := w.inbound(n, text)
		m.SenderAlt = alt
		must(t, w.ReceiveInbound(ctx, m))
	}
	const lid, number = "77@lid", "4915550000007"
	both := func() string {
		t.Helper()
		out, err := w.OptedOut(ctx, key, []string{lid, number})
		must(t, err)
		return fmt.Sprint(out)
	}
	const neither, one, all = "map[]", "map[4915550000007:true]", "map[4915550000007:true 77@lid:true]"
	_, err = w.AddOptOuts(ctx, key, optOuts(number))
	must(t, err)
	stops(1, "start", "") // of somebody whose number is not known
	if got := both(); got != one {
		t.Errorf("a stranger's start word: %s", got)
	}
	for i, off := range []string{lid, number} {
		stops(10*i+2, "stop", number+"@s.whatsapp.net")
		stops(10*i+3, "stop", "") // and learns nothing worse
		if got := both(); got != all {
			t.Errorf("a stop word: %s", got)
		}
		must(t, w.RemoveOptOut(ctx, key, off))
		if got := both(); got != neither {
			t.Errorf("%s was taken off: %s", off, got)
		}
	}
	stops(30, "stop", number+"@s.whatsapp.net")
	stops(31, "start", "")
	if got := both(); got != neither {
		t.Errorf("a start word: %s", got)
	}
	_, err = w.AddOptOuts(ctx, key, optOuts(number, lid)) // which nobody said is one
	must(t, err)
	must(t, w.RemoveOptOut(ctx, key, lid))
	if got := both(); got != one {
		t.Errorf("the LID was taken off: %s", got)
	}

	must(t, w.DeleteTenant(ctx, "algo"))
	if page, err = w.OptOuts(ctx, key, "", 10); err != nil || len(page) != 0 {
		t.Errorf("after the tenant is gone: %v, %v", page, err)
	}
	_, err = w.AddOptOuts(ctx, key, first)
	wantCode(t, err, gateway.CodeNotFound)
}
