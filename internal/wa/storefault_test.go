package wa

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/testkit/services"
)

// breakTable makes every write to a table fail, as a full or failing disk does, until the returned func is called.
func (w *world) breakTable(table string) (mend func()) {
	w.t.Helper()
	exec := func(query string) {
		w.t.Helper()
		if _, err := w.store.Writer().ExecContext(w.ctx(), query); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.store.Dialect() == "pgx" {
		exec(`CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full'; END $$`)
		exec(fmt.Sprintf(`CREATE TRIGGER broken BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION no_room()`, table))
		return func() {
			w.t.Helper()
			exec("DROP TRIGGER broken ON " + table)
		}
	}
	writes := []string{"INSERT", "UPDATE", "DELETE"}
	for _, write := range writes {
		exec(fmt.Sprintf(`CREATE TRIGGER broken_%s BEFORE %s ON %s BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`, write, write, table))
	}
	return func() {
		w.t.Helper()
		for _, write := range writes {
			exec("DROP TRIGGER broken_" + write)
		}
	}
}

// TestAStoreThatCannotWriteNeitherLosesNorLies breaks one table of the Signal stores at a time, and the one that keeps what media
// went out as, through real whatsmeow: a send either reaches the phone or fails as a failure of the store, and then the next attempt
// under the same id reaches it. It is never sent without the phone having it, and never shown twice.
func TestAStoreThatCannotWriteNeitherLosesNorLies(t *testing.T) {
	t.Parallel()
	for table, fails := range map[string][]string{ // and the sends that cannot do without it
		"whatsmeow_sessions":       {"first text", "next text", "first image", "next image", "first to a group", "next to a group"},
		"whatsmeow_identity_keys":  {"first text", "next text", "first image", "next image", "first to a group", "next to a group"},
		"whatsmeow_sender_keys":    {"first to a group", "next to a group"},
		"whatsmeow_lid_map":        {"first text", "first image"},
		"sent_contents":            {"first image", "next image"},
		"whatsmeow_pre_keys":       nil,
		"whatsmeow_privacy_tokens": nil,
		"whatsmeow_device":         nil,
	} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			services.EachDatabase(t, func(t *testing.T, url string) { sendWhileBroken(t, newWorldOn(t, url), table, fails) })
		})
	}
}

// sendWhileBroken sends one of each kind while a table is broken; those that are to fail do so as failures of the store.
func sendWhileBroken(t *testing.T, w *world, table string, fails []string) {
	t.Helper()
	rows := withLedger(w)
	l := w.online()
	for i, name := range []string{"first text", "next text", "first image", "next image", "first to a group", "next to a group"} {
		number := fmt.Sprintf("49151100001%02d", i)
		to, known := number, i%2 == 1
		if i >= 4 {
			group, err := w.sim.CreateGroup(w.ctx(), hubNumber, number)
			if err != nil {
				t.Fatal(err)
			}
			to = group
		}
		var messages []*gateway.Message
		if known {
			messages = append(messages, rows.sends(l, text(to, "before "+name)))
		}
		m := text(to, name)
		if i == 2 || i == 3 {
			m = w.kinds(to)[1]
		}
		rows.rows[m.WhatsAppID] = m
		l.cli.Store.Identities.(*guardedIdentities).guard.known.clear()

		decrypted := 1
		mend := w.breakTable(table)
		sent, err := l.Send(w.ctx(), m, holds)
		mend()
		if slices.Contains(fails, name) {
			var got *gateway.SendError
			if !errors.As(err, &got) || got.Cause != gateway.CauseStore || (got.OnWire && to == number) {
				t.Fatalf("%s: the send came to %v, want %s", name, err, gateway.CauseStore)
			}
			shown := w.sim.Shown(number)
			switch {
			case got.OnWire: // a member that has the group's key from before can read it, which the error says may be
				decrypted = 2
			case len(shown) != len(messages):
				t.Errorf("%s: the phone shows %+v in spite of the failure", name, shown)
			}
			rows.sends(l, m)
		} else if err != nil || len(sent.Missed) > 0 {
			t.Errorf("%s: the send came to %v, missed %v", name, err, sent.Missed)
		}
		w.showsOnce(number, append(messages, m), decrypted)
	}
}
