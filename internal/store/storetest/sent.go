package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// keep stores what a message went out as, in a transaction that is committed or not.
func (w *world) keep(tenant gateway.Tenant, stanzaID, content string, commit bool) {
	w.t.Helper()
	tx, err := w.Writer().BeginTx(w.t.Context(), nil)
	must(w.t, err)
	defer tx.Rollback()
	must(w.t, w.KeepSentIn(w.t.Context(), tx, tenant.Key, stanzaID, []byte(content)))
	if commit {
		must(w.t, tx.Commit())
	}
}

func (w *world) wantContent(tenant gateway.Tenant, stanzaID, want string) {
	w.t.Helper()
	got, err := w.SentContent(w.t.Context(), tenant.Key, stanzaID)
	must(w.t, err)
	if string(got) != want {
		w.t.Fatalf("%s of %s is kept as %q, want %q", stanzaID, tenant.ID, got, want)
	}
}

func testSentContents(t *testing.T, open Opener) {
	w := newWorld(t, open)
	ctx := t.Context()
	other := w.newTenant("other")
	begun := w.clock.Now()
	w.keep(w.tenant, "undone", "x", false)
	w.wantContent(w.tenant, "undone", "")
	for i := range 7 {
		w.keep(w.tenant, fmt.Sprint("stanza", i), fmt.Sprint("first attempt ", i), true)
		w.clock.Advance(time.Hour)
	}
	w.keep(other, "stanza1", "\x00 of another tenant", true)
	w.keep(w.tenant, "stanza0", "second attempt", true) // counts from the last attempt
	w.wantContent(w.tenant, "stanza0", "second attempt")
	w.wantContent(w.tenant, "stanza1", "first attempt 1")
	w.wantContent(other, "stanza1", "\x00 of another tenant")
	w.wantContent(other, "stanza2", "")

	for i, want := range []int{2, 2, 0} { // stanza1 to stanza4 are old enough
		n, err := w.ForgetSent(ctx, begun.Add(5*time.Hour), 2)
		must(t, err)
		if n != want {
			t.Fatalf("batch %d: %d were deleted, want %d", i, n, want)
		}
		if i == 0 {
			w.wantContent(w.tenant, "stanza2", "")
			w.wantContent(w.tenant, "stanza3", "first attempt 3")
		}
	}
	w.wantContent(w.tenant, "stanza4", "")
	w.wantContent(w.tenant, "stanza5", "first attempt 5")
	w.wantContent(w.tenant, "stanza0", "second attempt")
	w.wantContent(other, "stanza1", "\x00 of another tenant")

	must(t, w.DeleteTenant(ctx, w.tenant.ID))
	w.wantContent(w.tenant, "stanza0", "")
	w.wantContent(other, "stanza1", "\x00 of another tenant")
}
