package app_test

import (
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/wasim"
)

// TestPoisonIsConvictedAlone kills a hub, its own process, three times while it has the message to one recipient in hand. The
// messages of other tenants that were in hand at the first two deaths go out, and so does what was accepted meanwhile.
func TestPoisonIsConvictedAlone(t *testing.T) {
	t.Parallel()
	const poisoned = "919876599999"
	w := testkit.StartProcesses(t)
	tenants := []string{"algo", "beta", "gamma"}
	phones := map[string]string{"algo": poisoned, "beta": "919876500002", "gamma": "919876500003"}
	w.Pair(t, "algo", testkit.OwnNumber)
	for i, tenant := range tenants[1:] {
		w.Admin.JSON(t, "POST", "/admin/tenants", map[string]string{"id": tenant}, 201, nil)
		w.Pair(t, tenant, "1555000777"+string(rune('0'+i)))
	}
	// Questions about these recipients stay without an answer, so that their messages stay in hand until the kill comes.
	for _, phone := range phones {
		w.Script(wasim.Fault{Kind: wasim.IQSilent, To: phone, Times: -1})
	}
	attempt := func(n int) func(testkit.Message) bool { // the row of a hub that was killed still says working
		return func(m testkit.Message) bool { return m.Phase == "working" && m.Attempts == n }
	}

	first := map[string]testkit.Message{}
	for _, tenant := range tenants {
		first[tenant] = w.Admin.Send(t, tenant, phones[tenant], "in hand")
	}
	for death := 1; death <= 2; death++ {
		for _, tenant := range tenants {
			w.Admin.Await(t, tenant, first[tenant].ID, 2*time.Minute, "in hand", attempt(death))
		}
		if death == 2 { // from now on only one recipient is trouble
			w.ClearFaults()
			w.Script(wasim.Fault{Kind: wasim.IQSilent, To: poisoned, Times: -1})
		}
		w.RestartHub(t, (*testkit.Process).Kill)
	}
	w.Admin.Await(t, "algo", first["algo"].ID, 2*time.Minute, "in hand, alone", attempt(3))
	bystander := w.Admin.Send(t, "beta", phones["beta"], "accepted meanwhile")
	waited := w.Admin.Get(t, "beta", bystander.ID)
	if again := w.Admin.Get(t, "algo", first["algo"].ID); attempt(3)(again) && waited.Status != "queued" {
		t.Errorf("claimed while another message was alone: %+v", waited)
	}
	w.RestartHub(t, (*testkit.Process).Kill)
	w.ClearFaults()

	if m := w.Admin.AwaitStatus(t, "algo", first["algo"].ID, "failed"); m.Error == nil || m.Error.Code != "poison" || m.Attempts != 3 {
		t.Errorf("the message that the hub died of: %+v, error %+v", m, m.Error)
	}
	for _, tenant := range tenants[1:] {
		if m := w.Admin.AwaitStatus(t, tenant, first[tenant].ID, "read"); m.WhatsAppID != first[tenant].WhatsAppID {
			t.Errorf("%s: sent as %s, accepted as %s", tenant, m.WhatsAppID, first[tenant].WhatsAppID)
		}
	}
	w.Admin.AwaitStatus(t, "beta", bystander.ID, "read")
	w.Admin.AwaitStatus(t, "algo", w.Admin.Send(t, "algo", "919876500001", "the tenant goes on").ID, "read")
	if shown := w.Shown(poisoned); len(shown) != 0 {
		t.Errorf("the poisoned recipient sees %+v", shown)
	}
	for tenant, want := range map[string]int{"beta": 2, "gamma": 1} {
		if shown := w.Shown(phones[tenant]); len(shown) != want {
			t.Errorf("%s's recipient sees %+v, want %d messages", tenant, shown, want)
		}
	}
}
